"""The same rows on every maker's potentiostat: which are run, how they are compared, one table."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from instruments.abilities import abilities_of
from operando.acceptance.experiments import EXPERIMENTS, LEADER
from operando.acceptance.measures import Combined, Coverage, Measured, Outcomes, Total, Value
from operando.acceptance.rows import Row, Verdict
from operando.acceptance.running import CURRENT_GAIN_U, POTENTIOSTATS, written
from operando.configuration import load_bench
from operando.registry import FAMILIES
from operando.report import number_text
from techniques import elementary_steps

# Twice the standard uncertainty of a difference covers 95 % of them.
COVERAGE_FACTOR = 2.0
# Longer experiments are left out of the comparison, but for those of rows that it is about.
SHORT_S = 20.0
ALWAYS = frozenset({"A1", "A3", "A5", "C1", "B8"})
# What an instrument runs and cannot resolve, by potentiostat and row, and why: told in the table,
# neither compared nor counted.
NOT_RESOLVED: Mapping[tuple[str, str], str] = dict.fromkeys(
    (("rodeostat", "A13"), ("rodeostat", "A14")),
    "its potential moves in steps of 4.9 mV (4096 over 20 V), each for 49 s at 0.1 mV/s: "
    "rows show the current's decay after single steps, not that of a sweep",
)
_SPECTRA = frozenset({"shunt_recovered", *(one.name for one in FAMILIES["Impedance"])})
_EFFICIENCIES = frozenset({"ce_pct", "ce_mean_pct", "ce_mean_without_first_pct", "initial_ce_pct"})


def chosen(rows: Sequence[Row]) -> tuple[list[Row], dict[str, list[Row]]]:
    """Return the rows that are compared, and those that are not, by why."""
    kept: list[Row] = []
    left: dict[str, list[Row]] = {}
    for row in rows:
        why = _left_out(row)
        if why is None:
            kept.append(row)
        else:
            left.setdefault(why, []).append(row)
    return kept, left


def _left_out(row: Row) -> str | None:
    if row.measure is None:
        return "nothing is measured in a run"
    experiments = [EXPERIMENTS[name] for name in row.experiments]
    if isinstance(row.measure, Coverage | Total):
        return "a count over many seeds, not one number of one cell"
    if any(one.instruments != LEADER for one in experiments):
        return "other instruments than the potentiostat take part"
    if row.id not in ALWAYS and any(one.cost_s > SHORT_S for one in experiments):
        return f"an experiment takes more than {SHORT_S:g} s"
    return None


def needs_spectra(row: Row) -> bool:
    """Return whether a row's number is made of impedance spectra."""
    return any(value.metric in _SPECTRA for value in _values(row))


def declares(potentiostat: str, row: Row) -> bool:
    """Return whether a driver declares all that a row's experiments ask for: it must not refuse.

    That is each technique that is in their programs, of one of its models, on a cell of two
    electrodes: a potential beside that of the two is no technique, and is refused by those that
    measure one alone.
    """
    entry = load_bench(POTENTIOSTATS[potentiostat]).instruments["potentiostat"]
    models = abilities_of(entry.driver_class())
    for name in row.experiments:
        protocol, cell = written(EXPERIMENTS[name], spectra=needs_spectra(row))
        asked = {step.type for step in elementary_steps(protocol.program(cell))}
        if cell.reference_electrode is not None or not any(asked <= set(x.does) for x in models):
            return False
    return True


def _values(row: Row) -> Iterator[Value]:
    open_ = [row.measure]
    while open_:
        one = open_.pop()
        if isinstance(one, Value):
            yield one
        elif isinstance(one, Combined):
            open_ += [one.first, one.second]


@dataclass(frozen=True)
class Compared:
    """A row as each potentiostat returned it.

    Attributes:
        row: The row.
        verdicts: By potentiostat.
        uncertainties: By potentiostat whose number has one: the stated one, and with it that of the
            charge which the cell was truly given, see `charge_set_u`.
        owed: Potentiostats that refuse what their drivers declare, see `declares`.
    """

    row: Row
    verdicts: Mapping[str, Verdict]
    uncertainties: Mapping[str, float]
    owed: frozenset[str] = frozenset()

    def resolved(self, name: str) -> bool:
        """Return whether a potentiostat can resolve what the row asks for."""
        return (name, self.row.id) not in NOT_RESOLVED

    @property
    def apart(self) -> float | None:
        """Return the largest difference of two, in standard uncertainties of the difference.

        None where fewer than two numbers have an uncertainty.
        """
        found = []
        for one, other in combinations(self.uncertainties, 2):
            values = [_value(self.verdicts[name]) for name in (one, other)]
            u = math.hypot(self.uncertainties[one], self.uncertainties[other])
            assert values[0] is not None
            assert values[1] is not None
            if u > 0:
                found.append(abs(values[0] - values[1]) / u)
        return max(found, default=None)

    @property
    def agree(self) -> bool | None:
        """Return whether all pairs agree within twice the uncertainty of their difference.

        None where that cannot be told: fewer than two have a number, or no uncertainty is stated
        and they are not the same.
        """
        if self.apart is not None:
            return self.apart <= COVERAGE_FACTOR
        values = [_value(one) for name, one in self.verdicts.items() if self.resolved(name)]
        there = [value for value in values if value is not None]
        return True if len(there) > 1 and len(set(there)) == 1 else None

    @property
    def failed(self) -> bool:
        """Return whether a number misses what was published or is missing, or two disagree."""
        bad = any(
            verdict.word in ("MISSED", "not yet") and self.resolved(name)
            for name, verdict in self.verdicts.items()
        )
        return bad or bool(self.owed) or self.agree is False


