"""The registry: every metric's one name, its unit, its shape and what it means.

It is apart from the analysis so that a search over stored metrics need not load what computes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

# Raise it whenever a metric of a run that has not changed would come out different by more than
# rounding, or a metric comes or goes: stored metrics of other versions are computed anew.
ANALYSIS_VERSION = 2

Shape = Literal["scalar", "by cycle", "by injection", "by frame", "by spectrum"]


@dataclass(frozen=True)
class Definition:
    """What a metric is called, its unit, and what it means.

    Attributes:
        name: The one name it has in code, reports and documents.
        unit: Its unit; ``1`` for a ratio.
        shape: One number, or a list: by cycle, injection, frame or spectrum, each from the first.
        meaning: How it is defined, in a sentence or two.
        source: Where the definition comes from.
    """

    name: str
    unit: str
    shape: Shape
    meaning: str
    source: str


_DEFINITIONS = (
    Definition(
        "ce_pct",
        "%",
        "by cycle",
        "Coulombic efficiency: stripped over plated charge of each cycle that is complete, not "
        "clipped at 100. None where rows were lost at the end of a half-cycle; "
        "undefined for symmetric cells. The uncertainty is that of the current: "
        "its offset counts twice, its gain cancels on one range.",
        "usual definition; offset by error propagation",
    ),
    Definition(
        "ce_mean_pct",
        "%",
        "scalar",
        "Arithmetic mean of ce_pct over all cycles that have one, the first included.",
        "usual definition",
    ),
    Definition(
        "ce_mean_without_first_pct",
        "%",
        "scalar",
        "Arithmetic mean of ce_pct without cycle 1, or without the declared formation cycles if "
        "there are more.",
        "usual definition",
    ),
    Definition(
        "ce_ratio_of_sums_pct",
        "%",
        "scalar",
        "All stripped over all plated charge of the cycles with a ce_pct; not the same number as "
        "the mean.",
        "usual definition",
    ),
    Definition(
        "ce_sd_pct",
        "%",
        "scalar",
        "Standard deviation (n - 1) of ce_pct over the cycles of ce_mean_without_first_pct.",
        "usual definition",
    ),
    Definition(
        "initial_ce_pct",
        "%",
        "scalar",
        "Coulombic efficiency of the first cycle.",
        "usual definition",
    ),
    Definition(
        "initial_loss_mah_cm2",
        "mAh/cm2",
        "scalar",
        "Charge that the first cycle lost: plated minus stripped.",
        "usual definition",
    ),
    Definition(
        "cumulative_irreversible_mah_cm2",
        "mAh/cm2",
        "scalar",
        "Charge lost by all cycles with a ce_pct: the sum of plated minus stripped.",
        "usual definition",
    ),
    Definition(
        "cell_eta_n_mv",
        "mV",
        "scalar",
        "Nucleation overpotential of a two-electrode cell: |tip| - |plateau| of the first "
        "plating. The dip may belong to the counter electrode.",
        "Yan et al. 2016; J. Electrochem. Soc. 2022, 169, 070509",
    ),
    Definition(
        "eta_n_mv",
        "mV",
        "scalar",
        "The same, measured against a reference electrode.",
        "Yan et al. 2016",
    ),
    Definition(
        "plateau_overpotential_mv",
        "mV",
        "by cycle",
        "Median of |E| over 40-90 % of the charge of the plating half-cycle; in a symmetric cell "
        "both electrodes contribute. Nothing is corrected for iR.",
        "own definition, stated",
    ),
    Definition(
        "polarisation_mv",
        "mV",
        "by cycle",
        "Voltage hysteresis at half the charge: |E_plate| + |E_strip| of a symmetric cell, "
        "E_strip - E_plate of a half cell.",
        "usual definition",
    ),
    Definition(
        "late_strip_rise",
        "1",
        "by cycle",
        "|E| at 95 % over |E| at 50 % of the charge of the stripping half-cycle.",
        "own definition, stated",
    ),
    Definition(
        "plated_capacity_mah_cm2",
        "mAh/cm2",
        "by cycle",
        "Charge plated: trapezoid of the measured current on the instrument's own time, and before "
        "the first row its current times the time since the step's edge, where that was recorded.",
        "usual definition",
    ),
    Definition(
        "cumulative_plated_mah_cm2",
        "mAh/cm2",
        "scalar",
        "Charge plated on the metal electrode in the whole run; stripping is not added.",
        "usual definition",
    ),
    Definition(
        "depth_of_discharge_pct",
        "%",
        "scalar",
        "Mean stripped charge of the complete half-cycles over the charge available on the metal "
        "electrode: pre-deposited, else that of its foil. One electrode counts.",
        "usual definition",
    ),
    Definition(
        "series_resistance_ohm",
        "ohm",
        "by spectrum",
        "R_s of the fitted circuit (one or two depressed arcs, chosen by the Bayesian information "
        "criterion); None unless the Kramers-Kronig test holds.",
        "least squares over |Z|; Boukamp 1995 for the test",
    ),
    Definition(
        "interfacial_resistance_ohm",
        "ohm",
        "by spectrum",
        "Sum of the fitted arcs: both interfaces of the cell, not halved. The uncertainty is that "
        "of the fit and of the current's gain, not of the choice of circuit.",
        "least squares over |Z|",
    ),
    Definition(
        "theoretical_thickness_um",
        "um",
        "by cycle",
        "Thickness of the net charge (plated minus stripped since the start) at the end of "
        "plating, dense and without loss.",
        "Faraday's law",
    ),
    Definition(
        "image_thickness_um",
        "um",
        "by frame",
        "Mean height of the deposit's front, dendrites included, above the bare margin of the same "
        "frame.",
        "own definition, stated",
    ),
    Definition(
        "image_thickness_end_of_plating_um",
        "um",
        "by cycle",
        "image_thickness_um of the frame nearest to the end of plating (no more than 5 % of its "
        "charge away), less the mean of the frames before the first half-cycle, if there are any.",
        "own definition, stated",
    ),
    Definition(
        "compactness",
        "1",
        "by cycle",
        "Theoretical thickness of the net charge at that frame's time over "
        "image_thickness_end_of_plating_um.",
        "usual definition",
    ),
    Definition(
        "image_roughness_um",
        "um",
        "by frame",
        "Rq: standard deviation of the front about its straight line.",
        "usual definition",
    ),
    Definition(
        "image_tip_um",
        "um",
        "by frame",
        "Highest point of the front above its median.",
        "own definition, stated",
    ),
    *(
        Definition(
            f"{name}_area",
            "1",
            "by spectrum",
            f"Area of {what} over the raw area of the water band (3050-3550 cm-1).",
            source,
        )
        for name, what, source in (
            (
                "band_3633",
                "the band at 3633 cm-1 (O-H of zinc hydroxide sulfate) over the line through its "
                "edges; can be negative, as it lies on water's shoulder",
                "assignment by the reviews of the field",
            ),
            (
                "band_980",
                "the band at 980 cm-1 (v1 of sulfate) over the line through its edges",
                "assignment by the reviews of the field",
            ),
            (
                "band_465",
                "the band at 465 cm-1, fitted together with its neighbours at 451 and 390 cm-1",
                "assignment to zincate is doubtful: named by its position",
            ),
        )
    ),
    *(
        Definition(
            f"{name}_change",
            "1",
            "scalar",
            f"Mean of the last two {name}_area{where} minus the mean of the blanks (spectra before "
            "the first half-cycle); None unless both exceed the decision limit: 4 standard "
            "deviations of 20 blanks or more, by Student's t with fewer, at least 5.",
            "own definition, stated",
        )
        for name, where in (
            ("band_3633", ""),
            ("band_980", ""),
            ("band_465", " during plating"),
        )
    ),
    Definition(
        "hydrogen_umol",
        "umol",
        "by injection",
        "Hydrogen formed since the last injection that found any (the first: since the start).",
        "ideal gas in a closed headspace",
    ),
    Definition(
        "hydrogen_cumulative_umol",
        "umol",
        "by injection",
        "Hydrogen formed since the start: y P V / (R T), plus what earlier injections took away.",
        "ideal gas in a closed headspace",
    ),
    Definition(
        "hydrogen_total_umol",
        "umol",
        "scalar",
        "hydrogen_cumulative_umol of the last injection that found any.",
        "ideal gas in a closed headspace",
    ),
    Definition(
        "hydrogen_faradaic_efficiency_pct",
        "%",
        "scalar",
        "Share of the charge passed until that injection, in both directions, that made hydrogen "
        "(2 F per mole). A shared headspace collects the gas of both electrodes.",
        "Faraday's law",
    ),
)

METRICS: Mapping[str, Definition] = MappingProxyType({d.name: d for d in _DEFINITIONS})


def reference_markdown() -> str:
    """Return ``docs/reference/metrics.md``: every metric, from this registry."""
    lines = [
        "# Metrics",
        "",
        "Every metric of a run has one name and one unit. It is a number, or a list by cycle,",
        "injection, frame or spectrum; what cannot be defined is `null` with a reason, never 0.",
        "Uncertainties are standard (k = 1). Potentials and currents are those of the metal",
        "electrode, whichever cable it hangs on. Made from `operando.registry.METRICS`.",
        "",
        "| name | unit | shape | meaning | source |",
        "|---|---|---|---|---|",
    ]
    for one in METRICS.values():
        cells = (f"`{one.name}`", one.unit, one.shape, one.meaning, one.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
