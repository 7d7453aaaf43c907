"""A recorded cell answers what was recorded, and says where the record has no answer."""

import contextlib
import json
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from sim_devices.__main__ import main
from sim_devices.bench import Bench
from sim_devices.clock import SimulatedClock
from sim_devices.history import History, HistoryError
from sim_devices.recorded_cell import RecordedCell
from sim_devices.recorded_views import RecordedChromatograph, RecordedLight, RecordedView
from sim_devices.truth import Truth, read_truth

AREA_CM2 = 2.0
CURRENT_A = 2e-3  # 1 mA/cm2
AXIS = np.linspace(200.0, 4000.0, 64)


def write_history(path, *, followers=False, impedance=True, **attributes):
    """Write the history of a cell by hand: rest, plate 100 s, rest, strip 95 s, rest, and again.

    Anybody can do so: nothing of the program that measured is in it.
    """
    t, potential, current = [], [], []
    clock = 0.0

    def rows(seconds, volts, ampere):
        nonlocal clock
        steps = np.arange(1.0, seconds + 1.0)
        t.extend(clock + steps)
        potential.extend(volts(steps))
        current.extend(np.full(len(steps), ampere))
        clock += seconds

    rows(20, lambda s: 0.9 + 0.1 * np.exp(-s / 10), 0.0)
    for cycle in (1, 2):
        rows(100, lambda s, c=cycle: -0.01 * c - 0.05 * np.exp(-s / 5), -CURRENT_A)
        rows(10, lambda s: -0.002 * np.exp(-s / 3), 0.0)
        rows(
            95, lambda s, c=cycle: np.where(s < 90, 0.01 * c, 0.01 * c + 0.1 * (s - 90)), CURRENT_A
        )
        rows(10, lambda s: 0.4 + 0.1 * np.exp(-s / 3), 0.0)
    with h5py.File(path, "w") as file:
        file.attrs.update(format="anode-cell-history", version=1, area_cm2=AREA_CM2)
        file.attrs.update({"metal_electrode": "WE", "source": "by hand", **attributes})
        file["rows/t_s"], file["rows/potential_v"], file["rows/current_a"] = t, potential, current
        if impedance:
            frequency = np.tile([1000.0, 100.0, 10.0], 2)
            at = [121.0, 121.1, 121.2, 337.0, 337.1, 337.2]
            values = {
                "t_s": at,
                "spectrum": np.repeat([7, 8], 3),
                "frequency_hz": frequency,
                "z_real_ohm": [2.0, 4.0, 6.0, 20.0, 40.0, 60.0],
                "z_imag_ohm": [-1.0, -3.0, -1.0, -10.0, -30.0, -10.0],
            }
            for name, column in values.items():
                file[f"impedance/{name}"] = column
        if followers:
            file["camera/t_s"] = [0.0, 120.0, 225.0]
            file["camera/frames"] = np.full((3, 40, 60), 10, np.uint8) * np.array(
                [1, 2, 3], np.uint8
            ).reshape(3, 1, 1)
            file["camera"].attrs["micrometre_per_pixel"] = 0.25
            file["raman/t_s"] = [0.0, 0.0, 120.0]
            file["raman/wavenumber_cm1"] = AXIS[::-1]
            file["raman/integration_s"], file["raman/power_mw"] = [0.5] * 3, [100.0] * 3
            file["raman/dark"] = np.full((3, 64), 100.0)
            ramp = 100.0 + AXIS[::-1]
            file["raman/counts"] = np.stack(
                [
                    [ramp + 1000 * spectrum + 100 * read for read in range(2)]
                    for spectrum in range(3)
                ]
            )
            file["chromatograms/t_s"] = [0.0, 120.0]
            file["chromatograms/traces"] = np.stack([np.arange(1600.0), 5.0 * np.arange(1600.0)])
            file["chromatograms"].attrs["sample_interval_s"] = 0.1
    return path


