"""The page of a comparison."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from operando import __version__
from operando.comparison import (
    LIVES,
    SOURCES,
    CheckedItem,
    Comparison,
    checklist,
    life_text,
    summary_text,
)
from operando.pages._writing import picture, plain_caption, unit_text, utc, written
from operando.plots.compared import compared_sheets
from operando.registry import ANALYSIS_VERSION
from operando.report import number_text


def comparison_page(comparison: Comparison, *, made_at: datetime | None = None) -> str:
    """Return a comparison as one page of HTML: figures, means over cells, lives, what to report.

    Args:
        comparison: The groups.
        made_at: What the page says of when it was made; by default now.
    """
    names = [group.name for group in comparison.groups]
    pictures, absent = [], []
    for drawn in compared_sheets(comparison):
        if drawn.figure is None:
            absent.append((drawn.sheet.title, plain_caption(drawn.reason or "")))
        else:
            pictures.append(picture(drawn))
    items = checklist(comparison)
    runs = [run for group in comparison.groups for run in group.runs]
    return written(
        "comparison.html",
        title=f"Compared by {comparison.by}: {', '.join(names)}",
        metal=comparison.groups[0].runs[0].cell.metal,
        names=names,
        groups=list(_groups(comparison)),
        notes=comparison.notes,
        pictures=pictures,
        absent=absent,
        summaries=[
            (
                quantity.label,
                quantity.name,
                unit_text(quantity.unit),
                [_summary(comparison, quantity.name, name) for name in names],
            )
            for quantity in comparison.quantities
        ],
        lives=[
            (title, [_life(comparison, kind, name) for name in names])
            for kind, title in LIVES.items()
        ],
        cells=list(_cells(comparison)),
        quantities=[
            (quantity.label, unit_text(quantity.unit)) for quantity in comparison.quantities
        ],
        sections=_sections(items),
        told=sum(any(one.told.values()) for one in items),
        items=len(items),
        sources=list(SOURCES.items()),
        provenance=[
            ("Runs", ", ".join(uid for run in runs for uid in run.chain)),
            ("Evaluated with", f"operando {__version__}, analysis version {ANALYSIS_VERSION}"),
            (
                "Page made",
                (made_at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            ),
        ],
    )


def _groups(comparison: Comparison) -> Iterator[tuple[str, int, str, str]]:
    for group in comparison.groups:
        runs = group.runs
        begun = sorted(
            float(run.start["time"]) for run in runs if isinstance(run.start.get("time"), float)
        )
        dates = " to ".join(dict.fromkeys(utc(stamp)[:10] for stamp in (begun[:1] + begun[-1:])))
        yield group.name, len(group.cells), ", ".join(group.cells), dates


def _summary(comparison: Comparison, quantity: str, group: str) -> tuple[str, str]:
    summary = comparison.summaries[quantity][group]
    return summary_text(summary), summary.reason


def _life(comparison: Comparison, kind: str, group: str) -> tuple[str, str]:
    lives = comparison.lives[kind][group]
    return life_text(lives), lives.reason


def _cells(
    comparison: Comparison,
) -> Iterator[tuple[str, list[str], list[list[tuple[str, str]]]]]:
    """Yield of each group its name, its cells, and by quantity value and reason of each of them."""
    for group in comparison.groups:
        rows = [
            [
                (number_text(cell.value, cell.uncertainty), cell.reason)
                for cell in comparison.summaries[quantity.name][group.name].cells
            ]
            for quantity in comparison.quantities
        ]
        yield group.name, list(group.cells), rows


def _sections(
    items: tuple[CheckedItem, ...],
) -> list[tuple[str, list[tuple[str, str, Mapping[str, str | None]]]]]:
    found: dict[str, list[tuple[str, str, Mapping[str, str | None]]]] = {}
    for one in items:
        row = (one.item.text, ", ".join(one.item.sources), one.told)
        found.setdefault(one.item.section, []).append(row)
    return list(found.items())
