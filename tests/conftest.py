"""What all tests share."""

import os
import shutil
import signal
import tempfile

import pytest
from hypothesis import HealthCheck, settings

from instruments.camera._libaravis import Aravis
from instruments.errors import TransportError

# A test is never timed: how long an example takes says how busy the computer is.
settings.register_profile("operando", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("operando")

_profiles = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    why = _missing_library()
    config.stash[_NOT_HERE] = {} if why is None else {"needs_aravis": why}
    if not config.getoption("--long"):
        config.stash[_NOT_HERE]["long"] = "more of the same faults and catalogs: `make test-long`"
    # A catalog service writes the profile by which databroker finds it; not over the user's own.
    if "TILED_PROFILES" not in os.environ:
        config.stash[_profiles] = tempfile.mkdtemp(prefix="operando-profiles-")
        os.environ["TILED_PROFILES"] = config.stash[_profiles]
    # A process beside every session; those tests that are about it switch it on.
    os.environ.setdefault("OPERANDO_GUARD", "off")
    # A shell starts what is in its background with Ctrl-C ignored, nohup what it starts with SIGHUP
    # ignored, and programs inherit that; those that tests start and then interrupt must not.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _profiles in config.stash:
        shutil.rmtree(config.stash[_profiles], ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run what is marked long")
    parser.addoption("--bench", action="store_true", help="also run what needs real instruments")


# What is marked long starts services and stations: on a busy computer minutes pass before a test
# that hangs can be told from one that waits for them.
_HANGS_AFTER_S = 300.0
# Marker -> why tests that have it are not run here; told at the end, whatever was asked for.
_NOT_HERE = pytest.StashKey[dict[str, str]]()


def _missing_library() -> str | None:
    try:
        Aravis()
    except TransportError as error:
        return str(error)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unwanted = set(config.stash[_NOT_HERE])
    if not config.getoption("--bench"):
        unwanted.add("bench")
    kept = [item for item in items if not unwanted & {mark.name for mark in item.iter_markers()}]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    for item in items:
        limit = item.get_closest_marker("timeout")
        if item.get_closest_marker("long") and (limit is None or limit.args[0] < _HANGS_AFTER_S):
            item.add_marker(pytest.mark.timeout(_HANGS_AFTER_S), append=False)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for marker, why in config.stash[_NOT_HERE].items():
        terminalreporter.write_line(f"NOT RUN: tests marked {marker}: {why}", yellow=True)