@pytest.fixture
def make_cell(tmp_path):
    made = []
    with contextlib.ExitStack() as stack:

        def make(**options):
            history = History(write_history(tmp_path / f"{len(made)}.h5", **options))
            made.append(history)
            stack.callback(history.close)
            return RecordedCell(history)

        yield make


def remarks(cell):
    return [what for _, what, _ in cell.remarks]


def test_potentials_follow_the_charge_and_rests_the_time(make_cell):
    cell = make_cell()
    assert cell.area_cm2 == AREA_CM2
    # Without times since the edges, the history begins with its first row, 1 s.
    _, potential, density = cell.advance(4.0)
    assert (potential, density) == (pytest.approx(0.9 + 0.1 * np.exp(-0.5)), 0.0)
    # Half the current takes twice as long for the same charge, and the same potential.
    cell.advance(15.0)
    _, potential, density = cell.advance(20.0, "i", -0.5)
    assert potential == pytest.approx(-0.01 - 0.05 * np.exp(-10 / 5))
    assert density == -0.5
    assert remarks(cell) == ["other_current_than_recorded"]
    cell.advance(180.0, "i", -0.5)
    assert cell.potential()[0] == pytest.approx(-0.01, abs=1e-6)
    assert cell.advance(3.0)[1] == pytest.approx(-0.002 * np.exp(-1))
    assert cell.advance(50.0, "i", 1.0)[1] == pytest.approx(0.01)
    assert cell.advance(43.0, "i", 1.0)[1] == pytest.approx(0.31)
    # The second time that it plates is the second plating of the record.
    cell.advance(10.0)
    assert cell.advance(100.0, "i", -1.0)[1] == pytest.approx(-0.02, abs=1e-6)
    assert cell.ledger("WE") == {
        "charge_cathodic": pytest.approx(200 / 3600),
        "charge_anodic": pytest.approx(93 / 3600),
    }


def test_stripping_after_less_plating_keeps_the_recorded_efficiency(make_cell):
    cell = make_cell()
    cell.advance(40.0, "i", -1.0)
    assert cell.advance(0.4 * 90.0, "i", 1.0)[1] == pytest.approx(0.01)
    assert cell.advance(0.4 * 5.0, "i", 1.0)[1] == pytest.approx(0.51)
    assert "strip_compressed" in remarks(cell)
    assert cell.recorded_time() == pytest.approx(225.0)


def test_beyond_the_record_the_last_slope_goes_on_and_the_truth_is_told(make_cell):
    cell = make_cell()
    cell.advance(100.0, "i", -1.0)
    assert remarks(cell) == []
    cell.advance(95.0, "i", 1.0)
    assert cell.advance(1.0, "i", 1.0)[1] == pytest.approx(0.61)
    assert remarks(cell) == ["beyond_recorded_charge"]
    assert cell.advance(1000.0)[1] == pytest.approx(0.4 + 0.1 * np.exp(-10 / 3))
    for _ in range(2):
        cell.advance(100.0, "i", -1.0)
    cell.advance(95.0, "i", 1.0)
    assert cell.advance(100.0, "i", -1.0)[1] == pytest.approx(-0.02, abs=1e-6)
    assert remarks(cell)[-1] == "history_ended"


def test_an_interrupted_half_cycle_passes_no_charge_in_between(tmp_path):
    first, second = np.arange(1.0, 51.0), np.arange(1.0, 51.0)
    path = tmp_path / "resumed.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(format="anode-cell-history", version=1, area_cm2=AREA_CM2)
        file["rows/t_s"] = np.concatenate((first, 4000.0 + second))
        file["rows/since_edge_s"] = np.concatenate((first, second))
        file["rows/current_a"] = np.full(100, -CURRENT_A)
        file["rows/potential_v"] = np.concatenate((-first, -50.0 - second))
    with contextlib.closing(History(path)) as history:
        (plated,) = history.segments
        assert plated.charge_c == pytest.approx(100 * CURRENT_A)
        cell = RecordedCell(history)
        assert cell.advance(75.0, "i", -1.0)[1] == pytest.approx(-75.0)
        assert cell.recorded_time() == pytest.approx(4025.0)


