"""The figures of a run, each on a page of its own size: a column of a journal, or two."""

import io
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from operando.plots import (
    cycles,
    deposit,
    files,
    gas,
    kinetics,
    light,
    potential,
    raman,
    spectra,
)
from operando.plots._style import DOUBLE_MM, MM_PER_INCH, SINGLE_MM, styled
from operando.plots.evaluated import EvaluatedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")
DOTS_PER_INCH = 300
Format = Literal["pdf", "png", "svg"]
Mosaic = Sequence[Sequence[str]]
# Draws into the panels of a mosaic, by their letters; returns by letter why one stays empty.
Draw = Callable[[Mapping[str, "Axes"], Any], Mapping[str, str | None]]


@dataclass(frozen=True)
class Sheet:
    """One figure: what it shows and how its panels lie.

    Attributes:
        name: Its name in files and pages.
        title: What it shows, as a caption begins.
        width_mm: Its width: 85 or 178 mm.
        height_mm: Its height.
        mosaic: Its panels as letters, row by row.
        draw: What draws them.
        note: What a reader must know about it.
        widths: Relative widths of the mosaic's columns.
        heights: Relative heights of its rows.
        polar: Letters of panels with an angle for an axis.
    """

    name: str
    title: str
    width_mm: float
    height_mm: float
    mosaic: Mosaic
    draw: Draw
    note: str = ""
    widths: tuple[float, ...] | None = None
    heights: tuple[float, ...] | None = None
    polar: str = ""


@dataclass(frozen=True)
class DrawnSheet:
    """A figure of a run or a comparison, or why there is none.

    Attributes:
        sheet: Which figure.
        figure: Belongs to no window; None if none of its panels has anything to show.
        caption: Its title, its panels and what must be known.
        reason: Why there is none; what is missing in it, if a panel of it stays empty.
    """

    sheet: Sheet
    figure: "Figure | None"
    caption: str
    reason: str | None

    def saved(self, format: Format = "svg") -> bytes:
        """Return the figure as a file; the same figure gives the same bytes.

        Raises:
            ValueError: There is no figure.
        """
        if self.figure is None:
            raise ValueError(f"there is no figure {self.sheet.name!r}: {self.reason}")
        target = io.BytesIO()
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[format]
        with styled():
            self.figure.savefig(target, format=format, dpi=DOTS_PER_INCH, metadata=undated)
        return target.getvalue()


