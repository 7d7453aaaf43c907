"""Rows of zinc, from three reviews (B1-B14)."""

from operando.acceptance.measures import Combined, Value
from operando.acceptance.rows import Row
from techniques.metals import METALS

INTERPHASES = "artificial interphases (review, Nanoscale 2021)"
IN_SITU = "mechanisms of the zinc interface (review, Chem. Sci. 2024)"
INTERFACES = "programmable interfaces (review, 2025)"

_PLATEAU, _LIFE = "plateau_overpotential_mv", "life_hard_short_h"
_OWN_TOLERANCE = "the tolerance is ours"
_OFFSET = (
    "the zero of the current, measured before the run, is taken off; what its measurement leaves "
    "counts twice, 2 u(i) / i"
)
_CHARGE_TOLD = "the text pairs it with 10 mAh/cm2, which is 85 %: see the conflicts"
_CYCLE_AT_836_H = 2089  # from 0; cycles of 0.4 h


def _lives() -> list[Row]:
    rows = [
        Row(
            "B1", "zinc-symmetric-0.25-0.05", "nano-CaCO3", "polarisation at the start", 80.0,
            "mV", 0.02, INTERPHASES, "calibrated", "P",
            Value("zn-caco3-life", _PLATEAU, first=0), relative=True, remark=_OWN_TOLERANCE,
        ),
        Row(
            "B1", "zinc-symmetric-0.25-0.05", "nano-CaCO3", "polarisation at 836 h", 105.0, "mV",
            0.03, INTERPHASES, "calibrated", "P",
            Value("zn-caco3-life", _PLATEAU, first=_CYCLE_AT_836_H), relative=True,
            remark=_OWN_TOLERANCE,
        ),
        Row(
            "B3", "zinc-symmetric-0.25-0.125", "ZrO2", "polarisation at the start", 24.0, "mV",
            0.02, INTERPHASES, "calibrated", "P", Value("zn-zro2-life", _PLATEAU, first=0),
            relative=True, remark=_OWN_TOLERANCE,
        ),
        Row(
            "B5", "zinc-symmetric-0.5-0.5", "zinc silicate (LZS)", "polarisation at the start",
            23.2, "mV", 0.02, INTERFACES, "calibrated", "P",
            Value("zn-lzs-life", _PLATEAU, first=0), relative=True, remark=_OWN_TOLERANCE,
        ),
    ]  # fmt: skip
    for name, protocol, sample, id_, life_h, source, compared in (
        ("zn-caco3-life", "zinc-symmetric-0.25-0.05", "nano-CaCO3", "B2", 836.0, INTERPHASES, ""),
        ("zn-bare-life", "zinc-symmetric-0.25-0.05", "bare Zn", "B2", 55.0, INTERPHASES, ""),
        ("zn-zro2-life", "zinc-symmetric-0.25-0.125", "ZrO2", "B3", 3800.0, INTERPHASES, ">"),
        ("zn-lzs-life", "zinc-symmetric-0.5-0.5", "zinc silicate (LZS)", "B5", 3300.0, INTERFACES,
         ""),
    ):  # fmt: skip
        rows.append(
            Row(
                id_, protocol, sample, "life until the hard short", life_h, "h",
                0.0 if compared else 0.30, source,
                "calibrated", "P", Value(name, _LIFE), relative=True,
                compared="at least" if compared else "equal", life=True,
                remark="one seed; lives are calibrated in the median, 15 % of scatter from cell "
                "to cell",
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: row.id)


def _efficiencies() -> list[Row]:
    return [
        Row(
            "B4", "zinc-coulombic-efficiency-5-1", "ZrO2", "mean coulombic efficiency, cycles "
            "1-230", 99.36, "%", 0.1, INTERFACES, "calibrated", "P",
            Value("zn-zro2-efficiency", "ce_mean_pct"), remark=_OFFSET,
        ),
        Row(
            "B6", "zinc-coulombic-efficiency-2-1", "zinc silicate (LZS)",
            "mean coulombic efficiency, cycles 1-600", 99.8, "%", 0.1, INTERFACES, "calibrated",
            "P", Value("zn-lzs-efficiency", "ce_mean_pct"), remark=_OFFSET,
        ),
        Row(
            "B7", "zinc-transference", "ZNB; MMT", "transference number 0.170 -> 0.549; 0.82",
            None, "1", 0.0, INTERFACES, "input", "X", None,
            remark="the simulated cell has no salt diffusion (t+ returns 0.955): not modelled",
        ),
        Row(
            "B8", "zinc-nucleation", "single-atom Fe on MXene, on Cu",
            "nucleation overpotential, 0.5 mA/cm2", 19.0, "mV", 1.0, INTERFACES, "input", "P",
            Value("zn-safe-mxene-nucleation", "cell_eta_n_mv"), remark=_OWN_TOLERANCE,
        ),
        Row(
            "B9", "zinc-symmetric-1-1", "Zn(NbO3)2 against bare Zn",
            "change of the overpotential at 1 mA/cm2", -55.9, "%", 1.0, INTERFACES, "calibrated",
            "P",
            Combined(
                "relative_change_pct",
                Value("zn-znb-1-1", _PLATEAU, first=1),
                Value("zn-bare-1-1", _PLATEAU, first=1),
            ),
            remark="the current is not told, 1 mA/cm2 is taken; " + _OWN_TOLERANCE,
        ),
        Row(
            "B10", "zinc-depth-of-discharge", "20 um of Zn", "charge of half of the foil", 5.85,
            "mAh/cm2", 0.003, INTERFACES, "identity", "C",
            Value("zn-thin-foil", "plated_capacity_mah_cm2", first=0), relative=True,
            remark=_CHARGE_TOLD,
        ),
        Row(
            "B10", "zinc-depth-of-discharge", "20 um of Zn", "depth of discharge", 50.0, "%", 0.2,
            INTERFACES, "identity", "C", Value("zn-thin-foil", "depth_of_discharge_pct"),
            remark=_CHARGE_TOLD,
        ),
    ]  # fmt: skip


def _watched() -> list[Row]:
    bare, coated = "zn-bare-watched", "zn-zro2-watched"
    rows = [
        Row(
            "B11", "zinc-raman", "bare Zn on Cu", "period of injections", 15.0, "min", 0.5,
            IN_SITU, "input", "P", Value(bare, "injection_interval_min"),
        )
    ]  # fmt: skip
    for band, direction, what in (
        ("3633", 1.0, "irreversible"),
        ("980", -1.0, "sulfate"),
        ("465", 1.0, "during plating"),
    ):
        rows.append(
            Row(
                "B12", "zinc-raman", "bare Zn on Cu", f"Raman band at {band} cm-1, {what}",
                direction, "1", 0.0, IN_SITU, "emergent", "P",
                Value(bare, f"band_{band}_change"), compared="sign",
            )
        )  # fmt: skip
        rows.append(
            Row(
                "B12", "zinc-raman", "ZrO2 on Cu",
                f"Raman band at {band} cm-1 detected (1: yes)", 0.0, "1", 0.0, IN_SITU, "emergent",
                "P", Value(coated, f"band_{band}_detected"),
            )
        )  # fmt: skip
    return rows


def _impedance() -> list[Row]:
    resistance = "interfacial_resistance_ohm"

    def change(name: str, cycles: int) -> Combined:
        return Combined(
            "relative_change_pct",
            Value(name, resistance, first=cycles),
            Value(name, resistance, first=0),
        )

    return [
        Row(
            "B13", "zinc-impedance", "bare Zn", "interfacial resistance rises in the first cycle",
            1.0, "%", 0.0, IN_SITU, "emergent", "P", change("zn-bare-impedance", 1),
            compared="sign",
        ),
        Row(
            "B13", "zinc-impedance", "ZrO2 (in the review: Ni2+, taurine)",
            "change of the interfacial resistance in the first cycle", 0.0, "%", 1.0, IN_SITU,
            "emergent", "P", change("zn-zro2-impedance", 1),
            remark='the review: "about constant"; ' + _OWN_TOLERANCE,
        ),
        Row(
            "B13", "zinc-impedance-first-cycle", "bare Zn",
            "interfacial resistance falls slightly during the first plating", -1.0, "%", 0.0,
            IN_SITU, "input", "P", change("zn-bare-first-cycle", 1), compared="sign",
            remark="newly plated metal exposes active sites; the review tells the sign",
        ),
        Row(
            "B13", "zinc-impedance-first-cycle", "bare Zn",
            "interfacial resistance has risen when that was stripped", 1.0, "%", 0.0, IN_SITU,
            "emergent", "P", change("zn-bare-first-cycle", 2), compared="sign",
        ),
    ]  # fmt: skip


def _ledger() -> list[Row]:
    per_volume = Combined(
        "ratio",
        Value("zn-bare-impedance", "plated_capacity_mah_cm2", first=0),
        Value("zn-bare-impedance", "theoretical_thickness_um", first=0),
        scale=1e4,
    )
    per_mass = Combined(
        "ratio",
        Value("zn-bare-impedance", "plated_capacity_mah_cm2", first=0),
        Value("zn-bare-impedance", "theoretical_thickness_um", first=0),
        scale=1e4 / METALS["Zn"].density_g_cm3,
    )
    return [
        Row(
            "B14", "zinc-impedance", "Zn", "capacity per volume", 5855.0, "mAh/cm3", 0.001,
            INTERFACES, "identity", "C", per_volume, relative=True,
        ),
        Row(
            "B14", "zinc-impedance", "Zn", "capacity per mass", 820.0, "mAh/g", 0.001, INTERFACES,
            "identity", "C", per_mass, relative=True,
        ),
    ]  # fmt: skip


ZINC_ROWS = (*_lives(), *_efficiencies(), *_watched(), *_impedance(), *_ledger())
