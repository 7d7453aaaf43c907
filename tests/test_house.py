"""The house itself: what is where, what is fast to import, what must stay the same."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from instruments.bench_file import entries
from sim_devices.cell import NAMES

ROOT = Path(__file__).parent.parent
PACKAGES = ["techniques", "instruments", "sim_devices", "plans", "operando"]


def test_the_package_named_instruments_is_ours() -> None:
    # InstrumentKit installs a package of the same name and would overwrite it.
    owners = importlib.metadata.packages_distributions().get("instruments", ["operando-anode"])
    assert set(owners) == {"operando-anode"}


# What somebody has to have measured, or seen: made up, it would tell wrong numbers on a real bench.
CALIBRATIONS = (
    "calibration",
    "clock_offset_s",
    "time_zone",
    "clock_uncertainty_s",
    "micrometre_per_pixel",
    "micrometre_per_pixel_uncertainty",
    "hydrogen_area_per_mole_fraction",
    "levels",
    "margin_columns",
    "oxygen_area_per_mole_fraction",
    "nitrogen_area_per_mole_fraction",
    "bath_liquid",
)


@pytest.mark.parametrize(
    "names",
    [
        ("sim", "bench"),
        ("sim-second", "bench-second"),
        ("sim-writers", "bench-writers"),
        ("sim-keithley", "bench-keithley"),
        ("sim-rodeostat", "bench-rodeostat"),
        ("sim-aravis", "bench-aravis"),
        ("sim-interlock", "bench-interlock"),
    ],
)
def test_the_simulated_and_the_real_bench_differ_in_addresses_and_calibrations_only(
    names: tuple[str, str],
) -> None:
    sim, real = (yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()) for name in names)
    assert (sim.pop("name"), real.pop("name")) == names
    for bench in (sim, real):
        for entry in bench["instruments"].values():
            for key in ("address", "results", *CALIBRATIONS):
                entry.pop(key, None)
    assert sim == real


@pytest.mark.parametrize(
    "name",
    [
        "bench",
        "bench-second",
        "bench-writers",
        "bench-rodeostat",
        "bench-aravis",
        "bench-interlock",
    ],
)
def test_the_real_benches_claim_nothing_that_nobody_measured(name: str) -> None:
    # A scale, a slope, a margin that was masked: none of it is for a template to say.
    real = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    told = {key for entry in real["instruments"].values() for key in entry}
    assert not told & set(CALIBRATIONS)


def test_every_cell_file_has_a_simulated_cell_of_its_name() -> None:
    files = {path.stem for path in (ROOT / "config" / "cells").glob("*.yaml")}
    assert files <= set(NAMES)


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_starts_nothing(package: str) -> None:
    code = (
        f"import threading, {package}; assert threading.active_count() == 1, threading.enumerate()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("package", ["techniques", "operando", "operando.catalog", "sim_devices"])
def test_light_packages_do_not_import_the_heavy_stack(package: str) -> None:
    code = (
        f"import sys, {package}; "
        "heavy = {'tiled', 'databroker', 'matplotlib', 'skimage', 'bluesky'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_no_file_of_the_project_names_a_package_registry() -> None:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "uv.lock" not in names
    hosts = [b"pypi" + b".org", b"pythonhosted" + b".org"]
    for name in names:
        data = (ROOT / name).read_bytes()
        assert not any(host in data for host in hosts), name


@pytest.mark.parametrize(
    "path", sorted((ROOT / "config" / "cells").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_cell_file_tells_where_its_cell_neither_freezes_nor_boils(path: Path) -> None:
    cell = yaml.safe_load(path.read_text())
    if "dummy" in cell:
        return  # resistors stand anywhere
    low, high = cell["temperature_min_k"], cell["temperature_max_k"]
    assert low < 298.15 < high
    if "water" in cell["electrolyte"]["composition"]:
        assert 273.15 < low
        assert high < 373.15


# Wire languages that are called by what they are, and makers and models that no language is called
# by. A maker's instrument may be added; what is measured, when, and what is made of it stay.
WORDS = {"contact", "folder", "relay"}
MAKERS = {
    "agilent", "aravis", "basler", "emstat", "huber", "inficon", "nexus", "ocean_hdx", "palmsens",
    "pyvisa", "seabreeze", "sourcemeter", "tektronix", "2450", "2460", "2461",
}  # fmt: skip


def test_no_plan_no_technique_and_no_analysis_names_a_maker() -> None:
    languages = {str(entry.model_fields["language"].annotation) for entry in entries()}
    spoken = {word for told in languages for word in re.findall(r"'(\w+)'", told)}
    assert {"keithley", "methodscript", "rodeostat", "ocean", "fusion"} <= spoken
    named = re.compile(rf"(?<![A-Za-z])({'|'.join(sorted((spoken - WORDS) | MAKERS))})(?![A-Za-z])")
    folders = [ROOT / "plans", ROOT / "techniques", ROOT / "operando" / "analysis"]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(files) > 80
    said = {
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").lower().splitlines(), 1)
        if named.search(line)
    }
    assert not said


# What the linter's security rules do not see; what they see (eval, pickle, shells, yaml.load, ...)
# is in pyproject.toml. Each has its reason.
IMPORTS = {
    "pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib",  # loading them runs them
    "multiprocessing",  # its connections pickle; children are spawned by instruments._child
    "xmlrpc", "socketserver",  # doors that nobody asked for
}  # fmt: skip
YAML = {"load", "load_all", "full_load", "unsafe_load", "Loader", "FullLoader", "UnsafeLoader"}
EVERYWHERE = {"", "0.0.0.0", "::", "*"}  # noqa: S104  what is looked for
LISTENING = {"bind", "create_server", "start_server", "HTTPServer", "ThreadingHTTPServer"}
# To take a module to pieces costs ten times as much as to look whether one of the words is there.
SUSPECT = re.compile("|".join([*IMPORTS, *LISTENING, r"yaml\.", "allow_pickle", "host="]))


def unsafe_in(source: str) -> Iterator[str]:
    """Yield what of a module loads what it should not, or listens to everybody."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [one.name for one in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""] * (not node.level)
            for name in names:
                if name in IMPORTS or name.partition(".")[0] in IMPORTS:
                    yield f"{node.lineno}: imports {name}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "yaml" and node.attr in YAML:
                yield f"{node.lineno}: yaml.{node.attr}"
        elif isinstance(node, ast.Call):
            for word in node.keywords:
                told = getattr(word.value, "value", None)
                if word.arg == "allow_pickle" and told is not False:
                    yield f"{node.lineno}: allow_pickle"
                if word.arg == "host" and told in EVERYWHERE:
                    yield f"{node.lineno}: listens to everybody"
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            places = [one.elts[0] for one in node.args if isinstance(one, ast.Tuple) and one.elts]
            hosts = [one.value for one in places if isinstance(one, ast.Constant)]
            if called in LISTENING and any(host in EVERYWHERE for host in hosts):
                yield f"{node.lineno}: listens to everybody"


