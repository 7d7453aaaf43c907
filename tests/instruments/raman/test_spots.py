"""Which spot a spectrum is taken on, by the simulated stage and its driver."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.errors import SafetyLimitError
from instruments.raman.spots import Spots
from instruments.stage.zaber_ascii import Axis, ZaberStage
from techniques import FreshSpots

STEP_UM = 0.047625
HIGHEST_UM = 300.0


@pytest.fixture
def stage(simulate: Callable[..., Any]) -> Iterator[ZaberStage]:
    simulated = simulate("zn-bare", "stage")
    driver = ZaberStage(simulated.address("stage"), {"x": Axis(1, 1, STEP_UM, 0.0, HIGHEST_UM)})
    driver.connect()
    yield driver
    driver.close()


def test_every_nth_is_fresh_until_there_is_no_way_left_and_blanks_do_not_count(
    stage: ZaberStage,
) -> None:
    notes: list[str] = []
    spots = Spots(stage, FreshSpots(every_nth=2, step_um=120.0), notes.append)
    with pytest.raises(ValueError, match="home it"):
        spots.check()
    stage.home()
    spots.check()
    seen = []
    for counted in (False, True, True, True, True, True, True):
        with spots.next(counted=counted) as spot:
            seen.append((spot, round(spots.position_um()["x"])))
        assert stage.read()["x"] == pytest.approx(0.0, abs=0.1)
    assert seen == [(0, 0), (0, 0), (1, 120), (0, 0), (2, 240), (0, 0), (0, 0)]
    assert len(notes) == 1
    assert "no fresh spot is left: x = 360 um" in notes[0]
    assert math.isnan(spots.position_um()["y"])
    with pytest.raises(SafetyLimitError, match=r"x = 500 um; 0 um to 300 um.*Nothing has moved"):
        Spots(stage, FreshSpots(every_nth=2, step_um=500.0), notes.append).check()
    with pytest.raises(ValueError, match="along y, and the stage has x only"):
        Spots(stage, FreshSpots(every_nth=2, axis="y", step_um=9.0), notes.append).check()


def test_after_a_failure_nothing_is_moved(stage: ZaberStage) -> None:
    stage.home()
    notes: list[str] = []
    spots = Spots(stage, FreshSpots(every_nth=2, step_um=100.0), notes.append)
    with spots.next(counted=True):
        pass
    with pytest.raises(RuntimeError, match="interrupted"), spots.next(counted=True):
        raise RuntimeError("interrupted")
    assert stage.read()["x"] == pytest.approx(100.0, abs=0.1)
    assert "left at the fresh spot" in notes[0]


def test_a_stage_that_is_gone_costs_the_spot_and_not_the_spectrum(stage: ZaberStage) -> None:
    stage.home()
    notes: list[str] = []
    spots = Spots(stage, FreshSpots(every_nth=2, step_um=100.0), notes.append)
    with spots.next(counted=True):
        pass
    stage.close()
    with spots.next(counted=True) as spot:
        assert math.isnan(spot)
        assert math.isnan(spots.position_um()["x"])
    assert ["a fresh spot was not reached" in one for one in notes] == [True, False]
    assert "where a spectrum was taken is not known" in notes[1]
