"""Result files of a gas chromatograph's data system, found in a folder and joined to injections.

The format is that of INFICON's Micro GC Fusion: one JSON file per run with ``runTimeStamp`` and
``detectors.*.{nValuesPerSecond, values, analysis.peaks}``.
"""

import json
import logging
import math
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from instruments.errors import ProtocolError, TransportError
from instruments.gas_chromatograph.contract import Chromatogram
from instruments.transport import resolve

_log = logging.getLogger(__name__)


class ResultFolder:
    """A folder in which a data system puts one file per run.

    A file is read when its size has not changed between two looks and it is complete JSON. Files
    that were there when watching began are not looked at.

    Args:
        address: ``folder:///path`` or ``published:`` one.
        detector: whose trace is taken where a result has several.
        time_zone: zone of times that tell none; None: that of this computer.
    """

    names_runs = False

    def __init__(
        self, address: str, *, detector: str | None = None, time_zone: str | None = None
    ) -> None:
        self.address = address
        self.detector = detector
        self.time_zone = time_zone
        self._sizes: dict[Path, int] = {}
        self._done: set[Path] = set()
        self._complained: set[Path] = set()

    def begin(self) -> None:
        """Take what is there now as old; raises TransportError if there is no such folder."""
        self._sizes.clear()
        self._complained.clear()
        self._done = set(self._files())

    def end(self) -> None:
        """Do nothing: a folder is not held."""

    def new(self) -> list[Chromatogram]:
        """Return the results that became complete since the last look, in order of their start.

        Raises TransportError if the folder is gone.
        """
        found = []
        for path in self._files():
            if path in self._done:
                continue
            try:
                size = path.stat().st_size
            except OSError:
                continue  # renamed or taken away between the two
            if self._sizes.get(path) != size or size == 0:
                self._sizes[path] = size
                continue
            try:
                found.append(read_chromatogram(path, self.detector, self.time_zone))
            except ProtocolError as error:
                # Perhaps still being written in one go; a bad file stays bad, and is told once.
                if path not in self._complained:
                    self._complained.add(path)
                    _log.warning("%s", error)
                continue
            self._done.add(path)
        return sorted(found, key=lambda result: result.started)

    def listed(self) -> dict[str, int]:
        """Return the size of every file of results; raises TransportError if there is no folder."""
        sizes = {}
        for path in self._files():
            try:
                sizes[path.name] = path.stat().st_size
            except OSError:
                continue  # renamed or taken away between the two
        return sizes

    def content(self, name: str) -> bytes:
        """Return the bytes of one file; raises TransportError if it cannot be read."""
        path = self._folder() / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise TransportError(f"{path}: cannot be read ({error.strerror})") from error

    def _files(self) -> list[Path]:
        folder = self._folder()
        try:
            return sorted(
                path
                for path in folder.iterdir()
                if path.suffix == ".json" and not path.name.startswith(".")
            )
        except OSError as error:
            raise TransportError(
                f"results of a gas chromatograph at {self.address}: cannot look into {folder} "
                f"({error.strerror}): is the data system's folder there, and mounted?"
            ) from error

    def _folder(self) -> Path:
        url = urlsplit(resolve(self.address))
        if url.scheme != "folder":
            raise TransportError(
                f"results of a gas chromatograph at {self.address}: that is no folder: write it "
                "as folder:///path"
            )
        return Path(unquote(url.path))


