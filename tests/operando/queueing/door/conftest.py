"""What listens where: as the system tells, and not as those say who listen."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def processes_of() -> Callable[[Path], set[int]]:
    """Return the processes that work for a data folder."""
    return _processes_of


@pytest.fixture(scope="session")
def listening() -> Callable[[set[int]], set[tuple[str, int]]]:
    """Return host and port of every TCP socket on which one of some processes listens."""
    return _listening


def _processes_of(data: Path) -> set[int]:
    word = os.fsencode(data)
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            told += os.fsencode((folder / "cwd").readlink())
        except OSError:
            continue  # somebody else's, or it has ended
        if word in told:
            found.add(int(folder.name))
    return found


def _listening(pids: set[int]) -> set[tuple[str, int]]:
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(link)
            except OSError:
                continue  # closed meanwhile
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                number, port = words[1].split(":")
                host = ".".join(str(byte) for byte in reversed(bytes.fromhex(number)))
                found.add((host, int(port, 16)))
    return found
