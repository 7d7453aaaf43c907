"""The instrument of docs/how-to/add-an-instrument.md: taken from the page, installed, and run."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from operando.catalog import stop_service, wait_until_ingested
from operando.journal import list_runs
from operando.runs import Run

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "how-to" / "add-an-instrument.md"
# A plan shows that the instrument works; it is no part of it.
PLAN = "weighing.yaml"
FARADAY, ZINC_G_MOL = 96485.33, 65.38


def files() -> dict[str, str]:
    """Return the files that the page shows, by name: what stands behind a block's language."""
    found = re.findall(r"^```\w+ ([\w.-]+\.\w+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return dict(found)


class Installed:
    """The package of the page in a folder, and what was installed of it."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "my-balance"
        self.source.mkdir()
        for name, text in files().items():
            (self.source / name).write_text(text)
        self.data = folder / "data"
        self._site = folder / "site"
        self._environment = dict(os.environ, OPERANDO_DATA=str(self.data))
        self.python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
        (wheel,) = folder.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(self._site)
        self._environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # it needs none
        paths = [str(ROOT), str(self._site)]
        self._environment["PYTHONPATH"] = os.pathsep.join(paths)

    def python(self, *arguments: str) -> str:
        """Run Python in the package's folder with the package installed; return what it said."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.source,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("plugin"))


def test_the_whole_instrument_is_shorter_than_150_lines() -> None:
    lines = {name: len(text.splitlines()) for name, text in files().items() if name != PLAN}
    assert set(lines) == {
        "pyproject.toml",
        "mettler_balance.py",
        "simulated_balance.py",
        "test_mettler_balance.py",
        "bench-balance.yaml",
    }
    assert sum(lines.values()) < 150, lines


def test_its_own_test_passes(installed: Installed) -> None:
    said = installed.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert re.search(r"\b4 passed", said), said


@pytest.fixture(scope="module")
def run(installed: Installed) -> Iterator[Run]:
    """The plan, run by the command line in a process of its own."""
    said = installed.python(
        *("-m", "operando", "run", PLAN, "--bench", "bench-balance.yaml"),
        *("--simulate", "--seed", "1", "--factor", "1000"),
    )
    assert "XPR205 Standard 220.00900 g, B123456789" in said
    (summary,) = list_runs(installed.data)
    yield Run.from_journal(summary.uid, installed.data)
    stop_service(installed.data)


def test_a_run_on_the_simulated_bench_weighs_the_deposit(run: Run) -> None:
    told = run.start["bench"]["instruments"]["balance"]
    assert (told["language"], told["package"]) == ("mt_sics", "my-balance 0.1")
    balance, leader = run.streams["balance"], run.streams["potentiostat"]
    mass = balance.columns["balance_mass"]
    assert np.all(balance.columns["balance_stable"] == 1)
    assert len(mass) > 10
    charge_c = np.trapezoid(
        -leader.columns["potentiostat_current"], leader.columns["potentiostat_t"]
    )
    plated = leader.columns["potentiostat_role"] == -1
    plated_c = np.trapezoid(
        -leader.columns["potentiostat_current"][plated], leader.columns["potentiostat_t"][plated]
    )
    assert 0 <= charge_c < 0.1 * plated_c
    # Zinc in its electrolyte: density 7.14 and 1.3 g/cm3; 2 % are dead metal, hydrogen and noise.
    weight_g = plated_c / (2 * FARADAY) * ZINC_G_MOL * (1 - 1.3 / 7.14)
    assert np.max(mass) - mass[0] == pytest.approx(weight_g, rel=0.02, abs=1e-4)


def test_the_catalog_has_what_was_weighed(run: Run, installed: Installed) -> None:
    # Here nothing of the package is installed: its runs are like any others.
    wait_until_ingested(installed.data, str(run.start["uid"]))
    recorded = Run.from_catalog(str(run.start["uid"]), installed.data)
    for name, column in run.streams["balance"].columns.items():
        np.testing.assert_array_equal(recorded.streams["balance"].columns[name], column)
