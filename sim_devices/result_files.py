"""The folder into which an instrument writes, as one sees it over a network, with its faults."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from io import RawIOBase
from pathlib import Path

from sim_devices.wire_faults import WireFaults

_POLL_S = 0.02


class ResultFolder:
    """Where result files appear: whole, unless the faults of the wire have it otherwise."""

    def __init__(self, path: Path, broken: WireFaults) -> None:
        """Make it if need be.

        Args:
            path: of the folder.
            broken: faults of the wire.
        """
        self.path = path
        self._broken = broken
        self._away = path.with_name(f".{path.name}.away")
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        if self._away.exists() and not path.exists():
            os.replace(self._away, path)  # of a simulator that was killed
        path.mkdir(parents=True, exist_ok=True)

    def leave(self) -> None:
        """Be gone until ``disconnect`` is over, with all that is in it."""
        with self._lock:
            if not self.path.exists():
                return  # its return waits for the new end, too
            os.replace(self.path, self._away)
        self.later(self._return)

    def write(self, name: str, content: bytes) -> bool:
        """Let a file appear, in the calling thread; return whether it ever did.

        It is written under a name that no reader looks at, and then renamed: whole or absent. Its
        content is damaged, and its time taken, as the wire's faults say.
        """
        broken = self._broken
        if broken.due("drop"):
            return False
        if broken.due("garble"):
            content = broken.flipped(content, "garble")
        if broken.due("drop-bytes"):
            content = broken.shortened(content)
        until = broken.ready_at()
        while broken.lasts("merge") and broken.pause(time.monotonic() + _POLL_S):
            pass
        while broken.pause(until):
            with self._lock:
                if not self.path.exists():
                    until = time.monotonic() + _POLL_S  # it is not back yet
                    continue
                if not broken.lasts("split"):
                    unfinished = self.path / f".{name}.part"
                    unfinished.write_bytes(content)
                    os.replace(unfinished, self.path / name)
                    return True
                growing = (self.path / name).open("wb", buffering=0)
            return self._grow(growing, content)
        return False

    @property
    def is_slow(self) -> bool:
        """Whether `write` would wait."""
        lasting = ("stall", "slow", "merge", "split")
        return self._broken.off_s() > 0 or any(map(self._broken.lasts, lasting))

    def later(self, act: Callable[..., None], *arguments: object) -> None:
        """Do something in a thread that `close` waits for."""
        thread = threading.Thread(target=act, args=arguments, name=self.path.name, daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Wait for nothing any more; what is gone is back."""
        self._broken.stop()
        for thread in self._threads:
            thread.join()

    def _grow(self, file: RawIOBase, content: bytes) -> bool:
        with file:
            while content:
                size, pause_s = self._broken.piece(len(content))
                file.write(content[:size])
                content = content[size:]
                if not self._broken.pause(time.monotonic() + pause_s):
                    return False
        return True

    def _return(self) -> None:
        self._broken.pause(time.monotonic(), stalls=False)
        with self._lock:
            os.replace(self._away, self.path)
