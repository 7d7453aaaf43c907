"""Light that does something to a simulated cell: only where it is asked for."""

import numpy as np
import pytest

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.spectrum import SULFATE_STRETCH, RamanScene
from sim_devices.whereabouts import Displacement, Whereabouts


@pytest.mark.parametrize("preset", ["zn-bare", "zn-bare-half-reference"])
def test_the_potential_steps_while_the_laser_shines_and_only_then(preset: str) -> None:
    cell = Cell(preset, seed=1)
    lights = Lights(SimulatedClock(), cell.shine)
    dark = cell.potential("i", -1.0)
    lights.laser_mw = 100.0
    assert cell.potential("i", -1.0) == dark  # a usual cell takes no notice
    assert cell.inject("light", volts=3e-3) == {"volts": 3e-3, "share": 0.0, "mj": 100.0}
    lit = cell.potential("i", -1.0)
    assert lit == (pytest.approx(dark[0] + 3e-3), dark[1])
    unlit = Cell(preset, seed=1)
    without_light = unlit.advance(1.0, "i", -1.0)[1]
    assert cell.advance(1.0, "i", -1.0)[1] == pytest.approx(without_light + 3e-3)
    lights.laser_mw = 0.0
    assert cell.potential("i", -1.0) == unlit.potential("i", -1.0)


def sulfate(scene: RamanScene) -> float:
    return next(weight for band, weight in scene.bands() if band == SULFATE_STRETCH)


def test_sulfate_is_lost_by_the_energy_that_fell_on_the_spot() -> None:
    cell, where = Cell("zn-bare", seed=1), [Displacement(0.0, 0.0, 0.0)]
    scene = RamanScene(cell, 1, Whereabouts(lambda: where[0]))
    axis = np.linspace(900.0, 1100.0, 200)
    fresh = sulfate(scene)
    scene.counts(axis, 100.0, 0.5)
    assert sulfate(scene) == fresh  # a usual cell takes no notice, but what shone has shone
    cell.inject("light", volts=0.0, share=0.4, mj=50.0)
    assert sulfate(scene) == pytest.approx(fresh * (1 - 0.4 * (1 - np.exp(-1))))
    scene.counts(axis, 0.0, 5.0)  # a dark spectrum is no dose
    assert sulfate(scene) == pytest.approx(fresh * (1 - 0.4 * (1 - np.exp(-1))))
    where[0] = Displacement(60.0, 0.0, 0.0)
    assert sulfate(scene) == pytest.approx(fresh)


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"share": -0.1}, {"mj": 0.0}])
def test_light_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is none"):
        Cell("zn-bare").inject("light", **wrong)
