"""Running a recorded protocol once more, on another sample.

Everything comes from the record: the technique, the schedule of the followers and the protocol's
own limits as they were, whatever became of the protocol's file. Cell and bench are today's.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from operando.configuration import load_cell
from operando.journal import (
    JournalError,
    chain_of,
    documents,
    journal_path,
    resolve_uid,
    telling_documents,
)
from techniques import Cell, Schedule, UnsuitableCellError
from techniques import Protocol as RunProtocol

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)


class RerunError(Exception):
    """A run cannot be run once more; the message says what its record lacks."""


class RunsProtocols(Protocol):
    """What a re-run needs of a session: `operando.session.Session` has it."""

    data_dir: Path
    RE: Any

    def run_protocol(
        self,
        protocol: RunProtocol,
        cell: Cell,
        every: Schedule | None = None,
        md: Mapping[str, Any] | None = None,
    ) -> str:
        """Run a protocol on a cell and return the new run's uid."""


@dataclass(frozen=True)
class Recorded:
    """What a run's record says was to be done.

    Attributes:
        uid: the run; of an experiment in several runs the first.
        protocol: technique, schedule and the protocol's own limits, as they were.
        cell: the sample it ran on, as it was described.
    """

    uid: str
    protocol: RunProtocol
    cell: Cell

    @property
    def md(self) -> dict[str, Any]:
        """Return what the start document of a re-run says of its origin."""
        return {"replay_of": self.uid, "provenance": {"kind": "rerun", "of": self.uid}}


def recorded(uid: str, data_dir: Path | str) -> Recorded:
    """Return what a run was asked to do.

    A run that resumed another stands for the whole experiment: what the first run was asked is
    returned, not the rest that was left. Of one whose protocol was changed while it ran it is the
    protocol with which it began, and the change is warned of.

    Args:
        uid: whole uid, beginning of a uid, or ``last``.
        data_dir: the data folder.

    Raises:
        LookupError: if there is no such run.
        RerunError: if the run has no technique, or one that this version does not understand.
    """
    from operando.runs import protocol_at_the_start

    whole = resolve_uid(data_dir, uid)
    start = _start(whole, data_dir)
    root = (start.get("resume") or {}).get("root", whole)
    if root != whole:
        try:
            start = _start(root, data_dir)
        except LookupError:
            pass  # every run of the experiment carries the technique of the first
    technique, sample = start.get("technique"), start.get("sample")
    if not isinstance(technique, Mapping) or not isinstance(sample, Mapping):
        lacking = "technique" if not isinstance(technique, Mapping) else "sample"
        plan = start.get("plan_name") or "a plan without a name"
        raise RerunError(
            f"run {whole} ({plan}) has no {lacking} in its record, so nobody knows what to run: "
            "only runs of a protocol (operando run, session.run_protocol) can be run again"
        )
    protocol = _understood(RunProtocol, protocol_at_the_start(start) or {}, whole)
    if protocol.rules_by_default and protocol.rules:
        logger.warning(
            "the record of run %s tells no rules: those hold that a protocol has by default (%s)",
            whole[:8],
            ", ".join(repr(rule.name) for rule in protocol.rules),
        )
    found = Recorded(root, protocol, _understood(Cell, sample, whole))
    _warn_of_other_potentials(found, start)
    _warn_of_changes(found, Path(data_dir))
    return found


def rerun(
    session: RunsProtocols,
    uid: str = "last",
    cell: Cell | str | Path | None = None,
    md: Mapping[str, Any] | None = None,
) -> str:
    """Run a recorded protocol once more and return the new run's uid.

    The start document of the new run names its origin in ``replay_of`` and ``provenance``.

    Args:
        session: a connected session.
        uid: whole uid, beginning of a uid, or ``last``.
        cell: the new sample, or the name or path of its file; by default the sample of the record.
        md: more metadata for the start document.

    Raises:
        RerunError: the record does not say what to run.
        LookupError: there is no such run.
        RunFailedError, ConfigurationError, InstrumentError, JournalError: as from
            `operando.session.Session.run_protocol`.
    """
    asked = recorded(uid, session.data_dir)
    sample = asked.cell if cell is None else cell if isinstance(cell, Cell) else load_cell(cell)
    return session.run_protocol(
        asked.protocol, cell=sample, md={**origin(asked, session), **(md or {})}
    )


def origin(asked: Recorded, session: RunsProtocols) -> dict[str, Any]:
    """Return what a re-run in ``session`` says of its origin; a replayed cell is told as well."""
    md = asked.md
    bench = session.RE.md.get("provenance")
    if isinstance(bench, Mapping) and bench.get("kind") == "replayed_cell":
        md["provenance"]["replayed_cell"] = bench["of"]
    return md


def _warn_of_other_potentials(asked: Recorded, start: Mapping[str, Any]) -> None:
    """Warn where the steps of an experiment would end at other potentials than they did.

    Those of experiments were once told against the reference electrode, now against the metal.
    """
    if asked.cell.reference_electrode is None or "technique_as_written" not in start:
        return
    try:
        program = asked.protocol.program(asked.cell)
    except UnsuitableCellError:
        return  # whoever runs it is told
    then, now = _potentials_v(start["technique"]), _potentials_v(program.model_dump(mode="json"))
    if then != now:
        logger.warning(
            "the steps of run %s ended at %s against %s, and would now end at %s: potentials of "
            "experiments are told against %s now. Write a protocol file with those that you mean",
            asked.uid[:8],
            _told_v(then),
            asked.cell.reference_electrode,
            _told_v(now),
            asked.cell.metal,
        )


def _warn_of_changes(asked: Recorded, data_dir: Path) -> None:
    """Warn where the protocol of an experiment was changed while it ran: that is not run again."""
    from operando.runs import Run, join

    try:
        runs = [
            Run.from_documents(telling_documents(journal_path(data_dir, uid)))
            for uid in chain_of(data_dir, asked.uid)
        ]
        changed = join(runs).asked[1:]
    except (JournalError, LookupError, OSError, ValueError) as error:
        logger.warning(
            "whether the protocol of run %s was changed while it ran cannot be told: %s",
            asked.uid[:8],
            error,
        )
        return
    if changed:
        logger.warning(
            "the protocol of run %s was changed while it ran, to %s. What is run again is protocol "
            "%r, with which it began, to its own end; operando export --to rocrate writes the "
            "others as protocol files",
            asked.uid[:8],
            ", then to ".join(one.told for one in changed),
            asked.protocol.name,
        )


def _potentials_v(part: object) -> frozenset[float]:
    """Return the potentials of the limits of a stored program, V."""
    values = part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ()
    found = frozenset[float]().union(*map(_potentials_v, values))
    if isinstance(part, Mapping) and "potential" in str(part.get("quantity")):
        return found | {float(part["value"])}
    return found


def _told_v(potentials_v: frozenset[float]) -> str:
    return " and ".join(f"{value:g} V" for value in sorted(potentials_v)) or "no potential"


def _start(uid: str, data_dir: Path | str) -> dict[str, Any]:
    for name, doc in documents(journal_path(Path(data_dir), uid)):
        if name == "start":
            return doc
    raise RerunError(f"the journal of run {uid} does not begin with a start document")


def _understood(model: type[Model], data: Mapping[str, Any], uid: str) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RerunError(
            f"the record of run {uid} is not understood by this version of operando "
            f"({model.__name__.lower()}, {where}: {first['msg']}); use the version that wrote it, "
            "or write a protocol file"
        ) from error
