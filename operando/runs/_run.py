"""A run and its streams as named arrays with units."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from numpy.typing import NDArray

from operando.runs._assets import Asset, Document, Floats

if TYPE_CHECKING:
    from operando.runs._amendments import Amendment
    from operando.runs._asked import Asked

T = TypeVar("T")


@dataclass(frozen=True)
class Stream:
    """One stream of a run.

    Attributes:
        name: The stream's name, e.g. ``potentiostat``.
        columns: Event key -> values by row, float64, shape (rows, ...); it does not show whether
            they came in events or lay in the columns of a file.
        units: Event key -> units as the descriptor tells them; absent if it tells none.
        time: When each row was taken, s since the epoch (host clock).
        configuration: Configuration key -> value, of all devices of the stream.
        assets: Event key -> rows in files.
        joints: Rows with which a later run of the same experiment begins; none in a run by itself.
        begins: Rows with which the runs of an experiment begin, by `Run.members`; a run without
            rows has that of the next one. None in a run by itself.
        holes: Rows before which others are missing, because a journal is damaged; the number of
            rows where they are missing at the end.
    """

    name: str
    columns: Mapping[str, NDArray[Any]]
    units: Mapping[str, str]
    time: Floats
    configuration: Mapping[str, Any]
    assets: Mapping[str, Asset]
    joints: tuple[int, ...] = ()
    holes: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.time)

    def asset(self, key: str) -> Asset:
        """Return the rows of ``key`` that live in files; raises KeyError if it has none."""
        try:
            return self.assets[key]
        except KeyError:
            raise KeyError(
                f"stream {self.name!r} has no files for {key!r}; it has {sorted(self.assets)}"
            ) from None


@dataclass(frozen=True)
class Run:
    """A run, finished or not: its documents' data as arrays.

    An experiment that was interrupted and resumed is several runs, and read as one: the streams
    joined in the order of the runs, the first one's start document and the last one's stop.

    Attributes:
        start: The start document; empty if it has not arrived. Of several runs the first one's,
            with their uids as ``chain``.
        stop: The stop document; None while the run goes on or when its writer died.
        streams: Name -> stream; a stream that was never declared is absent.
        members: The start documents of the runs it is made of, in their order.
        attachments: The start documents of the runs that hold late results of it, in the order
            they were attached; their rows are among those of `streams`.
        notes: What does not fit together in these runs, and their damage, in sentences.
        damage: What is damaged in their journals, and which rows are missing for it, in sentences;
            empty if they could be read whole.
        files: The files that rows of theirs lie in.
        folder: The data folder that it was read from; ``None``: it was not read from one.
    """

    start: Document
    stop: Document | None
    streams: Mapping[str, Stream]
    members: tuple[Document, ...] = ()
    attachments: tuple[Document, ...] = ()
    notes: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    folder: Path | None = field(default=None, compare=False)
    # What was computed from rows that never change again; shared by the views of one builder.
    _memory: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def uid(self) -> str:
        """Return the run's identifier; empty before the start document."""
        return str(self.start.get("uid", ""))

    @property
    def chain(self) -> tuple[str, ...]:
        """Return the uids of the runs it is made of, in their order."""
        return tuple(str(member.get("uid", "")) for member in self.members) or (self.uid,)

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the uids of all runs whose rows it shows: `chain`, then its attachments."""
        return (*self.chain, *(str(one.get("uid", "")) for one in self.attachments))

    @property
    def complete(self) -> bool:
        """Return whether the stop document has arrived."""
        return self.stop is not None

    @property
    def amendments(self) -> "tuple[Amendment, ...]":
        """Return the changes of its protocol that it went through, in their order."""
        from operando.runs._amendments import amendments_of

        return amendments_of(self)

    @property
    def asked(self) -> "tuple[Asked, ...]":
        """Return what it was asked for, and in which of its half-cycles; one if nothing changed.

        Who needs its technique, its limits or its protocol asks here: the start document tells
        those with which it began.
        """
        from operando.runs._asked import asked_of

        return asked_of(self)

    @property
    def changes(self) -> tuple[tuple[int, Mapping[str, Any]], ...]:
        """Return the first half-cycle and the technique of each other protocol it came under."""
        return tuple((one.half_cycle, one.technique) for one in self.amendments)

    @property
    def skipped(self) -> tuple[int, ...]:
        """Return the numbers of the half-cycles that somebody had ended before their time.

        They were skipped, or another protocol left nothing of them.
        """
        from operando.runs._amendments import skipped_half_cycles

        return skipped_half_cycles(self)

    def remembered(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return ``compute()``, computed once for this run and the later views of it.

        ``key`` must name everything the result depends on, rows included.
        """
        if key not in self._memory:
            self._memory[key] = compute()
        return cast(T, self._memory[key])

    def continued(
        self, key: Hashable, more: Callable[[tuple[T, ...]], Iterable[T]]
    ) -> tuple[T, ...]:
        """Return one result per row, computing only those of rows that are new.

        ``more`` takes the results known so far and returns those that follow; as rows never
        change, results are kept for the later views of this run.
        """
        known = cast(tuple[T, ...], self._memory.get(key, ()))
        results = (*known, *more(known))
        self._memory[key] = results
        return results

    @classmethod
    def from_documents(cls, documents: Iterable[tuple[str, Document]]) -> "Run":
        """Return the run that ``documents``, pairs of name and document, tell of."""
        from operando.runs._builder import RunBuilder

        builder = RunBuilder()
        for name, doc in documents:
            builder(name, doc)
        return builder.run

    @classmethod
    def from_journal(
        cls,
        uid: str = "last",
        data_dir: Path | None = None,
        *,
        chain: bool = True,
        without: Collection[str] = (),
    ) -> "Run":
        """Read a run from its journal, and what was attached to it from theirs.

        Args:
            uid: A uid, the beginning of one, or ``last``.
            data_dir: The data folder; by default the configured one.
            chain: Whether the runs that it continues, and that continue it, belong to it.
            without: Attachments, by their whole uids, that are left out.
        """
        from operando import journal
        from operando.runs._damage import read_journal, with_deleted

        def read(uid: str, folder: Path) -> Run:
            run, damage = read_journal(journal.journal_path(folder, uid), expand=folder)
            rows = {name: len(stream) for name, stream in run.streams.items()}
            journal.remember_damage(folder, uid, damage, rows)
            return with_deleted(run, folder)

        return cls._from(read, uid, data_dir, chain=chain, without=without)

    @classmethod
    def from_catalog(cls, uid: str, data_dir: Path | None = None, *, chain: bool = True) -> "Run":
        """Read a run from the catalog, through databroker; arguments as for `from_journal`."""
        from operando import catalog
        from operando.runs._builder import of_parts
        from operando.runs._damage import told_catalog_damage, with_deleted

        def read(uid: str, folder: Path) -> Run:
            parts = catalog.read_run(uid, folder)
            run = told_catalog_damage(of_parts(parts), folder, parts=parts)
            return with_deleted(run, folder)

        return cls._from(read, uid, data_dir, chain=chain)

    @classmethod
    def _from(
        cls,
        read: Callable[[str, Path], "Run"],
        uid: str,
        data_dir: Path | None,
        *,
        chain: bool,
        without: Collection[str] = (),
    ) -> "Run":
        from operando import journal, settings
        from operando.runs._chains import join, with_attachments

        folder = settings.data_dir() if data_dir is None else data_dir
        whole = journal.resolve_uid(folder, uid)
        members = journal.chain_of(folder, whole) if chain else (whole,)
        run = join([read(member, folder) for member in members])
        late, missing, damage = [], [], []
        for one in journal.attachments_of(folder, members):
            if one in without:
                continue
            try:
                late.append(read(one, folder))
            except LookupError as error:  # the catalog has not taken it in yet
                missing.append(f"late results of {one[:8]} are not shown: {error}")
            except journal.JournalError as error:
                damage.append(f"late results of {one[:8]} are missing: {error}")
        if missing or damage:
            notes = (*run.notes, *missing, *damage)
            run = replace(run, notes=notes, damage=(*run.damage, *damage))
        return replace(with_attachments(run, late), folder=folder)