def draw(sheet: Sheet, subject: Any) -> DrawnSheet:
    """Draw one figure of its subject, an `EvaluatedRun` or a comparison."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(sheet.width_mm / MM_PER_INCH, sheet.height_mm / MM_PER_INCH))
        FigureCanvasAgg(figure)
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0.04, hspace=0.05)
        axes = figure.subplot_mosaic(
            [list(row) for row in sheet.mosaic],
            width_ratios=sheet.widths,
            height_ratios=sheet.heights,
            per_subplot_kw={letter: {"projection": "polar"} for letter in sheet.polar},
        )
        missing = sheet.draw(axes, subject)
        titles = {key: each.get_title(loc="left") for key, each in axes.items()}
        lettered = [key for key in axes if titles[key] and key in missing]
        if len(lettered) > 1:
            for letter, key in zip(string.ascii_lowercase, lettered, strict=False):
                axes[key].set_title(rf"$\bf{{{letter}}}$", loc="left")
        elif sheet.name != "montage":
            for key in lettered:
                if missing[key] is None:
                    axes[key].set_title("", loc="left")
    told = [f"{title}: {missing[key]}" for key, title in titles.items() if missing.get(key)]
    reasons = list(dict.fromkeys(reason for reason in missing.values() if reason))
    nothing = all(missing.values())
    reason = "; ".join(reasons if nothing or len(missing) == 1 else told) or None
    letters = dict(zip(lettered, string.ascii_lowercase, strict=False))
    panels = (
        " ".join(f"({letters[key]}) {titles[key]}." for key in lettered)
        if len(lettered) > 1
        else ""
    )
    caption = " ".join(filter(None, (f"{sheet.title}.", panels, sheet.note)))
    return DrawnSheet(sheet, None if nothing else figure, caption, reason)


def drawn_sheets(one: EvaluatedRun) -> Iterator[DrawnSheet]:
    """Yield every figure of a run, one after the other, in the order of a report."""
    for sheet in SHEETS.values():
        yield draw(sheet, one)


def _each(**panels: Callable[["Axes", EvaluatedRun], str | None]) -> Draw:
    """Return what draws one panel per letter."""

    def drawn(axes: Mapping[str, "Axes"], one: EvaluatedRun) -> Mapping[str, str | None]:
        return {key: panel(axes[key], one) for key, panel in panels.items()}

    return drawn


def _impedance(axes: Mapping[str, "Axes"], one: EvaluatedRun) -> Mapping[str, str | None]:
    return {
        "a": spectra.nyquist(axes["a"], one, tall=0.73),
        "b": spectra.bode(axes["b"], axes["c"], one),
    }


def _waterfall(axes: Mapping[str, "Axes"], one: EvaluatedRun) -> Mapping[str, str | None]:
    missing = {
        "a": raman.waterfall(axes["a"], one, raman.LOW_SHIFT),
        "b": raman.waterfall(axes["b"], one, raman.HIGH_SHIFT),
        "c": raman.bands(axes["c"], one),
    }
    axes["b"].set_ylabel("")
    return missing


def _montage(axes: Mapping[str, "Axes"], one: EvaluatedRun) -> Mapping[str, str | None]:
    frames = [axes[letter] for letter in "abcde"]
    return {"a": deposit.montage(frames, axes["z"], one)}


SHEETS: Mapping[str, Sheet] = {
    sheet.name: sheet
    for sheet in (
        Sheet(
            "potential",
            "Potential against time",
            DOUBLE_MM,
            58.0,
            ["ab"],
            _each(a=potential.potential, b=potential.nucleation),
            "Potentials are those of the metal electrode; plating lies below zero.",
            widths=(2.4, 1.0),
        ),
        Sheet(
            "cycles",
            "Reversibility and polarisation by cycle",
            DOUBLE_MM,
            58.0,
            ["ab"],
            _each(a=cycles.efficiency, b=cycles.polarisation),
            "Bars and bands: standard uncertainty (k = 1). Hollow, on a shade: cycles left out of "
            "means.",
        ),
        Sheet(
            "impedance",
            "Impedance spectra",
            DOUBLE_MM,
            72.0,
            ["ab", "ac"],
            _impedance,
            "Points: measured; lines: fitted circuits. Resistances are of the whole cell.",
            widths=(1.1, 1.0),
        ),
        Sheet(
            "relaxation",
            "Distribution of relaxation times",
            SINGLE_MM,
            58.0,
            ["a"],
            _each(a=kinetics.relaxation),
            "Of the last valid spectrum. Numbers: resistances of the peaks, whose sum is the area.",
        ),
        Sheet(
            "tafel",
            "Tafel plot of the last linear sweep",
            SINGLE_MM,
            62.0,
            ["a"],
            _each(a=kinetics.tafel),
            "Shaded: where the lines were fitted. Apparent: the potential drop over the "
            "electrolyte is in it.",
        ),
        Sheet(
            "arrhenius",
            "Interfacial resistance against temperature",
            DOUBLE_MM,
            58.0,
            ["ab"],
            _each(
                a=kinetics.arrhenius,
                b=lambda axes, one: kinetics.arrhenius(axes, one, form="ln(1/R)"),
            ),
            "Bars: standard uncertainty (k = 1) of the fitted resistance. Energies of the two "
            "forms do not compare with each other.",
        ),
        Sheet(
            "voltammetry",
            "Cyclic voltammetry",
            SINGLE_MM,
            62.0,
            ["a"],
            _each(a=kinetics.voltammogram),
            "Dashed: the peaks of the lowest rate.",
        ),
        Sheet(
            "capacity",
            "Capacity of the full cell by cycle",
            SINGLE_MM,
            58.0,
            ["a"],
            _each(a=cycles.capacity),
            "Bars and bands: standard uncertainty (k = 1).",
        ),
        Sheet(
            "rate",
            "Rate capability",
            SINGLE_MM,
            58.0,
            ["a"],
            _each(a=cycles.rate),
        ),
        Sheet(
            "montage",
            "Frames of the deposit and when they were taken",
            DOUBLE_MM,
            78.0,
            ["abcde", "zzzzz"],
            _montage,
            "All are cut alike. Dashed, where one is declared: the bare margin, from which heights "
            "count. "
            "Below: potential while plating (blue) and stripping (red).",
            heights=(1.0, 1.15),
        ),
        Sheet(
            "deposit",
            "What the frames measure",
            DOUBLE_MM,
            58.0,
            ["ab"],
            _each(a=deposit.thickness, b=deposit.roughness),
            "One region of one electrode is not the electrode.",
        ),
        Sheet(
            "raman",
            "Raman spectra of the electrolyte and the film",
            DOUBLE_MM,
            75.0,
            ["abc"],
            _waterfall,
            "Spectra without cosmic rays, over the area of the water band; hollow points: blanks.",
            widths=(1.0, 0.9, 1.25),
        ),
        Sheet(
            "light",
            "What the laser brought to the sample",
            DOUBLE_MM,
            55.0,
            ["ab"],
            _each(a=light.dose, b=light.potential_step),
            "Power as measured at the sample. Step: rows within an exposure against those in the "
            "dark beside it; dashed: their mean.",
        ),
        Sheet(
            "hydrogen",
            "Hydrogen in the headspace",
            DOUBLE_MM,
            55.0,
            ["ab"],
            _each(a=gas.hydrogen, b=gas.faradaic_efficiency),
            "Gas of both electrodes, charge of both directions.",
        ),
        Sheet(
            "files",
            "What instruments tell that only write files",
            DOUBLE_MM,
            108.0,
            ["abc", "de."],
            _each(
                a=files.texture,
                b=files.roughness,
                c=files.echoes,
                d=files.infrared,
                e=files.ions,
            ),
            "Points: files, between the potentiostat's rows before and after. Dotted: a powder.",
        ),
    )
}
__all__ = [
    "DOUBLE_MM",
    "FORMATS",
    "SHEETS",
    "SINGLE_MM",
    "DrawnSheet",
    "Sheet",
    "draw",
    "drawn_sheets",
]
