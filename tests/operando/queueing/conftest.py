"""Data folders with short paths, for sockets, and a real Redis in them."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from operando.queueing import managers
from operando.queueing._redis import RedisServer, client
from operando.queueing.store import Store


@pytest.fixture(scope="session", autouse=True)
def _patient() -> Iterator[None]:
    """A queue server may be kept from answering by all else that a busy computer has to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(managers, "_TIMEOUT_S", 40.0)
        yield


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="operando-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def server(folder: Path) -> Iterator[RedisServer]:
    one = RedisServer(folder)
    one.ensure()
    yield one
    one.stop()


@pytest.fixture
def store(server: RedisServer) -> Iterator[Store]:
    one = client(server.address())
    yield Store(one)
    one.close()
