"""What all tests share."""

import os
import shutil
import signal
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# A test is never timed: how long an example takes says how busy the computer is.
settings.register_profile("operando", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("operando")

_profiles = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    # A catalog service writes the profile by which databroker finds it; not over the user's own.
    if "TILED_PROFILES" not in os.environ:
        config.stash[_profiles] = tempfile.mkdtemp(prefix="operando-profiles-")
        os.environ["TILED_PROFILES"] = config.stash[_profiles]
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
    parser.addoption("--bench", action="store_true", help="also run what needs real instruments")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--bench"):
        kept = [item for item in items if item.get_closest_marker("bench") is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
