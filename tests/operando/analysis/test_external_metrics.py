"""What the files of instruments that nobody drives tell of a run: texture, and gas by its ions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.analysis import metrics
from operando.analysis.texture import ZINC, reflection_areas, relative_texture
from operando.runs import Run

RTC = ("rtc_002_pct", "rtc_100_pct", "rtc_101_pct")
CHARGE = "dems_hydrogen_charge_nc"


def _pattern(shares: dict[str, float], *, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    angle = np.arange(30.0, 60.0, 0.02)
    counts = 200 + 3 * (angle - 30) + noise * np.random.default_rng(3).normal(size=len(angle))
    for name, share in shares.items():
        peak = ZINC[name]
        height = 1000 * share * peak.intensity / 100
        counts += height * np.exp(-0.5 * ((angle - peak.two_theta_deg) / 0.1) ** 2)
    return angle, counts


@given(st.tuples(*[st.floats(0.05, 1.0)] * 3))
def test_the_texture_of_a_made_pattern_is_what_it_was_made_of(shares: tuple[float, ...]) -> None:
    made = dict(zip(ZINC, shares, strict=True))
    areas = reflection_areas(*_pattern(made))
    found = relative_texture({name: float(area) for name, area in areas.items()})
    assert sum(found.values()) == pytest.approx(1.0)
    for name, share in made.items():
        assert found[name] == pytest.approx(share / sum(shares), rel=1e-3)


def test_a_powder_has_a_third_of_each_and_noise_is_no_reflection() -> None:
    powder = reflection_areas(*_pattern(dict.fromkeys(ZINC, 1.0), noise=5.0))
    found = relative_texture({name: float(area) for name, area in powder.items()})
    assert found["002"] == pytest.approx(1 / 3, abs=0.01)
    only = reflection_areas(*_pattern({"002": 1.0}, noise=5.0))
    assert relative_texture({n: float(a) for n, a in only.items()})["002"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no reflection of zinc"):
        relative_texture(dict.fromkeys(ZINC, 0.0))
    angle, counts = _pattern({"002": 1.0})
    short = reflection_areas(angle[angle < 40], counts[angle < 40])
    assert "does not reach around (101)" in str(short["101"])


def _run(synthetic: Any, folder: Path, streams: Mapping[str, Any]) -> Run:
    told = synthetic.RunDocuments(folder, synthetic.HALF_CELL)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,), rows=20))
    for name, (device, columns, assets) in streams.items():
        told.stream(name, device, columns, assets)
    told.stop()
    return Run.from_documents(told.documents)


def test_the_texture_of_each_pattern_of_a_run_is_told(synthetic: Any, tmp_path: Path) -> None:
    patterns = [_pattern({"002": 1.0, "101": 0.5}), _pattern({"002": 0.2})]
    assets = {
        "two_theta_deg": np.array([angle for angle, _ in patterns]),
        "intensity": np.array([counts for _, counts in patterns]),
    }
    run = _run(synthetic, tmp_path, {"xrd": ("xrd", {"t_before": [0.0, 9.0]}, assets)})
    found = metrics(run)
    for name, values in zip(RTC, ([100 / 1.5, 100.0], [0.0, 0.0], [50 / 1.5, 0.0]), strict=True):
        assert found[name].value == pytest.approx(values, rel=1e-3)


def test_a_pattern_that_tells_no_texture_says_why(synthetic: Any, tmp_path: Path) -> None:
    angle, counts = _pattern({"002": 1.0})
    short = {
        "two_theta_deg": angle[angle < 40][np.newaxis],
        "intensity": counts[angle < 40][np.newaxis],
    }
    run = _run(synthetic, tmp_path, {"xrd": ("xrd", {"t_before": [0.0]}, short)})
    assert "does not reach around (101)" in str(metrics(run)["rtc_002_pct"].reason)
    none = _run(synthetic, tmp_path, {})
    assert metrics(none)["rtc_002_pct"].reason == "no diffraction pattern"
    assert metrics(none)[CHARGE].reason == "no ion current of m/z 2"


def _ions(current: Any, before: Any) -> Mapping[str, Any]:
    columns = {"time_s": np.arange(len(current)), "ion_current_mz2_a": current, "t_before": before}
    return {"dems_data": ("dems", columns, {})}


def test_the_charge_of_hydrogen_is_what_lies_above_the_background(
    synthetic: Any, tmp_path: Path
) -> None:
    rows = np.arange(100.0)
    background = np.full(100, 2e-12)
    current = background + np.where(rows >= 50, 3e-12, 0.0)
    # The first half were measured before the run: they are the background.
    run = _run(synthetic, tmp_path, _ions(current, np.where(rows < 50, np.nan, rows)))
    told = metrics(run)[CHARGE]
    # By the trapezoidal rule over rows of the run, one a second.
    assert told.value == pytest.approx(3e-12 * 49 * 1e9, rel=1e-9)
    without = _run(synthetic, tmp_path, _ions(current, rows + 1e5))
    assert metrics(without)[CHARGE].value is None
    assert "no rows before" in str(metrics(without)[CHARGE].reason)