def read_chromatogram(
    path: Path, detector: str | None = None, time_zone: str | None = None
) -> Chromatogram:
    """Return the run that a result file tells; arguments as in `parse_chromatogram`.

    Raises ProtocolError naming the file if it is not complete or not of this format.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ProtocolError(
            f"{path}: not a complete result of a gas chromatograph ({error!r})"
        ) from error
    return parse_chromatogram(content, path, detector, time_zone)


def parse_chromatogram(
    content: bytes, path: Path, detector: str | None = None, time_zone: str | None = None
) -> Chromatogram:
    """Return the run that the bytes of a result tell; ``path`` names them.

    Args:
        content: the bytes.
        path: where they are from.
        detector: name of the detector whose trace is taken; None: the only one.
        time_zone: name of the zone of a time that tells none, as in the tz database; None: that of
            this computer.

    Raises ProtocolError if they are not complete, not of this format, or leave open which detector
    is meant.
    """
    try:
        data = json.loads(content.decode("utf-8"))
        one = _detector(data["detectors"], detector, path)
        values = tuple(float(value) for value in one["values"])
        expected = int(one.get("nValuesExpected", len(values)))
        rate = float(one["nValuesPerSecond"])
        started = _epoch(data["runTimeStamp"], time_zone)
        peaks = one.get("analysis", {}).get("peaks", [])
        areas = {str(peak["label"]): float(peak["area"]) for peak in peaks}
        method = str(data.get("methodName", ""))
        label = str((data.get("annotations") or {}).get("name") or "")
    except (
        ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError
    ) as error:  # fmt: skip
        raise ProtocolError(
            f"{path}: not a complete result of a gas chromatograph ({error!r})"
        ) from error
    if not values or len(values) != expected or not 0 < rate < math.inf:
        raise ProtocolError(
            f"{path}: {len(values)} values at {rate} per second, {expected} were announced"
        )
    if not all(map(math.isfinite, (started, *values, *areas.values()))):
        raise ProtocolError(f"{path}: its time, an area or a value of its trace is not finite")
    return Chromatogram(path, started, method, 1 / rate, values, areas, label)


def _detector(detectors: dict[str, Any], name: str | None, path: Path) -> dict[str, Any]:
    """Return the detector that is meant; another one sees another gas."""
    if name is None and len(detectors) == 1:
        (one,) = detectors.values()
    elif name in detectors:
        one = detectors[name]
    else:
        asked = "none is named" if name is None else f"asked for {name!r}"
        raise ProtocolError(
            f"{path}: its detectors: {', '.join(detectors) or 'none'}; {asked}: name the one that "
            "sees hydrogen in the bench file (detector)"
        )
    if not isinstance(one, dict):
        raise TypeError("a detector is no table")
    return one


def _epoch(stamp: Any, time_zone: str | None) -> float:
    if isinstance(stamp, (int, float)):
        return float(stamp)
    moment = datetime.fromisoformat(stamp)
    if moment.tzinfo is None and time_zone is not None:
        moment = moment.replace(tzinfo=ZoneInfo(time_zone))
    return moment.timestamp()  # without a zone it is taken in this computer's


class Joiner:
    """Tells which injection a result belongs to, by order and by time.

    Where the offset of the data system's clock was not declared it may be off by hours: the first
    result joins the first injection and tells by how much. From then on, or where it was declared
    from the first on, a result joins the injection nearest in time, so that a result that is
    missing, or of somebody else's run, shifts nothing.

    Args:
        tolerance_s: how far the times may differ once the offset is known, s.
        offset_s: how far the data system's clock is ahead, s; None: it was not declared.
    """

    def __init__(self, tolerance_s: float = 30.0, offset_s: float | None = None) -> None:
        self._tolerance_s = tolerance_s
        self._waiting: dict[int, float] = {}
        self._offset_s = offset_s

    def injected(self, number: int, started: float) -> None:
        """Expect the result of injection ``number``, started at epoch ``started``."""
        self._waiting[number] = started

    def join(self, result: Chromatogram) -> int | None:
        """Return the number of the injection that ``result`` belongs to, ``None`` if to none."""
        if not self._waiting:
            return None
        offset = self._offset_s
        if offset is None:
            # A good clock is recognised; with a bad one the order has to do.
            nearest = self._nearest(result.started)
            if abs(result.started - self._waiting[nearest]) > self._tolerance_s:
                nearest = min(self._waiting)
                _log.warning(
                    "%s is told as begun %+.0f s off injection %d, to which it was joined by order "
                    "alone: declare clock_offset_s in the bench file, or a run of somebody else is "
                    "taken for ours",
                    result.path,
                    result.started - self._waiting[nearest],
                    nearest,
                )
        else:
            nearest = self._nearest(result.started - offset)
            if abs(result.started - offset - self._waiting[nearest]) > self._tolerance_s:
                return None
        # The clock may drift: the newest offset is the best.
        self._offset_s = result.started - self._waiting.pop(nearest)
        return nearest

    def named(self, number: int) -> int | None:
        """Return an injection that a result names, as `join` would; None if none waits for it."""
        return None if self._waiting.pop(number, None) is None else number

    def _nearest(self, started: float) -> int:
        return min(self._waiting, key=lambda number: abs(self._waiting[number] - started))

    def waiting(self) -> dict[int, float]:
        """Return the injections without a result: number -> epoch of their start."""
        return dict(self._waiting)
