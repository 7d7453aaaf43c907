"""Disks that are full, or become read-only, while a run is recorded; real file systems.

They are mounted for the trial: memory of a fixed size for one that is full, an ext4 image that is
told of an error for one that the system makes read-only. The latter takes root.
"""

import math
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.doomed import Doomed, Kept, Nursery, kept_in, nursery
from benchmarks.faults.outcome import Effort, NotTriedError, Outcome
from operando.journal import JournalError, check_writable, inspect

_SIZE_BYTES = 2 << 20
FULL_FOR_S = 3.0
PATIENCE_S = 2.0


def full_disks(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Fill the disk under a run, with and without room coming back."""
    with nursery() as processes:
        return [
            _full_for_a_while(folder / "while", processes),
            _full_for_too_long(folder / "too-long", processes),
            _full_for_ever(folder / "ever", processes),
            _full_of_memory(folder / "memory", processes),
            _full_at_the_end(folder / "end", processes),
        ]


def read_only_disks(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Make the disk read-only before a run, and under one."""
    outcomes = [_read_only_before(folder / "before")]
    with nursery() as processes:
        outcomes.append(_read_only_under_a_run(folder / "under", processes))
    return outcomes


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """Mount something on a new folder for the time of the context.

    Raises:
        NotTriedError: If it cannot be mounted.
    """
    folder.mkdir(parents=True)
    try:
        done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True)
    except OSError as error:
        raise NotTriedError(f"nothing can be mounted here: {error}") from error
    if done.returncode:
        raise NotTriedError(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


class SmallDisk:
    """A file system in memory that can be filled and freed."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self._ballast = root / "ballast"

    def fill(self, but_bytes: int = 0) -> None:
        """Leave no room, or only so much."""
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while self._free() > but_bytes and file.write(bytes(4096)):
                    pass
            except OSError:
                pass  # full: that is what was wanted

    def _free(self) -> int:
        told = os.statvfs(self._ballast.parent)
        return told.f_bavail * told.f_frsize

    def free(self) -> None:
        """Leave room again."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, size_bytes: int = _SIZE_BYTES) -> Iterator[SmallDisk]:
    """Mount a small file system for the time of the context."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs") as root:
        yield SmallDisk(root)


def _started(
    processes: Nursery, folder: Path, disk: SmallDisk, how: str = "pages", **order: float
) -> Doomed:
    doomed = processes.start(folder / "process", how, data=disk.data, **order)
    doomed.wait_for("doc", 6)
    disk.fill()
    doomed.wait_for("alarm")
    return doomed


def _received(doomed: Doomed) -> int:
    return max(int(line[1]) for line in doomed.lines() if line[0] == "row")


def _returned(doomed: Doomed) -> int:
    return max(int(line[3]) for line in doomed.lines() if line[0] == "doc")


def _alarms(doomed: Doomed) -> list[str]:
    return [" ".join(line[1:]) for line in doomed.lines() if line[0] == "alarm"]


def _raised(doomed: Doomed) -> bool:
    return any(line[0] == "raised" for line in doomed.lines())


def _readable(doomed: Doomed) -> Kept:
    if not inspect(doomed.journal).clean:
        raise AssertionError(f"{doomed.journal}: {inspect(doomed.journal)}")
    return kept_in(doomed.journal)


def _full_for_a_while(folder: Path, processes: Nursery) -> Outcome:
    with small_disk(folder / "disk") as disk:
        doomed = _started(processes, folder, disk)
        on_disk = _readable(doomed).rows
        time.sleep(FULL_FOR_S)
        meanwhile = _readable(doomed).rows - on_disk
        disk.free()
        doomed.wait_for("alarm", 2)
        time.sleep(0.3)
        doomed.end()
        kept, received = _readable(doomed), _received(doomed)
    return Outcome(
        fault=f"disk full for {FULL_FOR_S:g} s under a run of 200 rows/s",
        expected="an alarm at once; the run goes on in memory; every row the driver received is "
        "written when there is room",
        observed=f"{len(_alarms(doomed))} alarms; {received} rows received, {on_disk} written "
        f"before, {meanwhile} while the disk was full, {kept.rows} at the end",
        rows_lost=received - kept.rows + kept.wrong,
        as_expected=kept.ended and not _raised(doomed) and len(_alarms(doomed)) == 2,
    )


def _full_for_too_long(folder: Path, processes: Nursery) -> Outcome:
    with small_disk(folder / "disk") as disk:
        doomed = _started(processes, folder, disk, patience_s=PATIENCE_S)
        doomed.wait_for("raised")
        stopped_with = _readable(doomed).rows
        disk.free()
        time.sleep(0.5)
        doomed.end()
        kept, returned = _readable(doomed), _returned(doomed)
    return Outcome(
        fault=f"disk full for longer than it is waited ({PATIENCE_S:g} s), room after that",
        expected="the plan is stopped by JournalError; what its callbacks had taken is written "
        "when there is room",
        observed=f"stopped with {stopped_with} rows on the disk; {returned} taken, "
        f"{kept.rows} at the end",
        rows_lost=max(0, returned - kept.rows) + kept.wrong,
        as_expected=kept.ended and _raised(doomed),
    )


def _full_for_ever(folder: Path, processes: Nursery) -> Outcome:
    with small_disk(folder / "disk") as disk:
        doomed = _started(processes, folder, disk, patience_s=PATIENCE_S)
        before = _readable(doomed).rows
        doomed.wait_for("raised")
        doomed.end()
        kept, returned = _readable(doomed), _returned(doomed)
    told = [alarm for alarm in _alarms(doomed) if "NOT written" in alarm]
    return Outcome(
        fault="disk full until the program ends",
        expected="the plan is stopped by JournalError; every row written before is there; what "
        "waited in memory is told as not written",
        observed=f"{before} rows written before, {kept.rows} at the end; {returned - kept.rows} "
        f"rows of {PATIENCE_S:g} s waited and were told as not written",
        rows_lost=max(0, before - kept.rows) + kept.wrong,
        as_expected=_raised(doomed)
        and len(told) == 1
        and f"with {returned - kept.rows} rows were NOT written" in told[0],
    )


def _full_of_memory(folder: Path, processes: Nursery) -> Outcome:
    limit = 500_000
    with small_disk(folder / "disk") as disk:
        doomed = processes.start(
            folder / "process", "no engine", data=disk.data, patience_bytes=limit
        )
        doomed.wait_for("raised")  # it fills the disk by itself
        disk.fill()
        (disk.data.parent / "ballast").unlink()
        grown = doomed.journal.stat().st_size
        subprocess.run(
            ["mount", "-o", f"remount,size={2 * _SIZE_BYTES}", str(folder / "disk")],
            check=True,
            capture_output=True,
        )
        time.sleep(0.5)
        doomed.end()
        kept, returned = _readable(doomed), _returned(doomed)
        after = doomed.journal.stat().st_size - grown
    return Outcome(
        fault=f"disk full, and more waits than may ({limit / 1e6:g} MB), room after that",
        expected="refused by JournalError; what was taken is written when there is room",
        observed=f"{returned} rows taken at full speed, {kept.rows} at the end, "
        f"{after / 1e6:.2g} MB of them from memory",
        rows_lost=max(0, returned - kept.rows) + kept.wrong,
        as_expected=_raised(doomed) and 0 < after <= limit,
    )


def _full_at_the_end(folder: Path, processes: Nursery) -> Outcome:
    with small_disk(folder / "disk") as disk:
        doomed = _started(processes, folder, disk)
        doomed.notes.with_name("end").touch()
        time.sleep(1.0)
        running = not any(line[0] == "end" for line in doomed.lines())
        disk.free()
        doomed.wait()
        kept, received = _readable(doomed), _received(doomed)
    return Outcome(
        fault="disk full when the run ends, room 1 s later",
        expected="the program waits; every row and the stop are written",
        observed=f"{received} rows received, {kept.rows} at the end, "
        + ("with its stop" if kept.ended else "without a stop"),
        rows_lost=received - kept.rows + kept.wrong,
        as_expected=running and kept.ended,
    )


def _read_only_before(folder: Path) -> Outcome:
    with mounted(folder / "disk", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs") as root:
        try:
            check_writable(root / "data")
            told = "not refused"
        except JournalError as error:
            told = str(error)
    refused = "Read-only file system" in told and "make this file system writable" in told
    return Outcome(
        fault="read-only file system before a run",
        expected="refused before any port is opened, with what to do",
        observed="refused, with what to do" if refused else told,
        rows_lost=0,
        as_expected=refused,
    )


def _no_image_can_be_mounted(image: Path, folder: Path) -> str:
    """Make a file system in an image and mount it; return why that cannot be done here."""
    # In a name space of its own, root may mount memory but no image.
    whole = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    if not whole or not os.access("/dev/loop-control", os.W_OK):
        return "it takes root and loop devices"
    image.write_bytes(bytes(20_000_000))
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
        with mounted(folder, "-o", "loop,errors=remount-ro", str(image)):
            device = os.stat(folder).st_dev
            trigger = _trigger_of_errors(device)
            return "" if os.access(trigger, os.W_OK) else f"it takes {trigger}"
    except (OSError, subprocess.CalledProcessError, NotTriedError) as error:
        return str(error)


def _rows_in(journal: Path, size: int, folder: Path) -> Kept:
    """Return what the first bytes of a journal hold."""
    copy = folder / f"{size}.opj"
    copy.write_bytes(journal.read_bytes()[:size])
    return kept_in(copy)


def _trigger_of_errors(device: int) -> Path:
    """Return what makes ext4 on this device believe that it is damaged."""
    name = os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    return Path("/sys/fs/ext4", Path(name).name, "trigger_fs_error")


def _read_only_under_a_run(folder: Path, processes: Nursery) -> Outcome:
    fault = "file system that the system makes read-only under a run (ext4 after an error)"
    expected = (
        "as on a full disk: alarm, memory, then JournalError; every row that was on the disk "
        "before the error is there after the file system was repaired"
    )
    folder.mkdir()
    image = folder / "image"
    obstacle = _no_image_can_be_mounted(image, folder / "tried")
    if obstacle:
        return Outcome(fault, expected, obstacle, 0, tried=False)
    disk = folder / "disk"
    with mounted(disk, "-o", "loop,errors=remount-ro", str(image)):
        doomed = processes.start(
            folder / "process", "pages", data=disk / "data", patience_s=PATIENCE_S, log=True
        )
        doomed.wait_for("doc", 8)
        # While it handles the error ext4 answers some fdatasync with success that was none: 2 of 60
        # times a bare loop of write and fdatasync (Linux 6.18). Those are told and not counted: no
        # program can know of them, and nothing can be written there any more.
        broken_at = time.monotonic()
        _trigger_of_errors(os.stat(disk).st_dev).write_text("a trial")
        doomed.wait_for("raised")
        syncs = [(int(x[1]), float(x[3])) for x in doomed.lines() if x[0] == "sync"]
        before, answered = (
            _rows_in(doomed.journal, max(size for size, ended in syncs if ended <= until), folder)
            for until in (broken_at, math.inf)
        )
        doomed.end()
    subprocess.run(["e2fsck", "-fy", str(image)], check=False, capture_output=True)
    with mounted(folder / "again", "-o", "loop", str(image)) as root:
        (journal,) = root.rglob("*.opj")
        kept = kept_in(journal)
    return Outcome(
        fault=fault,
        expected=expected,
        observed=f"{len(_alarms(doomed))} alarms, then stopped; {before.rows} rows were on the "
        f"disk, {kept.rows} are there; syncs answered while the error came: "
        f"{max(0, answered.rows - max(before.rows, kept.rows))} rows that are not",
        rows_lost=max(0, before.rows - kept.rows) + kept.wrong,
        as_expected=_raised(doomed) and before.rows > 0,
    )
