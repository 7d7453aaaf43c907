"""Putting what instruments hold into the record: pages of the leader, events of followers."""

from collections.abc import Mapping
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from instruments._follower import Follower
from instruments.errors import InstrumentError
from instruments.potentiostat.device import PotentiostatDevice
from plans.course import ON_DISK_S, Course

COLLECT_EVERY_S = 0.1
POLL_S = 0.02
# How long the end of a run waits for followers that are still busy; a chromatogram takes minutes.
PATIENCE_S = 600.0


def record_held(potentiostat: PotentiostatDevice) -> MsgGenerator:
    """Record the rows that the potentiostat holds; return when they are safe on the disk.

    Raises InstrumentError if not all of them were recorded: the logs they are from must be kept.
    """
    before = potentiostat.given_rows + potentiostat.impedance.given_rows
    held = potentiostat.release_rows()
    if not held:
        return
    yield from collect(potentiostat)
    given = potentiostat.given_rows + potentiostat.impedance.given_rows - before
    if given != held:
        raise InstrumentError(
            f"{potentiostat.name}: {held} rows were collected and {given} of them recorded; the "
            "instrument keeps its log of them"
        )
    yield from bps.sleep(ON_DISK_S)


def collect(potentiostat: PotentiostatDevice) -> MsgGenerator:
    """Save the rows that have arrived, as event pages."""
    for device, stream in (
        (potentiostat, potentiostat.name),
        (potentiostat.impedance, "impedance"),
    ):
        yield from bps.collect(device, name=stream, return_payload=False)


def collect_all(potentiostat: PotentiostatDevice) -> MsgGenerator:
    """Save rows until every one is on its way to the disk."""
    yield from collect(potentiostat)
    while potentiostat.unsaved_rows:
        yield from bps.sleep(COLLECT_EVERY_S)
        yield from collect(potentiostat)


def save(followers: Mapping[str, Follower], course: Course | None = None) -> MsgGenerator:
    """Save each row that is ready as one event."""
    for follower in followers.values():
        streams = [(follower, follower.name)]
        result = getattr(follower, "result", None)
        if result is not None:
            streams.append((result, "chromatogram"))
        for device, stream in streams:
            for _ in range(device.pending()):
                yield from bps.create(name=stream)
                reading = yield from bps.read(device)
                yield from bps.save()
                if course is not None and reading is not None:
                    course.read(stream, _with_trace(device, reading))
    if course is not None:
        yield from course.note_loans(followers)


def _with_trace(device: Any, reading: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a reading with the trace of a chromatogram, which the record has in a file."""
    trace = getattr(device, "trace", ())
    return {**reading, f"{device.name}_trace": {"value": trace}} if trace else reading


def wait_for(followers: Mapping[str, Follower], course: Course) -> MsgGenerator:
    """Save rows until every follower, and every result still to come, is there.

    Raises what an exchange of a follower failed with.
    """
    waited = 0.0
    while waited < PATIENCE_S:
        busy = any(follower.busy for follower in followers.values())
        results = (getattr(follower, "result", None) for follower in followers.values())
        expected = any(result.expected() for result in results if result is not None)
        yield from save(followers, course)
        if not busy:
            for follower in followers.values():
                if follower.failure is not None:
                    raise follower.failure
        if not busy and not expected:
            return
        yield from bps.sleep(POLL_S)
        waited += POLL_S
