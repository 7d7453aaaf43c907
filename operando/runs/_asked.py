"""What a run was asked for: under which protocol each of its half-cycles was."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from operando.runs._amendments import Amendment
    from operando.runs._run import Run

_LEADER = "potentiostat"
_DRIVEN = (-1, 1)  # roles of its rows that plate or strip


@dataclass(frozen=True)
class Asked:
    """What a run was asked for in some half-cycles in a row: in all, if nobody changed it.

    Attributes:
        first_half_cycle: The first of them; 1 of the protocol with which a run began.
        last_half_cycle: The last of them; ``None``: nothing came after it. Smaller than the first
            where another protocol came before any half-cycle of this one.
        first_cycle: The first cycle that began under it.
        last_cycle: The last one; ``None`` as before.
        begin_s: From when on the instrument did what it asks for, leader's time, s. What runs
            between half-cycles, a rest or a spectrum, belongs to one or the other by it alone.
        protocol: The name of the protocol, or of the plan where there was none.
        technique: All that it runs on the cell, from its own beginning; ``None``: not recorded.
        written: That as it was written in the protocol.
        own_limits: The safety limits of the protocol itself.
        limits: The safety limits of cell, bench and protocol together.
        rules: Its rules; ``None``: not recorded.
        by: Who asked for it; empty of the one with which the run began.
        why: Why.
        given: The whole protocol as it was given, of the one with which the run began as far as
            the start document tells it; ``None``: not recorded.
    """

    first_half_cycle: int
    last_half_cycle: int | None
    first_cycle: int
    last_cycle: int | None
    begin_s: float
    protocol: str
    technique: Any
    written: Any
    own_limits: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    rules: Any = None
    by: str = ""
    why: str = ""
    given: Mapping[str, Any] | None = None

    @property
    def has_half_cycles(self) -> bool:
        """Return whether any half-cycle was to be under it."""
        return self.last_half_cycle is None or self.last_half_cycle >= self.first_half_cycle

    @property
    def told(self) -> str:
        """Return from where on it held, and for whom, in words."""
        if not self.by:
            return f"protocol {self.protocol!r}, with which the run began"
        because = f": {self.why}" if self.why else ""
        return (
            f"protocol {self.protocol!r} from half-cycle {self.first_half_cycle} on (cycle "
            f"{self.first_cycle} is the first that began under it), by {self.by}{because}"
        )

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, for whoever reads a table or a file of the run."""
        return {
            "from_half_cycle": self.first_half_cycle,
            "to_half_cycle": self.last_half_cycle,
            "from_cycle": self.first_cycle,
            "to_cycle": self.last_cycle,
            "from_s": self.begin_s if math.isfinite(self.begin_s) else None,
            "protocol": self.protocol,
            "technique": self.technique,
            "technique_as_written": self.written,
            "limits": {"protocol": self.own_limits, "effective": self.limits},
            "by": self.by or None,
            "why": self.why or None,
        }


def asked_of(run: "Run") -> tuple[Asked, ...]:
    """Return what a run was asked for, in the order of its half-cycles; one if nobody changed it.

    The half-cycle in which a change is made without a rest counts whole as one of the new protocol,
    which has what passed of it before taken off; if that leaves nothing of it, as one of the old
    one. A cycle counts as one of the protocol under which it began.
    """
    first = asked_at_the_start(run.start)
    amendments = run.amendments
    if not amendments:
        return (first,)
    found = [first]
    for one in amendments:
        cycle = _cycles_before(run, one.half_cycle)
        if cycle is None:
            cycle = _cycles_told(found[-1], one)
        protocol = one.protocol
        found.append(
            Asked(
                first_half_cycle=one.half_cycle,
                last_half_cycle=None,
                first_cycle=cycle + 1,
                last_cycle=None,
                begin_s=one.t_s,
                protocol=str(protocol.get("name", "")),
                technique=one.technique,
                written=protocol.get("technique", one.technique),
                own_limits=protocol.get("limits") or {},
                limits=one.limits,
                rules=_rules_of(protocol),
                by=one.by,
                why=one.why,
                given=protocol,
            )
        )
    return _until_the_next(found)


def asked_at_the_start(start: Mapping[str, Any]) -> Asked:
    """Return what a start document says that a run was asked for, as if nobody had changed it."""
    limits = start.get("limits") or {}
    technique = start.get("technique")
    return Asked(
        first_half_cycle=1,
        last_half_cycle=None,
        first_cycle=1,
        last_cycle=None,
        begin_s=-math.inf,
        protocol=str(start.get("protocol") or start.get("plan_name") or ""),
        technique=technique,
        written=start.get("technique_as_written") or technique,
        own_limits=limits.get("protocol") or {},
        limits=limits.get("effective") or {},
        rules=start.get("rules"),
        given=protocol_at_the_start(start),
    )


