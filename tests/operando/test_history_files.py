"""A run becomes the history of a cell: what was measured, and nothing of who measured it."""

import h5py
import numpy as np
import pytest

from operando.analysis.metrics import half_cycles_of
from operando.history import (
    HistoryError,
    held_in,
    replayed_cell,
    simulated_cell,
    write_history,
)
from operando.runs import Run, join


@pytest.fixture
def whole_run(make_run, synthetic):
    """Return a run with a cycle, two spectra of impedance, frames, Raman and a chromatogram."""

    def make(sample=synthetic.MIRRORED_CELL):
        run = make_run(sample)
        columns = synthetic.galvanostatic((0.98,), rows=50)
        run.stream("potentiostat", "potentiostat", columns)
        impedance = {
            "t": [1801.0, 1802.0],
            "spectrum": [1.0, 1.0],
            "frequency": [1e5, 1.0],
            "z_real": [2.0, 150.0],
            "z_imag": [-1.0, -0.5],
        }
        run.stream("impedance", "potentiostat_impedance", impedance)
        run.stream(
            "camera",
            "camera",
            {"t_before": [8.0, 90.0, 95.0], "t_after": [12.0, 91.0, 96.0], "lamp": [1.0, 0.0, 1.0]},
            {"image": np.stack([np.full((4, 6), grey, np.uint8) for grey in (10, 20, 30)])},
            {"camera_micrometre_per_pixel": 0.5},
        )
        axis = np.linspace(200, 4000, 8)
        run.stream(
            "raman",
            "raman",
            {
                "t_before": [np.nan, 8.0],
                "t_after": [0.25, 10.0],
                "integration_time": [0.3, 0.3],
                "laser_power": [0.1, 0.1],
            },
            {"counts": np.arange(48.0).reshape(2, 3, 8), "dark": np.ones((2, 8))},
            {"raman_wavenumber": axis.tolist()},
        )
        device = "gas_chromatograph"
        run.stream(device, device, {"t_before": [8.0], "t_after": [12.0], "injection": [3.0]})
        result = f"{device}_result"
        run.stream(
            "chromatogram",
            result,
            {"injection": [2.0, 3.0], "sample_interval": [0.02, 0.02]},
            {"trace": np.stack([np.zeros(9), np.arange(9.0)])},
        )
        run.stop()
        return Run.from_documents(run.documents), columns

    return make


def test_every_instrument_of_a_run_is_written_in_the_units_of_the_format(whole_run, tmp_path):
    run, columns = whole_run()
    path = tmp_path / "deep" / "cell.h5"
    held = ("potentiostat", "camera", "raman", "gas_chromatograph")
    assert write_history(run, path) == held_in(path) == held
    with h5py.File(path) as file:
        assert dict(file.attrs) == {
            "format": "anode-cell-history",
            "version": 1,
            "area_cm2": 1.131,
            "metal_electrode": "CE",
            "uid": run.uid,
        }
        np.testing.assert_array_equal(file["rows/potential_v"], columns["potential"])
        np.testing.assert_array_equal(file["rows/current_a"], columns["current"])
        assert file["impedance/z_real_ohm"][:].tolist() == [2.0, 150.0]
        # A frame without light is none of the microscope's.
        assert file["camera/t_s"][:].tolist() == [10.0, 95.5]
        assert file["camera/frames"][:, 0, 0].tolist() == [10, 30]
        assert file["raman/t_s"][:].tolist() == [0.0, 9.0]
        assert file["raman/power_mw"][:].tolist() == [100.0, 100.0]
        assert file["raman/counts"].shape == (2, 3, 8)
        assert file["chromatograms/t_s"][:].tolist() == [10.0]
        assert file["chromatograms/traces"][:].tolist() == [list(range(9))]
    assert write_history(run, path, only=["camera"]) == held_in(path) == held[:2]


def test_frames_of_a_bench_without_laser_or_lamp_are_the_microscopes(make_run, synthetic, tmp_path):
    run = make_run()
    columns = synthetic.galvanostatic((0.98,), rows=50)
    run.stream("potentiostat", "potentiostat", columns)
    none = [np.nan] * 3
    run.stream(
        "camera",
        "camera",
        {"t_before": [8.0, 18.0, 28.0], "t_after": [9.0, 19.0, 29.0], "lamp": none}
        | {"laser": [np.nan, 1.0, 0.0]},
        # Of 12 bits, kept as 16.
        {"image": np.stack([np.full((4, 6), grey << 8 | 240, np.uint16) for grey in (7, 8, 9)])},
    )
    run.stop()
    path = tmp_path / "cell.h5"
    write_history(Run.from_documents(run.documents), path, only=["camera"])
    with h5py.File(path) as file:
        assert file["camera/frames"][:, 0, 0].tolist() == [7, 9]


def test_what_was_taken_after_the_last_row_is_the_end_of_the_history(make_run, synthetic, tmp_path):
    run = make_run()
    columns = synthetic.galvanostatic((0.98,), rows=50)
    run.stream("potentiostat", "potentiostat", columns)
    last = float(columns["t"][-1])
    # Before the first row, during the run, after its last row, and when nobody knows of rows.
    before, after = [np.nan, 8.0, last, np.nan], [0.25, 12.0, np.nan, np.nan]
    run.stream(
        "camera",
        "camera",
        {"t_before": before, "t_after": after},
        {"image": np.zeros((4, 4, 6), np.uint8)},
        {"camera_micrometre_per_pixel": 0.5},
    )
    run.stop()
    path = tmp_path / "cell.h5"
    write_history(Run.from_documents(run.documents), path, only=["camera"])
    with h5py.File(path) as file:
        assert file["camera/t_s"][:].tolist() == [0.0, 10.0, last, last]


