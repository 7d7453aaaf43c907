"""Rows that need no paper (C1-C11): numbers against what the simulator says happened."""

from typing import Literal, TypedDict, Unpack

from operando.acceptance.measures import Combined, Total, Value
from operando.acceptance.rows import Row

_TRUTH = "the simulator's own ledger"


class _Options(TypedDict, total=False):
    compared: Literal["equal", "at least", "at most", "sign"]
    remark: str
    told: bool


def _identity(
    id_: str,
    protocol: str,
    sample: str,
    quantity: str,
    expected: float | None,
    unit: str,
    tolerance: float,
    measure: Value | Combined | Total | None,
    source: str = _TRUTH,
    **options: Unpack[_Options],
) -> Row:
    return Row(
        id_, protocol, sample, quantity, expected, unit, tolerance, source, "identity", "C",
        measure, **options,
    )  # fmt: skip


IDENTITY_ROWS = (
    _identity(
        "C1", "na-half-cell", "Na on Zn@Ag", "efficiency of each cycle off the ledger's, relative",
        0.0, "1", 1e-4, Value("na-znag", "ce_off_the_ledger"),
    ),
    _identity(
        "C2", "zinc-raman", "bare Zn on Cu", "charge that the ledger cannot account for", 0.0,
        "mAh/cm2", 1e-6, Value("zn-bare-watched", "ledger_residual_mah_cm2"),
    ),
    _identity(
        "C3", "zinc-raman", "bare Zn on Cu", "3 n(ZHS) / n(H2)", 1.0, "1", 0.0,
        Value("zn-bare-watched", "zhs_per_hydrogen"), compared="at most",
    ),
    _identity(
        "C4", "-", "all presets", "Z(0) is dE/di", None, "1", 0.01, None,
        remark="a property test of the simulated cell; nothing is measured in a run",
    ),
    _identity(
        "C5", "zinc-raman", "bare Zn on Cu", "hydrogen of the last injection over the headspace's",
        1.0, "1", 0.015, Value("zn-bare-watched", "hydrogen_recovered"),
        remark="0.5 % of scatter of each area",
    ),
    _identity(
        "C6", "sodium-nucleation", "Na on Zn@Ag", "thickness in each frame off the deposit's", 0.0,
        "um", 0.5, Value("na-znag-image", "thickness_off_um"), remark="a pixel is 0.5 um",
    ),
    _identity(
        "C7", "na-half-cell", "Na on Zn@Ag",
        "metrics that differ by a bit in journal, catalog or replay", 0.0, "1", 0.0,
        Value("na-znag", "metrics_that_differ"), source="the record",
    ),
    _identity(
        "C8", "na-half-cell", "Na on Zn@Ag", "efficiency of cycle 1 with half the rows less with "
        "all", 0.0, "%", 0.05,
        Combined(
            "difference", Value("na-znag-rarer", "initial_ce_pct"),
            Value("na-znag", "initial_ce_pct"),
        ),
        source="another recording",
    ),
    _identity(
        "C8", "na-half-cell", "Na on Zn@Ag", "nucleation overpotential with half the rows less "
        "with all", 0.0, "mV", 0.3,
        Combined(
            "difference", Value("na-znag-rarer", "cell_eta_n_mv"),
            Value("na-znag", "cell_eta_n_mv"),
        ),
        source="another recording",
    ),
    _identity(
        "C9", "na-half-cell", "Na on Zn@Ag", "a swapped cable is refused (1: yes)", 1.0, "1", 0.0,
        Value("na-znag-mirrored", "refused"), source="the plan",
        remark="asymmetric cells only: a symmetric one is the same either way round",
    ),
    _identity(
        "C10", "zinc-symmetric-1-1", "ZrO2, 20 injected soft shorts",
        "share found within two rows", 0.9, "1", 0.0,
        Value("zn-zro2-soft-shorts", "soft_short_sensitivity"), source="20 of 22, our own measure",
        compared="at least", told=True,
    ),
    _identity(
        "C10", "zinc-symmetric-1-1", "ZrO2, 20 injected soft shorts", "soft shorts that were none",
        0.0, "1", 0.0, Value("zn-zro2-soft-shorts", "soft_short_false"),
    ),
    _identity(
        "C10", "zinc-symmetric-1-1", "20 healthy ZrO2 cells", "soft shorts that were none", 0.0,
        "1", 0.0, Total("zn-zro2-healthy", "soft_short_count", 20, 10.0), told=True,
    ),
    _identity(
        "C10", "sodium-symmetric-1000-h", "Na on Zn@Ag, healthy", "false alarms per 1000 h", 0.0,
        "1", 0.0, Value("na-znag-1000-h", "soft_short_count"),
    ),
    _identity(
        "C11", "zinc-impedance", "ZrO2 with 200 ohm in parallel",
        "resistance found in parallel over that of the short", 1.0, "1", 0.05,
        Value("zn-zro2-shunt", "shunt_recovered"),
    ),
)  # fmt: skip