def test_nothing_moves_while_nobody_measures(make_cell):
    cell = make_cell()
    cell.stand_by(3600.0)
    assert cell.t == 3600.0
    assert cell.advance(1.0)[1] == pytest.approx(0.9 + 0.1 * np.exp(-0.2))
    assert cell.recorded_time() == pytest.approx(2.0)


def test_the_impedance_is_that_of_the_nearest_spectrum(make_cell):
    cell = make_cell()
    cell.advance(100.0, "i", -1.0)
    cell.advance(2.0)
    found = cell.impedance([1000.0, 100.0, np.sqrt(1000.0), 1.0])
    np.testing.assert_allclose(found, [2 - 1j, 4 - 3j, 5 - 2j, 6 - 1j])
    assert remarks(cell) == ["impedance_beyond_recorded_frequencies"]
    cell.advance(95.0, "i", 1.0)
    cell.advance(100.0, "i", -1.0)
    cell.advance(2.0)
    assert cell.impedance([100.0])[0] == 40 - 30j
    # Under potential control the current is linear about the present potential.
    at_rest, _ = cell.potential()
    assert cell.potential("E", at_rest + 0.06)[1] == pytest.approx(0.5)
    before = cell.recorded_time()
    assert cell.advance(1.0, "E", at_rest)[1] == at_rest
    assert cell.recorded_time() == pytest.approx(before + 1.0)
    assert "potential_control_is_linear" in remarks(cell)


def test_without_recorded_impedance_a_stated_resistance_answers(make_cell):
    cell = make_cell(impedance=False, series_resistance_ohm=3.5)
    np.testing.assert_array_equal(cell.impedance([1e5, 1.0]), [3.5, 3.5])
    assert [(what, told) for _, what, told in cell.remarks] == [
        ("impedance_not_recorded", {"series_resistance_ohm": 3.5})
    ]


