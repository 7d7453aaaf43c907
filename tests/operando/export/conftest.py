"""What the tests of the export share: the formats' own validators, and runs with known values."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from operando.journal import JournalWriter
from operando.runs import Run, Stream

ROOT = Path(__file__).parents[3]
VALIDATORS = ROOT / ".venv" / "validators" / "bin" / "python"
NOWHERE = "http://127.0.0.1:9"  # whoever asks the network is refused


@pytest.fixture
def validated(tmp_path: Path) -> Callable[[str, Path], dict[str, Any]]:
    """Return what asks a format's own validator, in its own environment, without network."""

    def ask(kind: str, path: Path) -> dict[str, Any]:
        assert VALIDATORS.exists(), f"{VALIDATORS} is missing: `make test` installs it"
        offline = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("PYTHON")
        }
        done = subprocess.run(
            [
                VALIDATORS,
                Path(__file__).with_name("validator_process.py"),
                kind,
                path,
                tmp_path / "scratch",
            ],
            env=environment | offline | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


@pytest.fixture
def stored() -> Callable[[list[tuple[str, dict[str, Any]]], Path], str]:
    """Return what writes documents into a data folder's journal and tells the run's uid."""

    def store(documents: list[tuple[str, dict[str, Any]]], folder: Path) -> str:
        with JournalWriter(folder) as journal:
            for name, doc in documents:
                journal(name, doc)
        return str(documents[0][1]["uid"])

    return store


def run_of(
    columns: Mapping[str, Any],
    *,
    stream: str = "potentiostat",
    units: Mapping[str, str] | None = None,
    time: Any = None,
    **start: Any,
) -> Run:
    """Return a finished run of one stream with these columns."""
    rows = len(next(iter(columns.values())))
    arrays = {key: np.asarray(values) for key, values in columns.items()}
    one = Stream(
        name=stream,
        columns=MappingProxyType(arrays),
        units=MappingProxyType(dict(units or {})),
        time=np.arange(rows, dtype=float) + 1.7e9 if time is None else np.asarray(time),
        configuration=MappingProxyType({}),
        assets=MappingProxyType({}),
    )
    uid = "7d1f0a52-0000-4000-8000-000000000002"
    return Run(
        start={"uid": uid, "time": 1.7e9, **start},
        stop={"time": 1.7e9 + rows, "exit_status": "success"},
        streams=MappingProxyType({stream: one}),
    )


@pytest.fixture(name="run_of")
def _run_of() -> Callable[..., Run]:
    return run_of


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file of this process grow beyond 4 kB while the test runs: a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
