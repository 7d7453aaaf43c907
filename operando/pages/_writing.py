"""How pages are written: templates that escape all they are given, and pictures inside."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from operando.analysis import Metric
from operando.plots import DOUBLE_MM, DrawnSheet
from operando.registry import FAMILIES
from operando.report import number_text, value_texts

_MIME = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Picture:
    """A figure of a page: its bytes as a data URI, what it shows, and what is missing in it."""

    name: str
    source: str
    caption: str
    missing: str | None
    narrow: bool


@dataclass(frozen=True)
class Row:
    """One metric as a page shows it."""

    name: str
    values: tuple[str, ...]
    unit: str
    by: str
    meaning: str
    note: str


@dataclass(frozen=True)
class Section:
    """The metrics of one family that have a value."""

    title: str
    rows: tuple[Row, ...]


def written(template: str, **values: Any) -> str:
    """Return a page: the template of that name with values, every one of them escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("operando.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def picture(drawn: DrawnSheet) -> Picture:
    """Return a figure as it stands in a page: lines stay lines, and nothing is loaded.

    As an image it can neither run nor load anything, whatever is in it.
    """
    source = base64.b64encode(drawn.saved("svg")).decode("ascii")
    return Picture(
        drawn.sheet.name,
        f"data:{_MIME['svg']};base64,{source}",
        plain_caption(drawn.caption),
        None if drawn.reason is None else plain_caption(drawn.reason),
        drawn.sheet.width_mm < DOUBLE_MM,
    )


def plain_caption(text: str) -> str:
    """Return a caption without the marks that matplotlib sets formulas by."""
    for formula, letters in (("cm$^{-1}$", "cm⁻¹"), ("$_2$", "₂"), ("$_{", ""), ("}$", "")):
        text = text.replace(formula, letters)
    return text


def sections(numbers: Mapping[str, Metric]) -> tuple[Section, ...]:
    """Return the metrics that have a value, by family, in the order of the registry."""
    found = []
    for title, family in FAMILIES.items():
        rows = tuple(
            Row(
                one.name,
                tuple(value_texts(numbers[one.name])),
                unit_text(one.unit),
                "" if one.shape == "scalar" else one.shape.removeprefix("by "),
                one.meaning,
                numbers[one.name].reason or "",
            )
            for one in family
            if numbers[one.name].value is not None
        )
        if rows:
            found.append(Section(title, rows))
    return tuple(found)


def undefined(numbers: Mapping[str, Metric]) -> tuple[tuple[str, str], ...]:
    """Return the metrics that have no value, with the reason."""
    return tuple(
        (name, metric.reason or "") for name, metric in numbers.items() if metric.value is None
    )


def unit_text(unit: str) -> str:
    """Return a unit of the registry as it is printed."""
    if unit == "1":
        return ""
    letters = {"ohm": "Ω", "um": "µm", "umol": "µmol", "uF": "µF", "uA": "µA"}
    parts = [letters.get(part, part).replace("cm2", "cm²") for part in unit.split("/")]
    return "/".join(parts)


def glance(numbers: Mapping[str, Metric]) -> Iterator[tuple[str, str, str]]:
    """Yield what a talk would show first: label, value, unit; only what is defined."""
    for label, name in _FIRST:
        metric = numbers.get(name)
        if metric is None or metric.value is None:
            continue
        if isinstance(metric.value, list):
            yield label, _ends(metric.value), unit_text(metric.unit)
        else:
            error = metric.uncertainty if isinstance(metric.uncertainty, float) else None
            yield label, number_text(metric.value, error), unit_text(metric.unit)


_FIRST = (
    ("Initial CE", "initial_ce_pct"),
    ("Mean CE without first", "ce_mean_without_first_pct"),
    ("Reservoir CE", "reservoir_ce_pct"),
    ("Nucleation overpotential", "eta_n_mv"),
    ("Nucleation overpotential (cell)", "cell_eta_n_mv"),
    ("Polarisation, first → last", "polarisation_mv"),
    ("Interfacial resistance, first → last", "interfacial_resistance_ohm"),
    ("Cumulative plated", "cumulative_plated_mah_cm2"),
    ("Compactness, first → last", "compactness"),
    ("Hydrogen's share of the charge", "hydrogen_faradaic_efficiency_pct"),
    ("Discharge capacity, first → last", "discharge_capacity_mah_g"),
    ("Capacity retention, last", "capacity_retention_pct"),
)


def _ends(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    ends = (known[0], known[-1]) if len(known) > 1 else known
    return " → ".join(f"{value:.4g}" for value in ends)


def utc(stamp: object) -> str:
    """Return a time of a document, s since the epoch, as a date in UTC; a dash without one."""
    if not isinstance(stamp, int | float):
        return "-"
    try:
        return datetime.fromtimestamp(float(stamp), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "-"


def duration(seconds: float | None) -> str:
    """Return how long something took, in the unit a person would say."""
    if seconds is None or not seconds >= 0:
        return "-"
    for unit, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