def test_the_same_calls_give_the_same_answers(make_cell):
    def answers():
        cell = make_cell()
        drives = [0.0, -1.0, 0.0, 1.0, -0.3, 0.7, 0.0]
        return [cell.advance(7.3 * n, "i", j) for n, j in enumerate(drives, 1) for _ in range(5)]

    assert answers() == answers()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: file.attrs.update(format="another"), "'format' is 'another'"),
        (lambda file: file.attrs.update(version=2), "version 2; this simulator reads version 1"),
        (lambda file: file.attrs.update(area_cm2=0.0), "area_cm2 must be above 0"),
        (lambda file: file.attrs.update(metal_electrode="left"), "is 'left', not 'WE' or 'CE'"),
        (lambda file: file.__delitem__("rows/current_a"), "lacks the dataset rows/current_a"),
        (lambda file: file["rows/t_s"].write_direct(np.zeros(450)[::-1] - np.arange(450)), "back"),
        (lambda file: file["rows/potential_v"].write_direct(np.full(450, np.nan)), "no row"),
    ],
)
def test_a_file_that_is_no_history_is_refused_with_what_is_wrong(tmp_path, change, told):
    path = write_history(tmp_path / "cell.h5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(HistoryError, match=told):
        History(path)


def test_what_was_not_recorded_cannot_be_served(tmp_path, capsys):
    with pytest.raises(HistoryError, match="is not a cell history"):
        History(tmp_path / "missing.h5")
    path = write_history(tmp_path / "cell.h5")
    arguments = ["--publish", str(tmp_path / "sim"), "--history", str(path)]
    assert main([*arguments, "--instruments", "potentiostat,camera"]) == 2
    assert "camera: not recorded in this run (by hand)" in capsys.readouterr().err


# -- the instruments that look on


def test_frames_are_the_recorded_ones_nearest_in_the_experiment(make_cell):
    cell = make_cell(followers=True)
    view = RecordedView(cell)
    assert view.micrometre_per_pixel == 0.25
    for seconds, density, grey in ((1.0, 0.0, 10), (100.0, -1.0, 20), (95.0, 1.0, 30)):
        cell.advance(seconds, "i", density)
        picture, shown = view.frame()
        assert (picture.shape, int(picture[0, 0])) == ((40, 60), grey)
        assert shown.told()["recorded_frame"] == grey / 10 - 1
    assert view.frame(lamp=False)[0].max() < 10
    assert view.frame(laser=True)[0].min() > 200


def test_in_a_rest_that_was_not_recorded_the_cell_stays_where_its_half_cycle_ended(tmp_path):
    path = write_history(tmp_path / "cell.h5", followers=True)
    with h5py.File(path, "r+") as file:
        # The experiment ends with the second stripping.
        kept = file["rows/t_s"][:] <= 440.0
        for name in ("t_s", "potential_v", "current_a"):
            column = file[f"rows/{name}"][kept]
            del file[f"rows/{name}"]
            file[f"rows/{name}"] = column
        file["camera/t_s"][:] = [0.0, 230.0, 440.0]
    with contextlib.closing(History(path)) as history:
        cell = RecordedCell(history)
        cell.advance(20.0)
        for density, seconds in ((-1.0, 100.0), (1.0, 95.0), (-1.0, 100.0), (1.0, 95.0)):
            cell.advance(seconds, "i", density)
            cell.advance(5.0)
        assert "rest_not_recorded" in remarks(cell)
        assert cell.potential()[0] == pytest.approx(0.4 + 0.1 * np.exp(-5 / 3))
        assert cell.recorded_time() == 440.0
        assert RecordedView(cell).frame()[1].number == 2
        assert cell.impedance([1000.0])[0] == pytest.approx(20 - 10j)


def test_spectra_are_resampled_scaled_by_the_exposure_and_take_turns(make_cell):
    cell = make_cell(followers=True)
    light = RecordedLight(cell)
    asked = np.array([300.0, 1000.0, 3000.0])
    np.testing.assert_array_equal(light.counts(asked, 0.0, 1.0), [100, 100, 100])
    read_outs = [light.counts(asked, 100.0, 0.5) for _ in range(6)]
    for read_out, more in zip(read_outs, (0, 100, 1000, 1100, 0, 100), strict=True):
        np.testing.assert_allclose(read_out, 100 + asked + more, atol=0.5)
    cell.advance(100.0, "i", -1.0)
    half = light.counts(asked, 50.0, 0.5)
    np.testing.assert_allclose(half, 100 + (asked + 2000) / 2, atol=0.5)


def test_a_spectrum_that_was_begun_is_served_whole(make_cell):
    cell = make_cell(followers=True)
    light = RecordedLight(cell)
    asked = np.array([300.0, 1000.0, 3000.0])
    read_outs = [light.counts(asked, 100.0, 0.5)]
    cell.advance(100.0, "i", -1.0)  # meanwhile the next spectrum has come nearer
    read_outs += [light.counts(asked, 100.0, 0.5) for _ in range(2)]
    for read_out, more in zip(read_outs, (0, 100, 2000), strict=True):
        np.testing.assert_allclose(read_out, 100 + asked + more, atol=0.5)


def test_an_injection_gives_the_recorded_trace(make_cell, tmp_path):
    cell = make_cell(followers=True)
    clock = SimulatedClock(1e5)
    cell.advance(100.0, "i", -1.0)
    folder = tmp_path / "results"
    with (
        Truth(tmp_path / "truth") as truth,
        contextlib.closing(RecordedChromatograph(cell, clock, truth, folder)) as instrument,
    ):
        instrument.start_contact(True)
        time.sleep(0.005)
        instrument.start_contact(False)
        deadline = time.monotonic() + 50
        while not (results := list(folder.glob("*.json"))) and time.monotonic() < deadline:
            time.sleep(0.01)
    detector = json.loads(results[0].read_text())["detectors"]["moduleA:tcd"]
    np.testing.assert_allclose(detector["values"][:10], 5.0 * np.arange(10) / 5)
    (told,) = [one for one in read_truth(tmp_path / "truth", "chromatograph") if "number" in one][
        :1
    ]
    assert (told["recorded_injection"], told["recorded_t_s"]) == (1, 120.0)


def test_the_thermostat_tells_the_recorded_temperature_and_is_refused_without_one(tmp_path):
    path = tmp_path / "history.h5"
    write_history(path)
    with pytest.raises(HistoryError, match="thermostat: not recorded in this run"):
        Bench(tmp_path / "bench", None, history=path, instruments=["thermostat"])
    with h5py.File(path, "a") as file:
        file["temperature/t_s"], file["temperature/temperature_k"] = [0.0, 100.0], [290.0, 310.0]
    bench = Bench(tmp_path / "bench", None, history=path, instruments=["thermostat"])
    with contextlib.closing(bench):
        assert bench.cell.temperature_k == pytest.approx(290.0, abs=0.3)
        bench.cell.advance(20.0)
        bench.cell.advance(30.0, "i", -1.0)
        assert bench.cell.temperature_k == pytest.approx(300.0)
        bench.cell.temperature_setpoint_k = 350.0
        assert bench.cell.temperature_k == pytest.approx(300.0)


def test_a_bench_says_whose_history_it_serves_as_long_as_it_does(tmp_path):
    path = write_history(tmp_path / "cell.h5", uid="1234-5678")
    folder = tmp_path / "sim"
    folder.mkdir()
    (folder / "replay.json").write_text("of a simulator that was killed")
    bench = Bench(folder, None, history=path, instruments=["potentiostat"])
    try:
        told = json.loads((folder / "replay.json").read_text())
        assert told == {"of": "1234-5678", "uid": "1234-5678", "history": str(path)}
        (born,) = read_truth(folder / "sim_truth", "potentiostat")[:1]
        assert born["potential_gain"] == 1.0
        assert born["timer_ppm"] == 0.0
    finally:
        bench.close()
    assert not Path(folder / "replay.json").exists()
    (folder / "replay.json").write_text("of a simulator that was killed")
    Bench(folder, "zn-bare", instruments=["potentiostat"]).close()
    assert not (folder / "replay.json").exists()


def test_a_bench_says_which_cell_it_simulates_as_long_as_it_does(tmp_path):
    bench = Bench(tmp_path, "zn-bare", seed=7, instruments=["potentiostat"])
    with contextlib.closing(bench):
        told = json.loads((tmp_path / "simulated.json").read_text())
        assert told == {"cell": "zn-bare", "seed": 7}
        started = read_truth(tmp_path / "sim_truth", "bench")[0]
        assert started["seed"] == 7
    assert not (tmp_path / "simulated.json").exists()
    (tmp_path / "simulated.json").write_text("of a simulator that was killed")
    history = write_history(tmp_path / "cell.h5", uid="1234-5678")
    bench = Bench(tmp_path, None, history=history, instruments=["potentiostat"])
    with contextlib.closing(bench):
        assert not (tmp_path / "simulated.json").exists()


@pytest.mark.parametrize("gap_s", [0.0, 100.0, 170.0, 500.0])
def test_a_short_interruption_that_is_told_passes_no_charge_either(tmp_path, gap_s):
    path = tmp_path / "resumed.h5"
    first_s = np.arange(60.0, 601.0, 60.0)
    then_s = 600.0 + gap_s + first_s
    with h5py.File(path, "w") as file:
        file.attrs.update(format="anode-cell-history", version=1, area_cm2=1.0)
        rows = file.create_group("rows")
        rows["t_s"] = np.concatenate((first_s, then_s))
        rows["since_edge_s"] = np.concatenate((first_s, first_s))
        rows["potential_v"] = np.full(20, -0.05)
        rows["current_a"] = np.full(20, -1e-3)
        rows["resumed"] = np.arange(20) == 10
    history = History(path)
    (segment,) = history.segments
    history.close()
    assert segment.charge_c == pytest.approx(1.2)