def protocol_at_the_start(start: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the protocol that a start document tells, as data; ``None``: it tells no technique.

    The technique is that which was written: on another sample it may become another program. What
    is not told is not in it; that there are no rules is told.
    """
    technique, sample = start.get("technique"), start.get("sample")
    if not isinstance(technique, Mapping):
        return None
    told = {
        "name": start.get("protocol") or "unnamed",
        "cell": str(sample.get("cell_id", "")) if isinstance(sample, Mapping) else "",
        "technique": start.get("technique_as_written") or technique,
        # The sample tells its own again, or is another one that does not.
        "failure_criteria": start.get(
            "failure_criteria_of_protocol"
            if isinstance(sample, Mapping) and sample.get("failure_criteria") is not None
            else "failure_criteria"
        ),
        "limits": (start.get("limits") or {}).get("protocol"),
    }
    told |= {key: start.get(key) for key in ("every", "on_failure", "temperatures", "gas_check")}
    told = {key: value for key, value in told.items() if value}
    return told | ({"rules": start["rules"]} if "rules" in start else {})


def in_half_cycle(asked: Sequence[Asked], number: int) -> Asked:
    """Return what was asked for in a half-cycle, by its number from 1."""
    return next((one for one in reversed(asked) if one.first_half_cycle <= number), asked[0])


def at_time(asked: Sequence[Asked], t_s: float) -> Asked:
    """Return what the instrument was doing at a leader's time, s."""
    return next((one for one in reversed(asked) if one.begin_s <= t_s), asked[0])


def told_of_each(asked: Iterable[Asked], tell: Callable[[Asked], str]) -> str:
    """Return what ``tell`` says of each, and until which half-cycle where it does not stay so.

    E.g. ``1 mA/cm2 until half-cycle 6, then 0.5 mA/cm2``.
    """
    parts: list[tuple[str, int | None]] = []
    for one in asked:
        if not one.has_half_cycles:
            continue
        text = tell(one)
        if parts and parts[-1][0] == text:
            parts.pop()
        parts.append((text, one.last_half_cycle))
    *before, (last, _) = parts
    told = [f"{text or 'nothing'} until half-cycle {number}" for text, number in before]
    return ", then ".join((*told, last or "nothing")) if told else last


def told_protocols(asked: Sequence[Asked]) -> str:
    """Return the names of the protocols, and until which half-cycle each held if several did."""
    several = [one for one in asked if one.has_half_cycles]
    texts = [one.protocol for one in several]
    for k, one in enumerate(several[1:], 1):
        if one.protocol == several[k - 1].protocol:
            texts[k] = f"{one.protocol} as changed by {one.by}"
    names = dict(zip((one.begin_s for one in several), texts, strict=True))
    return told_of_each(several, lambda one: names[one.begin_s])


def _until_the_next(found: list[Asked]) -> tuple[Asked, ...]:
    ends = [
        replace(
            one,
            last_half_cycle=after.first_half_cycle - 1,
            last_cycle=after.first_cycle - 1,
        )
        for one, after in pairwise(found)
    ]
    return (*ends, found[-1])


def _cycles_before(run: "Run", half_cycle: int) -> int | None:
    """Return how many cycles began before a half-cycle; ``None``: no row tells."""
    stream = run.streams.get(_LEADER)
    names = [f"{_LEADER}_{name}" for name in ("half_cycle", "cycle", "role")]
    if stream is None or not set(names) <= set(stream.columns):
        return None
    number, cycle, role = (np.asarray(stream.columns[name], dtype=np.float64) for name in names)
    before = np.isin(role, _DRIVEN) & (number < half_cycle) & np.isfinite(cycle)
    return int(cycle[before].max()) if before.any() else None


def _cycles_told(before: Asked, change: "Amendment") -> int:
    """Return how many cycles began before a change by the technique that held until then.

    The counter at the change has that of a half-cycle in which it was made, too.
    """
    from pydantic import TypeAdapter

    from techniques import Technique
    from techniques.amended import cycles_begun

    adapter: TypeAdapter[Technique] = TypeAdapter(Technique)
    try:
        technique = adapter.validate_python(before.technique)
    except ValueError:  # of a newer version
        return change.cycle
    until = cycles_begun(technique, change.half_cycle - 1)
    return before.first_cycle - 1 + until - cycles_begun(technique, before.first_half_cycle - 1)


def _rules_of(protocol: Mapping[str, Any]) -> Any:
    """Return the rules of a protocol that was given, those that it has by default too."""
    from techniques import Protocol

    try:
        rules = Protocol.model_validate(protocol).rules
    except ValueError:  # of a newer version
        return protocol.get("rules")
    return [rule.model_dump(mode="json") for rule in rules]
