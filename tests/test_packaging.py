"""What a user installs: the wheel has everything a checkout has, and the lock fits the project."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = ["techniques", "instruments", "sim_devices", "plans", "operando"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which Python finds the wheel's packages, not the checkout's."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OPERANDO_")}
    return kept | {"PYTHONPATH": str(site)}


def run(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def test_the_wheel_has_every_module_and_every_configuration_file(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "config", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    wanted = {re.sub("^config/", "operando/_config/", name) for name in tracked}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert wanted <= names
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "docs/"))]


def test_an_installed_wheel_brings_its_own_configuration(
    installed: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "from operando.settings import config_dir; from operando import configuration; "
        "print(config_dir()); print(*configuration.names('bench')); "
        "print(configuration.load_cell(configuration.load_protocol('zinc-operando').cell).cell_id)"
    )
    folder, benches, cell = run(installed, tmp_path, "-c", code).splitlines()
    assert folder == f"{installed['PYTHONPATH']}/operando/_config"
    assert {"bench", "sim"} <= set(benches.split())
    assert cell == "ZN-CU-001"


def test_an_installed_wheel_has_its_simulator(installed: dict[str, str], tmp_path: Path) -> None:
    cells = run(installed, tmp_path, "-m", "operando.cli", "sim", "--list-cells").split()
    assert "zn-bare-half" in cells


def locked() -> dict[str, list[Requirement]]:
    """Return the requirements of the lock by name: several where the Python version decides."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    found: dict[str, list[Requirement]] = {}
    for line in re.findall(r"^[a-zA-Z0-9].*", text, re.MULTILINE):
        requirement = Requirement(line.rstrip("\\ "))
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def asked() -> list[Requirement]:
    project = PROJECT["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        PROJECT["dependency-groups"]["dev"],
    ]
    return [Requirement(text) for group in groups for text in group]


@pytest.mark.parametrize("requirement", asked(), ids=str)
def test_the_lock_has_what_the_project_asks_for(requirement: Requirement) -> None:
    for found in locked()[canonicalize_name(requirement.name)]:
        (pin,) = found.specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), "run `make lock` and commit it"


def test_the_lock_has_nothing_that_the_project_leaves_out() -> None:
    left_out = {canonicalize_name(name) for name in PROJECT["tool"]["uv"]["exclude-dependencies"]}
    assert not left_out & set(locked())
    assert "instrumentkit" not in locked()


@pytest.mark.parametrize(
    "name", ["requirements.lock", ".ci/requirements-uv.txt", ".ci/requirements-audit.txt"]
)
def test_everything_that_is_installed_is_pinned_by_a_hash(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    entries = re.split(r"^(?=[a-zA-Z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.search(r"^    --hash=sha256:[0-9a-f]{64}", entry, re.MULTILINE), entry
        assert "://" not in entry
