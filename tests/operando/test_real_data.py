"""The checks on published data, run on files made of the published answers."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operando import real_data
from operando.analysis.circuits import Circuit
from operando.analysis.raman_axis import NEON_NM, REFRACTIVE_INDEX_OF_AIR


def _write(path: Path, frequency: Any, z: Any, delimiter: str = " ") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.column_stack((frequency, z.real, z.imag)), delimiter=delimiter)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    frequency = np.logspace(-2.5, 4, 66)
    circuit = Circuit.parse("R0-p(R1,C1)-p(R2-Wo1,C2)")
    z = circuit.impedance_ohm(frequency, [1.65e-2, 8.68e-3, 3.32, 5.39e-3, 6.31e-2, 238.0, 0.2195])
    z = z * (1 + 1e-4 * (random.normal(size=66) + 1j * random.normal(size=66)))
    _write(tmp_path / "eis" / "exampleData.csv", frequency, z, ",")
    frequency = np.logspace(6, -2, 81)
    z = 9.98 + 50.0 / (1 + (2j * np.pi * frequency * 0.01) ** 0.8)
    z = z * (1 + 1e-3 * (random.normal(size=81) + 1j * random.normal(size=81)))
    _write(tmp_path / "drt" / "zarc_data.txt", frequency, z)
    _write_raman(tmp_path / "raman")
    _write_others(tmp_path)
    return tmp_path


def _write_raman(folder: Path) -> None:
    """Write calcite and neon on an axis that reads 2.5 cm-1 too much, as such a set-up may."""
    folder.mkdir()
    axis = np.linspace(120, 2300, 700)

    def lines(*at: float, width: float) -> Any:
        return 1100 + sum(900 * np.exp(-4 * np.log(2) * ((axis - x) / width) ** 2) for x in at)

    neon = [1e7 / 785 - 1e7 / (air * REFRACTIVE_INDEX_OF_AIR) for air in NEON_NM if air > 800]
    for name, counts in (
        ("nCAL10_iR785_OP01_6000msx4.txt", lines(1085.5, width=12.0)),
        ("NeonSNQ043_iR785_OP01.txt", lines(*neon, width=13.0)),
    ):
        np.savetxt(folder / name, np.column_stack((axis + 2.5, counts)))


def _write_others(folder: Path) -> None:
    head = "EXPLAIN\nTAG\tEISPOT\nZCURVE\tTABLE\n\tPt\tFreq\tZreal\tZimag\tZmod\n"
    rows = "".join(f"\t{n}\t{1000 - n}\t3\t-4\t5\n" for n in range(72))
    text = head + "\t#\tHz\tohm\tohm\tohm\n" + rows
    (folder / "eis" / "exampleDataGamry.DTA").write_text(text)
    (folder / "cycling").mkdir()
    rows = "".join(f"{n},2.9,0.1\n" for n in range(25162))
    path = folder / "cycling" / "SINTEF_LiGrR2032_Landt.bdf.csv"
    path.write_text("test_time_second,voltage_volt,current_ampere\n" + rows)


def test_calcite_lies_where_it_should_once_the_lamp_has_put_the_axis_right(folder: Path) -> None:
    def calcite() -> real_data.Check:
        return next(one for one in real_data.checks(folder)[0] if "calcite" in one.what)

    assert calcite().found == pytest.approx(1085.5, abs=0.2)
    assert "as recorded 1088.0" in calcite().note
    (folder / "raman" / "NeonSNQ043_iR785_OP01.txt").unlink()
    assert calcite().found == pytest.approx(1088.0, abs=0.1)
    assert calcite().verdict == "NO"


def test_the_published_parameters_come_back(folder: Path) -> None:
    done, missing = real_data.checks(folder)
    assert not missing
    assert len(done) == 18
    told = {one.what: one for one in done}
    for name in ("R0", "R1", "C1", "R2", "Wo1_R", "Wo1_tau", "C2"):
        assert told[f"{name} of R0-p(R1,C1)-p(R2-Wo1,C2)"].verdict == "yes", name
    # Where a minimum is not flat, the documented search ends where ours does.
    stopped = told["Wo1_tau of R0-p(R1,C1)-p(R2-Wo1,C2), stopped as in the documented run"]
    assert stopped.found == pytest.approx(238.0, rel=3e-3)
    for how in ("distribution of relaxation times", "fit of R0-p(R1,CPE1)"):
        assert told[f"R_pol, {how}"].verdict == "yes"
        assert told[f"R_inf, {how}"].verdict == "yes"


def test_a_number_that_differs_is_told_and_fails(folder: Path) -> None:
    frequency = np.logspace(6, -2, 81)
    z = 9.98 + 55.0 / (1 + (2j * np.pi * frequency * 0.01) ** 0.8)
    _write(folder / "drt" / "zarc_data.txt", frequency, z)
    out = io.StringIO()
    assert real_data.main([str(folder)], out) == 1
    assert "NO" in out.getvalue()
    assert "R_pol" in out.getvalue()


def test_a_file_that_is_not_there_is_told_and_is_no_failure(folder: Path) -> None:
    (folder / "eis" / "exampleData.csv").unlink()
    out = io.StringIO()
    assert real_data.main([str(folder)], out) == 0
    assert "not run: eis/exampleData.csv: not there" in out.getvalue()


def test_without_a_folder_nothing_runs_and_that_is_said() -> None:
    out = io.StringIO()
    assert real_data.main([], out) == 0
    assert out.getvalue().startswith("real data: not run")


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_known_files_fails(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    assert real_data.main([str(tmp_path / name)], io.StringIO()) == 1


def test_a_difference_within_the_uncertainty_alone_is_not_called_agreement() -> None:
    told = real_data.Check("a file", "a time", "s", 237.8, 17.0, 232.5, 2.3)
    assert told.verdict == "beyond, within u"
    assert "0 of 1 numbers agree within their tolerance, 1 within" in real_data.table([told], [])
    agrees = real_data.Check("a file", "a time", "s", 233.0, 17.0, 232.5, 2.3)
    assert real_data.exit_code([agrees]) == 0
    assert real_data.exit_code([agrees, told]) == real_data.exit_code([]) == 1
