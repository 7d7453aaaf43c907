"""The file store of a simulated MethodSCRIPT instrument."""

from __future__ import annotations

from sim_devices.methodscript.errors import ScriptError

# What the flash of a new instrument holds.
STORAGE_KILOBYTES = 512_000


class FileStore:
    """The instrument's own files, in flash: they outlive a power cycle.

    Attributes:
        files: path to content.
        present: whether there is a file store at all.
        capacity_bytes: how much it holds.
        held_bytes: the newest part of an open file, up to this much, is still in memory and lost
            when the power goes; 0: every line is written at once.
        error_when_full: whether a script that writes to a full store ends with an error; otherwise
            what does not fit is dropped without a word.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.files: dict[str, bytearray] = {}
        self.present = True
        self.capacity_bytes = STORAGE_KILOBYTES * 1024
        self.held_bytes = 0
        self.error_when_full = False
        self._open: bytearray | None = None
        self._in_flash = 0

    @property
    def used_bytes(self) -> int:
        """How much of it is taken."""
        return sum(len(content) for content in self.files.values())

    def open(self, content: bytearray) -> None:
        """Write to this file from now on."""
        self._open, self._in_flash = content, len(content)

    def write(self, data: bytes) -> None:
        """Append to the open file, if one is."""
        if self._open is None:
            return
        room = self.capacity_bytes - self.used_bytes
        self._open += data[: max(0, room)]
        if len(self._open) - self._in_flash > self.held_bytes:
            self._in_flash = len(self._open)
        if len(data) > room and self.error_when_full:
            raise ScriptError("0001")

    def close(self) -> None:
        """Write what is still in memory."""
        self._open = None

    def lose_power(self) -> None:
        """Lose what was not written yet."""
        if self._open is not None:
            del self._open[self._in_flash :]
        self._open = None

    @staticmethod
    def normal(path: str) -> str:
        """Return a path with one leading slash and none at its end."""
        return "/" + "/".join(part for part in path.split("/") if part)