def test_a_resumed_half_cycle_is_one_to_the_cell(make_run, synthetic, tmp_path):
    names = (*synthetic.LEADER, "step_t")

    def part(begin_s, roles):
        run = make_run(synthetic.HALF_CELL)
        rows = range(len(roles))
        columns = dict.fromkeys(names, [0.0] * len(roles))
        columns |= {
            "t": [begin_s + row for row in rows],
            "step_t": [float(row) for row in rows],
            "half_cycle": [1.0] * len(roles),
            "role": [float(role) for role in roles],
            "current": [1e-3 * role for role in roles],
        }
        run.stream("potentiostat", "potentiostat", columns)
        run.stop()
        return Run.from_documents(run.documents)

    path = tmp_path / "cell.h5"
    # Before it went on, the second run measured the open circuit potential; after it, a rest.
    write_history(join([part(0, [-1] * 5), part(900, [0, 0, 0, -1, -1, -1, 0])]), path)
    with h5py.File(path) as file:
        assert file["rows/t_s"][:].tolist() == [0, 1, 2, 3, 4, 903, 904, 905, 906]
        assert np.count_nonzero(file["rows/current_a"]) == 8
        assert np.flatnonzero(file["rows/resumed"]).tolist() == [5]


def test_the_cell_of_a_run_carries_the_charges_that_the_analysis_reports(
    make_run, synthetic, tmp_path
):
    run = make_run()
    columns = synthetic.galvanostatic((0.9, 0.95), rows=50)
    # Where the current moves, so may its range: no charge there is without the zero.
    moving = (columns["half_cycle"] == 4) & (columns["role"] == 1)
    columns["current"][moving] *= np.linspace(1.0, 0.5, 50)
    measured = {"range_a": 1e-2, "current_a": 3e-6, "uncertainty_a": 1e-9}
    run.documents[0][1]["current_zero"] = {"measured": [measured]}
    run.stream("potentiostat", "potentiostat", columns)
    run.stop()
    recorded = Run.from_documents(run.documents)
    path = tmp_path / "cell.h5"
    write_history(recorded, path)
    with h5py.File(path) as file:
        t_s, current_a = file["rows/t_s"][:], file["rows/current_a"][:]
    halves = half_cycles_of(recorded)
    assert [half.zero is None for half in halves] == [False, False, False, True]
    for half in halves:
        rows = (columns["half_cycle"] == half.number) & (columns["role"] == half.role)
        charge = np.trapezoid(np.abs(current_a[rows]), t_s[rows]) / 3.6 / 1.131
        assert charge == pytest.approx(half.capacity_mah_cm2, rel=1e-9)
    np.testing.assert_array_equal(current_a[moving], columns["current"][moving])
    assert not current_a[columns["role"] == 0].any()


def test_a_run_that_cannot_be_a_cell_is_refused_with_what_is_lacking(
    whole_run, make_run, synthetic, tmp_path
):
    run = make_run(synthetic.HALF_CELL)
    run.stop()
    path = tmp_path / "cell.h5"
    with pytest.raises(HistoryError, match="potentiostat: not recorded in this run"):
        write_history(Run.from_documents(run.documents), path)
    nameless, _ = whole_run({"name": "something"})
    with pytest.raises(HistoryError, match="does not tell the area of its cell"):
        write_history(nameless, path)
    path.write_text("no history")
    with pytest.raises(HistoryError, match=r"cell\.h5 is not a cell history"):
        held_in(path)


def test_only_a_published_address_can_lead_to_a_replayed_cell(tmp_path, monkeypatch):
    monkeypatch.setenv("OPERANDO_SIM", str(tmp_path))
    address = "published:${OPERANDO_SIM}/potentiostat"
    assert replayed_cell(address) is None
    (tmp_path / "replay.json").write_text('{"of": "by hand", "uid": "", "history": "x.h5"}')
    assert replayed_cell(address) == {"of": "by hand", "uid": ""}
    for real in ("serial:///dev/ttyUSB0", f"{tmp_path}/potentiostat", ""):
        assert replayed_cell(real) is None
    # The address that it publishes is the same cell under another name.
    (tmp_path / "potentiostat").write_text("serial:///dev/pts/7\n")
    assert replayed_cell("serial:///dev/pts/7") == {"of": "by hand", "uid": ""}
    assert replayed_cell("serial:///dev/ttyUSB0") is None


def test_a_damaged_note_of_whose_history_is_served_says_what_to_do(tmp_path):
    (tmp_path / "replay.json").write_text("{")
    with pytest.raises(HistoryError, match="start the simulator again"):
        replayed_cell(f"published:{tmp_path}/potentiostat")


def test_a_published_address_leads_to_the_simulated_cell(tmp_path):
    address = f"published:{tmp_path}/potentiostat"
    assert simulated_cell(address) is None
    (tmp_path / "simulated.json").write_text('{"cell": "zn-bare", "seed": 7}')
    assert simulated_cell(address) == {"cell": "zn-bare", "seed": 7}
    assert simulated_cell("serial:///dev/ttyUSB0") is None
    (tmp_path / "simulated.json").write_text('{"cell": "zn-bare"}')
    with pytest.raises(HistoryError, match=r"which cell is simulated .*start the simulator again"):
        simulated_cell(address)