def test_nothing_of_the_product_loads_code_or_listens_to_everybody() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 300
    found = {
        f"{path.relative_to(ROOT)}:{told}"
        for path in files
        if SUSPECT.search(text := path.read_text(encoding="utf-8"))
        for told in unsafe_in(text)
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from multiprocessing.connection import Listener",
        "import multiprocessing as m",
        "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=trusted)",
        "server.bind(('', 80))",
        "socket.create_server(('0.0.0.0', 0))",
        "socket.create_server(address=1, *[('::', 0)]); s.bind(('::', 0))",
        "uvicorn.Config(app, host='0.0.0.0')",
    ],
)
def test_what_is_unsafe_is_seen(source: str) -> None:
    assert SUSPECT.search(source)
    assert list(unsafe_in(source))


@pytest.mark.parametrize(
    "source",
    [
        "import json, h5py",
        "yaml.safe_load(text)",
        "np.load(path, allow_pickle=False)",
        "server.bind(('127.0.0.1', 0))",
        "from ._pickle import x",
    ],
)
def test_what_is_safe_is_not_complained_of(source: str) -> None:
    assert not list(unsafe_in(source))


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ("S102", "exec(text)"),
        ("S301", "import pickle\npickle.loads(data)"),
        ("S302", "import marshal\nmarshal.loads(data)"),
        ("S306", "import tempfile\ntempfile.mktemp()"),
        ("S307", "eval(text)"),
        ("S501", "import httpx\nhttpx.get(url, verify=False)"),
        ("S506", "import yaml\nyaml.load(text)"),
        ("S602", "import subprocess\nsubprocess.run(text, shell=True)"),
        ("S605", "import os\nos.system(text)"),
        ("S701", "import jinja2\njinja2.Environment(autoescape=False)"),
    ],
)
def test_the_linter_looks_for_what_runs_a_text(rule: str, source: str) -> None:
    asked = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "--no-cache"]
    done = subprocess.run(
        [*asked, "--stdin-filename", "operando/journal/_roots.py", "-"],
        cwd=ROOT, input=source, capture_output=True, text=True,
    )  # fmt: skip
    assert f" {rule} " in done.stdout
