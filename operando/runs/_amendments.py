"""The changes of its protocol that a run went through, as its record tells them."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from techniques.requests import AMENDED, NOT_AMENDED, NOTHING_LEFT, SKIPPED

if TYPE_CHECKING:
    from operando.runs._run import Run


@dataclass(frozen=True)
class Amendment:
    """From a half-cycle on a run was under another protocol.

    Attributes:
        half_cycle: The first that was.
        cycle: The counter of cycles when that began, before a cycle that began with it.
        t_s: The leader's time then, s.
        by: Who asked for it.
        why: Why.
        protocol: The other protocol.
        technique: What it runs on the cell, all of it, as written from its own beginning.
        before: The technique until then, likewise.
        limits: The safety limits from then on, of cell, bench and protocol together.
    """

    half_cycle: int
    cycle: int
    t_s: float
    by: str
    why: str
    protocol: Mapping[str, Any]
    technique: Mapping[str, Any]
    before: Mapping[str, Any]
    limits: Mapping[str, Any]

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, for the start document of a run that goes on."""
        return asdict(self)


def amendments_of(run: "Run") -> tuple[Amendment, ...]:
    """Return the changes that took effect, in their order; those before a run that goes on first.

    A program that goes on under another protocol says so, and what was asked for last is that
    protocol.
    """
    before = [Amendment(**told) for told in run.start.get("amendments") or ()]
    return (*before, *_made(run))


def pending_requests(run: "Run") -> tuple[Mapping[str, Any], ...]:
    """Return the columns of the requests of a run of which nothing came, in their order.

    A change of the protocol that no program went on under, and that was not given up; a stop or a
    skipped step behind which no program began.
    """
    programs = _rows(run, "programs")
    begun_s = [float(one["t"]) for one in programs]
    changed_s = [float(one["t"]) for one in programs if str(one["reason"]).startswith(AMENDED)]
    requests = _rows(run, "requests")
    given_up = max(
        (n for n, one in enumerate(requests) if one["request"] == NOT_AMENDED), default=-1
    )
    return tuple(
        one
        for number, one in enumerate(requests)
        if float(one["t"])
        >= max(changed_s if one["request"] == "amend" else begun_s, default=-math.inf)
        and one["request"] != NOT_AMENDED
        # The change that was given up had taken the place of those before it.
        and not (one["request"] == "amend" and number < given_up)
    )


def skipped_half_cycles(run: "Run") -> tuple[int, ...]:
    """Return the numbers of the half-cycles that did not come to their end: somebody had asked.

    They were skipped, or had passed more than another protocol asks for when that came.
    """
    return tuple(
        int(json.loads(one["begin"])["half_cycle"])
        for one in _rows(run, "programs")
        if _left_out(str(one["reason"]))
    )


def _left_out(reason: str) -> bool:
    """Return whether a program goes on behind a half-cycle that did not come to its end."""
    if reason.startswith(AMENDED):
        return reason.endswith(NOTHING_LEFT)
    return SKIPPED in reason and reason.startswith(("plate", "strip"))


def _made(run: "Run") -> Iterator[Amendment]:
    asked = [one for one in _rows(run, "requests") if one["request"] == "amend"]
    for program in _rows(run, "programs"):
        t_s = float(program["t"])
        # What is asked before the first row of that program is told at the time of its beginning.
        told = [one for one in asked if float(one["t"]) < t_s]
        if not told or not str(program["reason"]).startswith(AMENDED):
            continue
        begin, one = json.loads(program["begin"]), told[-1]
        yield Amendment(
            half_cycle=_first_half_cycle(program.get("technique"), int(begin["half_cycle"])),
            cycle=int(begin["cycle"]),
            t_s=t_s,
            by=str(one["by"]),
            why=str(one["why"]),
            protocol=json.loads(one["protocol"]),
            technique=json.loads(one["technique"]),
            before=json.loads(one["before"]),
            limits=json.loads(one["limits"]),
        )


def _first_half_cycle(technique: Any, half_cycle: int) -> int:
    """Return the first half-cycle that runs under the protocol of a program, as that is stored."""
    from pydantic import TypeAdapter

    from techniques import Technique
    from techniques.amended import first_half_cycle

    adapter: TypeAdapter[Technique] = TypeAdapter(Technique)
    try:
        program = adapter.validate_json(technique or "")
    except ValueError:  # of a newer version
        program = None
    return first_half_cycle(program, half_cycle)


def _rows(run: "Run", name: str) -> list[dict[str, Any]]:
    stream = run.streams.get(name)
    if stream is None:
        return []
    keys = {key.removeprefix(f"{name}_"): values for key, values in stream.columns.items()}
    return [{key: values[row] for key, values in keys.items()} for row in range(len(stream))]
