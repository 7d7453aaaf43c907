"""The checks on published data, run on files made of the published answers."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operando import real_data
from operando.analysis.circuits import Circuit


def _write(path: Path, frequency: Any, z: Any, delimiter: str = " ") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.column_stack((frequency, z.real, z.imag)), delimiter=delimiter)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    frequency = np.logspace(-2.5, 4, 66)
    circuit = Circuit.parse("R0-p(R1,C1)-p(R2-Wo1,C2)")
    z = circuit.impedance_ohm(frequency, [1.65e-2, 8.68e-3, 3.32, 5.39e-3, 6.31e-2, 232.5, 0.2195])
    z = z * (1 + 1e-4 * (random.normal(size=66) + 1j * random.normal(size=66)))
    _write(tmp_path / "eis" / "exampleData.csv", frequency, z, ",")
    frequency = np.logspace(6, -2, 81)
    z = 9.98 + 50.0 / (1 + (2j * np.pi * frequency * 0.01) ** 0.8)
    z = z * (1 + 1e-3 * (random.normal(size=81) + 1j * random.normal(size=81)))
    _write(tmp_path / "drt" / "zarc_data.txt", frequency, z)
    return tmp_path


def test_the_published_parameters_come_back(folder: Path) -> None:
    done, missing = real_data.checks(folder)
    assert not missing
    assert len(done) == 13
    told = {one.what: one for one in done}
    for name in ("R0", "R1", "C1", "R2", "Wo1_R", "Wo1_tau", "C2"):
        assert told[f"{name} of R0-p(R1,C1)-p(R2-Wo1,C2)"].verdict == "yes", name
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
    assert told.verdict == "within u"
    assert "0 of 1 numbers agree within their tolerance, 1 within" in real_data.table([told], [])
