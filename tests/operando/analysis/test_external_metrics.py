"""What the files of instruments that nobody drives tell of a run: texture, and gas by its ions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.analysis import metrics
from operando.analysis.echo import compare
from operando.analysis.substrates import assumed_of, materials_of, texture_on
from operando.analysis.surface import roughness
from operando.analysis.texture import ZINC, reflection_areas, relative_texture
from operando.runs import Run

RTC = ("rtc_002_pct", "rtc_100_pct", "rtc_101_pct")
ZINC_FOIL = {"material": "Zn", "area_cm2": 1.131, "metal": "Zn", "thickness_um": 100}
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


def test_where_copper_is_seen_zinc_tells_no_texture(synthetic: Any, tmp_path: Path) -> None:
    angle, counts = _pattern(dict.fromkeys(ZINC, 1.0))
    copper = counts + 300 * np.exp(-0.5 * ((angle - 50.433) / 0.1) ** 2)
    assets = {"two_theta_deg": np.array([angle, angle]), "intensity": np.array([copper, counts])}
    placed = {"t_before": [0.0, 9.0], "t_after": [1.0, 12.0]}
    told = metrics(_run(synthetic, tmp_path, {"xrd": ("xrd", placed, assets)}))
    assert told["rtc_002_pct"].value == [None, pytest.approx(100 / 3, rel=1e-3)]
    assert "lies under zinc's (101), and its (200) is seen" in str(told["rtc_002_pct"].reason)
    assert told["rtc_t_s"].value == [0.5, 10.5]
    assert told["rtc_t_s"].uncertainty == pytest.approx([1 / 12**0.5, 3 / 12**0.5])


def _on(materials: Sequence[str], zinc: Mapping[str, float], **peaks: float) -> Any:
    angle, counts = _pattern(dict(zinc))
    for at, height in peaks.items():
        position = float(at.removeprefix("at_").replace("_", "."))
        counts += height * np.exp(-0.5 * ((angle - position) / 0.08) ** 2)
    counts = np.random.default_rng(0).poisson(counts).astype(float)
    return texture_on(angle, counts, materials)


def test_a_texture_on_a_substrate_is_that_of_the_deposit_or_none() -> None:
    oriented = {"002": 5.0, "100": 0.25, "101": 0.25}
    silver = {"at_38_116": 1500.0, "at_44_277": 600.0}
    for materials, peaks in ((("copper",), {}), (("zinc", "silver"), silver)):
        told = _on(materials, oriented, **peaks)
        for name, share in oriented.items():
            value, error = told[name]
            assert value == pytest.approx(share / 5.5, abs=4 * error)
            assert error < 0.02
    copper = {"at_43_297": 3000.0, "at_50_433": 1400.0}
    with pytest.raises(ValueError, match=r"copper's \(111\) lies under .*\(200\) is seen"):
        _on(["copper"], oriented, **copper)
    with pytest.raises(ValueError, match=r"\(200\) is seen"):  # behind a foil of zinc, too
        _on(["zinc"], oriented, **copper)
    with pytest.raises(ValueError, match=r"silver's \(111\) is seen: it reaches into"):
        _on(["silver"], {"002": 0.2}, **{"at_38_116": 9000.0})
    angle, counts = _pattern(oriented)
    short = angle < 48
    with pytest.raises(ValueError, match=r"does not reach 50\.4 degrees"):
        texture_on(angle[short], counts[short], ["copper"])
    weak = {"002": 0.3}
    with pytest.raises(ValueError, match=r"too noisy around its \(200\)"):
        _on(["copper"], weak)


def test_a_texture_tells_which_substrates_it_takes_for_weakly_oriented() -> None:
    assert assumed_of(["carbon", "silver"]) == assumed_of(["zinc"]) == []
    assert assumed_of(["copper"]) == [
        "assumes that the copper is no more than 3 times (111)-oriented"
    ]
    # Why: copper with its (111) alone hides in zinc's (101), far beyond the uncertainty.
    oriented = {"002": 8.0, "100": 0.25, "101": 0.25}
    value, error = _on(["copper"], oriented, at_43_297=3000.0)["002"]
    assert value < 8.0 / 8.5 - 4 * error


@pytest.mark.parametrize(
    ("material", "coating", "names"),
    [
        ("Cu", None, ("copper",)),
        ("Zn@Ag", "Ag", ("zinc", "silver")),
        ("stainless steel", None, ("steel",)),
        ("Zn", "500 mM sorbitol in 1 M ZnSO4", ("zinc",)),
        ("clip", None, None),
        ("Ti mesh", "TiN", ("titanium",)),
        ("Al2O3@Zn", None, ("zinc",)),
        ("TiO2@Zn", "ZnF2", ("zinc",)),
        ("Zn(NbO3)2", None, None),
        ("ZnO", None, None),
        ("Cu(111) foil", "Tin", ("copper", "tin")),
        ("SS316L", None, ("steel",)),
        ("Cu (Ag-coated)", None, ("copper", "silver")),
        ("3D Cu mesh", "Sn", ("copper", "tin")),
    ],
)
def test_what_an_electrode_is_made_of_is_read_from_the_cell_file(
    material: str, coating: str | None, names: tuple[str, ...] | None
) -> None:
    assert materials_of(material, coating) == names


@pytest.mark.parametrize(
    ("told", "wavelength", "reason"),
    [
        ({}, None, "taken as those of Cu K-alpha"),
        ({"working_electrode": {"material": "carbon paper", "area_cm2": 1.0}}, 1.5418, None),
        ({}, 0.7093, "not 0.7093 angstrom"),
        ({"working_electrode": {"material": "unobtainium", "area_cm2": 1.0}}, None, "not known"),
        ({"working_electrode": ZINC_FOIL}, 1.5406, "the zinc below it together"),
        ({}, 1.5418, "copper is no more than 3 times (111)-oriented"),
        ({"metal": "Na", "counter_electrode": {"material": "Na", "area_cm2": 1.0, "metal": "Na"}},
         None, "the deposit is Na"),
    ],
)  # fmt: skip
def test_a_texture_tells_what_it_rests_on(
    synthetic: Any,
    tmp_path: Path,
    told: dict[str, Any],
    wavelength: float | None,
    reason: str | None,
) -> None:
    angle, counts = _pattern(dict.fromkeys(ZINC, 1.0), noise=0.5)
    cell = {**synthetic.HALF_CELL, **told}
    documents = synthetic.RunDocuments(tmp_path, cell)
    documents.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,), rows=20))
    pattern = {"two_theta_deg": angle[np.newaxis], "intensity": counts[np.newaxis]}
    declared = {} if wavelength is None else {"xrd_wavelength_angstrom": wavelength}
    documents.stream("xrd", "xrd", {"t_before": [0.0]}, pattern, declared)
    documents.stop()
    found = metrics(Run.from_documents(documents.documents))["rtc_100_pct"]
    if reason is None:
        assert found.reason is None
    else:
        assert reason in str(found.reason)
    if reason is None or any(word in reason for word in ("taken as", "together", "no more than")):
        assert found.value == pytest.approx([100 / 3], abs=0.5)
        assert isinstance(found.uncertainty, list)
        assert 0 < found.uncertainty[0] < 1
    else:
        assert found.value is None


@given(st.floats(1e-9, 1e-6), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.integers(2, 5))
def test_the_roughness_of_a_wave_is_that_of_its_formula_however_it_is_tilted(
    size: float, across: float, along: float, waves: int
) -> None:
    y, x = np.mgrid[0:60, 0:60] * 1e-7
    # Even about the middle of the map in both directions: no plane is in it.
    wave = size * np.cos(2 * np.pi * waves * (x + 0.5e-7) / 6e-6)
    told = roughness(x, y, wave + across * x + along * y + 3e-6)
    assert told.sq == pytest.approx(size / 2**0.5, rel=1e-3)
    assert told.sa == pytest.approx(2 * size / np.pi, rel=0.03)  # of 12 points to a wave and more


def test_a_map_without_an_area_has_no_roughness() -> None:
    line = np.arange(20.0)
    with pytest.raises(ValueError, match="on one line"):
        roughness(line, np.zeros(20), line)
    with pytest.raises(ValueError, match="has 9 heights"):
        roughness(line[:9], line[:9], line[:9])


def _waveform(shift_ns: float, size: float, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    delay = 2e-6 + 2e-9 * np.arange(400)
    off = delay - 2.4e-6 - 1e-9 * shift_ns
    burst = size * np.exp(-0.5 * (off / 45e-9) ** 2) * np.cos(2 * np.pi * 20e6 * off)
    return delay, burst + noise * np.random.default_rng(1).normal(size=400)


@given(st.floats(-60.0, 60.0), st.floats(0.05, 2.0))
def test_an_echo_is_found_where_it_was_put(shift_ns: float, size: float) -> None:
    delay, first = _waveform(0.0, 1.0)
    told = compare(delay, first, _waveform(shift_ns, size)[1])
    assert 1e9 * told.shift_s == pytest.approx(shift_ns, abs=0.05)
    assert told.ratio == pytest.approx(size, rel=0.02)


def test_a_waveform_without_an_echo_or_even_steps_is_refused() -> None:
    delay, first = _waveform(0.0, 0.0, noise=1.0)
    with pytest.raises(ValueError, match="no echo stands out"):
        compare(delay, first, first)
    with pytest.raises(ValueError, match="not in even steps"):
        compare(np.cumsum(np.arange(400.0)), first, first)


def test_maps_waveforms_and_spectra_are_told_in_the_order_they_were_begun(
    synthetic: Any, tmp_path: Path
) -> None:
    y, x = np.mgrid[0:30, 0:30] * 1e-7
    heights = [size * np.cos(2 * np.pi * (x + 0.5e-7) / 1e-6) for size in (1e-7, 3e-7)]
    scan = {"x_m": np.array([x, x]), "y_m": np.array([y, y]), "height_m": np.array(heights)}
    delay, first = _waveform(0.0, 1.0, noise=1e-3)
    waves = {
        "delay_s": np.array([delay, delay]),
        "amplitude_v": np.array([first, _waveform(-7.0, 0.5, noise=1e-3)[1]]),
    }
    axis = np.arange(700.0, 4000.0, 4.0)
    noise = 1e-4 * np.random.default_rng(2).normal(size=(3, len(axis)))
    grows = 0.02 * np.exp(-(((axis - 3500) / 30) ** 2))
    through = 10 ** -(0.5 + noise + np.array([0 * grows, 0 * grows, grows]))
    dew = {"wavenumber_cm1": np.array([axis] * 3), "transmittance": through}
    placed = {"t_before": [1.0, 3.0], "t_after": [2.0, 4.0]}
    run = _run(
        synthetic,
        tmp_path,
        {
            "afm": ("afm", placed, scan),
            "ultrasound": ("ultrasound", placed, waves),
            "ftir": ("ftir", {"t_before": [1.0, 3.0, np.nan], "t_after": [2.0, 4.0, 0.1]}, dew),
        },
    )
    told = metrics(run)
    assert told["afm_sq_nm"].value == pytest.approx([100 / 2**0.5, 300 / 2**0.5], rel=1e-3)
    assert told["ultrasound_tof_shift_ns"].value == pytest.approx([0.0, -7.0], abs=0.05)
    assert told["ultrasound_amplitude_pct"].value == pytest.approx([100.0, 50.0], rel=0.01)
    assert told["infrared_growth"].value == [None, None, pytest.approx(0.02, abs=1e-3)]
    assert told["infrared_growth_cm1"].value == [None, None, pytest.approx(3500, abs=8)]
    assert "more than the noise (2 times)" in str(told["infrared_growth"].reason)
    assert told["afm_t_s"].value == told["ultrasound_t_s"].value == [1.5, 3.5]
    assert told["infrared_t_s"].value == [1.5, 3.5, None]


def test_spectra_of_transmittance_beside_those_of_absorbance_are_told_too(
    synthetic: Any, tmp_path: Path
) -> None:
    axis = np.arange(700.0, 4000.0, 4.0)
    noise = 1e-4 * np.random.default_rng(2).normal(size=(4, len(axis)))
    band = np.exp(-(((axis - 3500) / 30) ** 2))
    absorbance = 0.5 + noise + np.outer([0.0, 0.02, 0.0, 0.05], band)
    axes = np.array([axis] * 2)
    placed = {"t_before": [1.0, 3.0], "t_after": [2.0, 4.0]}
    streams = {
        "ftir": ("ftir", placed, {"wavenumber_cm1": axes, "absorbance": absorbance[:2]}),
        "ftir_2": (
            "ftir_2",
            placed,
            {"wavenumber_cm1": axes, "transmittance": 10 ** -absorbance[2:]},
        ),
    }
    told = metrics(_run(synthetic, tmp_path, streams))
    expected = [None, pytest.approx(0.02, abs=1e-3), None, pytest.approx(0.05, abs=1e-3)]
    assert told["infrared_growth"].value == expected


def _ions(current: Any, before: Any, after: Any = None) -> Mapping[str, Any]:
    before = np.asarray(before, dtype=float)
    after = np.where(np.isfinite(before), before + 1, 0.0) if after is None else after
    columns = {"time_s": np.arange(len(current)), "ion_current_mz2_a": current}
    columns |= {"t_before": before, "t_after": after}
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
    # What it records after the run is none of it: its background may have drifted by then.
    longer = np.append(current, 5e-12 + 1e-14 * rows)
    before = np.append(np.where(rows < 50, np.nan, rows), np.full(100, 99.0))
    after = np.append(np.where(rows < 50, 50.0, rows + 1), np.full(100, np.nan))
    told = metrics(_run(synthetic, tmp_path, _ions(longer, before, after)))[CHARGE]
    assert told.value == pytest.approx(3e-12 * 49 * 1e9, rel=1e-9)
    # Nor is what lies between a run and the one that continues it.
    broken = np.where((rows >= 60) & (rows < 80), np.nan, rows + 1)
    told = metrics(
        _run(synthetic, tmp_path, _ions(current, np.where(rows < 50, np.nan, rows), broken))
    )[CHARGE]
    assert told.value == pytest.approx(3e-12 * (9 + 19) * 1e9, rel=1e-9)
    without = _run(synthetic, tmp_path, _ions(current, rows + 1e5))
    assert metrics(without)[CHARGE].value is None
    assert "no rows before" in str(metrics(without)[CHARGE].reason)


def test_noise_is_seldom_taken_for_a_reflection() -> None:
    angle = np.arange(30.0, 60.0, 0.03)
    draw = np.random.default_rng(4)
    seen = [
        area != 0
        for _ in range(300)
        for area in reflection_areas(angle, draw.poisson(100.0, len(angle)).astype(float)).values()
    ]
    # Of 900, one or two are beyond three standard deviations on the one side.
    assert sum(seen) <= 8