def _value(verdict: Verdict) -> float | None:
    return None if verdict.measured is None else verdict.measured.value


def compared(
    row: Row,
    verdicts: Mapping[str, Verdict],
    found: Mapping[str, Outcomes],
    declared: Callable[[str, Row], bool] = declares,
) -> Compared:
    """Return a row with what is needed to compare it.

    Args:
        row: The row.
        verdicts: Of the row, by potentiostat.
        found: The outcomes that they rest on, by potentiostat.
        declared: Whether a potentiostat must not refuse a row; asked for those that do.
    """
    owed = {name for name, one in verdicts.items() if one.word == "refused" and declared(name, row)}
    uncertainties = {}
    for name, verdict in verdicts.items():
        measured = verdict.measured
        if measured is None or measured.value is None or measured.uncertainty is None:
            continue
        if (name, row.id) in NOT_RESOLVED:
            continue
        of_charge = charge_set_u(row, measured, found[name])
        uncertainties[name] = math.hypot(measured.uncertainty, of_charge)
    return Compared(row, verdicts, uncertainties, frozenset(owed))


def charge_set_u(row: Row, measured: Measured, outcomes: Outcomes) -> float:
    """Return what the charge that was truly plated adds to the difference of two efficiencies, %.

    An instrument plates what it is asked for within the gain of its current, u_g. The ratio of the
    two charges does not hold that, but two instruments plate different charges, and a loss L that
    does not grow with the charge q is then another share of it: CE = 1 - L / q, so
    u = (100 - CE) u_g. 0 for rows that are no efficiency.
    """
    values = list(_values(row))
    if len(values) != 1 or values[0].metric not in _EFFICIENCIES or measured.value is None:
        return 0.0
    outcome = next((one for (name, _), one in outcomes.items() if name in row.experiments), None)
    gain = None if outcome is None else outcome.numbers.get(CURRENT_GAIN_U)
    if gain is None or not isinstance(gain.value, float):
        return 0.0
    return abs(100.0 - measured.value) * gain.value


def lines_of(rows: Sequence[Compared]) -> list[tuple[str, ...]]:
    """Return the headings, and for each row what was published, what each returned, if they agree.

    Numbers are +- the standard uncertainty that the analysis states.
    """
    names = list(rows[0].verdicts)
    lines = [("id", "sample", "quantity", "unit", "published", "tolerance", *names, "agree")]
    for one in rows:
        row = one.row
        lines.append(
            (
                row.id,
                row.sample,
                row.quantity,
                "" if row.unit == "1" else row.unit,
                row.published_text,
                row.allowed,
                *(
                    _cell(one.verdicts[name]) if one.resolved(name) else "not resolved"
                    for name in names
                ),
                _agreement(one),
            )
        )
    return lines


def table(rows: Sequence[Compared]) -> str:
    """Return the table for a terminal."""
    lines = lines_of(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(field.ljust(width) for field, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(title: str, rows: Sequence[Compared], below: Sequence[str]) -> str:
    """Return the table, and what stands below it, as a Markdown document."""
    heading, *lines = lines_of(rows)
    written = ["| " + " | ".join(line) + " |" for line in (heading, ("---",) * len(heading))]
    written += [
        "| " + " | ".join(field.replace("|", "\\|") for field in line) + " |" for line in lines
    ]
    return "\n".join([f"# {title}", "", *written, "", *(f"- {line}" for line in below)]) + "\n"


def _cell(verdict: Verdict) -> str:
    measured = verdict.measured
    if measured is None or measured.value is None:
        return verdict.word
    told = number_text(measured.value, measured.uncertainty)
    return told if verdict.word in ("ok", "conflict") else f"{told} {verdict.word}"


def _agreement(one: Compared) -> str:
    if one.agree is None:
        return "-"
    told = "yes" if one.agree else "NO"
    return told if one.apart is None else f"{told}, {one.apart:.1f} u"


def closing(rows: Sequence[Compared], left: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return what stands below the table: refusals, what missed, what was left out, the count."""
    lines: list[str] = []
    refusals: dict[tuple[str, str], list[str]] = {}
    for one in rows:
        for name, verdict in one.verdicts.items():
            if name in one.owed:
                lines.append(
                    f"{one.row.id} {one.row.quantity}, {name}: refuses what its driver declares: "
                    f"{verdict.why}"
                )
            elif verdict.word == "refused":
                refusals.setdefault((name, verdict.why), []).append(one.row.id)
            elif verdict.word in ("MISSED", "not yet") and one.resolved(name):
                lines.append(f"{one.row.id} {one.row.quantity}, {name}: {verdict.why}")
    lines += [
        f"{name} was asked for {', '.join(dict.fromkeys(ids))} and refuses: {why}"
        for (name, why), ids in refusals.items()
    ]
    ids_told = {one.row.id for one in rows}
    blurred: dict[tuple[str, str], list[str]] = {}
    for (name, id_), why in NOT_RESOLVED.items():
        if id_ in ids_told:
            blurred.setdefault((name, why), []).append(id_)
    lines += [
        f"{name} runs {', '.join(ids)} and does not resolve it: {why}"
        for (name, why), ids in blurred.items()
    ]
    lines += [
        f"left out: {', '.join(dict.fromkeys(row.id for row in these))} ({why})"
        for why, these in left.items()
    ]
    words = [one.agree for one in rows]
    lines.append(
        f"{words.count(True)} rows agree within {COVERAGE_FACTOR:g} u, {words.count(False)} do "
        f"not; {words.count(None)} have one number, or none with an uncertainty"
    )
    return lines
