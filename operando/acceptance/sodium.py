"""Rows of sodium on silver-coated zinc, Chem. Sci. 2024, 15, 4833 (A1-A12)."""

from operando.acceptance.measures import Combined, Value
from operando.acceptance.rows import Row

SOURCE = "Chem. Sci. 2024, 15, 4833"
_NAMES = {"znag": "Na on Zn@Ag", "bare": "Na on bare Zn", "cu": "Na on Cu", "al": "Na on Al"}
_HALF = "na-half-cell"


def _nucleation() -> list[Row]:
    published = {"znag": 3.0, "bare": 13.4, "cu": 16.0, "al": 24.7}
    return [
        Row(
            "A1", _HALF, _NAMES[on], "nucleation overpotential, 0.5 mA/cm2", value, "mV", 0.3,
            SOURCE, "input", "P", Value(f"na-{on}", "cell_eta_n_mv"),
        )
        for on, value in published.items()
    ]  # fmt: skip


def _thickness() -> list[Row]:
    rows = [
        Row(
            "A2", "sodium-nucleation", _NAMES[on],
            "rendered thickness of 2 mAh/cm2, from side images", value, "um", 0.03, SOURCE,
            "input", "P",
            Value(f"na-{on}-image", "image_thickness_end_of_plating_um", first=0), relative=True,
        )
        for on, value in (("znag", 18.2), ("bare", 74.8))
    ]  # fmt: skip
    rows.append(
        Row(
            "A2", "sodium-nucleation", _NAMES["znag"], "theoretical thickness of 2 mAh/cm2",
            17.72, "um", 0.05, SOURCE, "identity", "P",
            Value("na-znag-image", "theoretical_thickness_um", first=0),
        )
    )  # fmt: skip
    return rows


def _efficiencies() -> list[Row]:
    first = {"znag": 97.5, "bare": 90.9, "cu": 96.5, "al": 82.3}
    rows = [
        Row(
            "A3", _HALF, _NAMES[on], "coulombic efficiency of cycle 1", value, "%", 0.2, SOURCE,
            "calibrated", "P", Value(f"na-{on}", "initial_ce_pct"),
        )
        for on, value in first.items()
    ]  # fmt: skip
    losses = {"znag": 2.5, "bare": 9.1, "cu": 3.5, "al": 17.7}
    rows += [
        Row(
            "A3", _HALF, _NAMES[on], "initial loss, of the charge plated", value, "%", 0.2, SOURCE,
            "calibrated", "P",
            Combined(
                "ratio",
                Value(f"na-{on}", "initial_loss_mah_cm2"),
                Value(f"na-{on}", "plated_capacity_mah_cm2", first=0),
                scale=100,
            ),
        )
        for on, value in losses.items()
    ]  # fmt: skip
    mean, scatter = "ce_mean_without_first_pct", "ce_sd_pct"
    rows += [
        Row(
            "A4", "sodium-coulombic-efficiency", _NAMES["znag"],
            "mean coulombic efficiency, cycles 2-500", 99.9, "%", 0.05, SOURCE, "calibrated", "P",
            Value("na-znag-500", mean),
        ),
        Row(
            "A4", "sodium-coulombic-efficiency", "bare Zn against Zn@Ag",
            "scatter of the efficiency, times that of Zn@Ag", 5.0, "1", 0.0, SOURCE, "input", "P",
            Combined("ratio", Value("na-bare-500", scatter), Value("na-znag-500", scatter)),
            compared="at least", remark='the paper: "scattered"',
        ),
        Row(
            "A5", "sodium-coulombic-efficiency-1-mah", _NAMES["znag"],
            "mean coulombic efficiency at 0.5 mA/cm2, cycles 2-100", 99.9, "%", 0.05, SOURCE,
            "calibrated", "P", Value("na-znag-1-mah", "ce_pct", how="mean", first=1, last=99),
        ),
        Row(
            "A5", "sodium-coulombic-efficiency-1-mah", _NAMES["znag"],
            "mean coulombic efficiency at 1 mA/cm2, cycles 101-200", 99.9, "%", 0.05, SOURCE,
            "calibrated", "P", Value("na-znag-1-mah", "ce_pct", how="mean", first=100, last=199),
        ),
    ]  # fmt: skip
    return rows


def _kinetics() -> list[Row]:
    resistance = "interfacial_resistance_ohm"
    rows = [
        Row(
            "A6", protocol, f"{_NAMES[on]}{where}", f"interfacial resistance, {when}", value,
            "ohm", 0.05, SOURCE, "input", "P", Value(name, resistance, first=index), relative=True,
        )
        for on, fresh, after in (("znag", 1.9, 1.8), ("bare", 10.8, 4.9))
        for protocol, where, name in (
            (_HALF, ", half cell", f"na-{on}"),
            ("sodium-impedance", " || Na", f"na-{on}-impedance"),
        )
        for index, when, value in ((0, "fresh", fresh), (1, "after 5 cycles", after))
    ]  # fmt: skip
    window = "apparent exchange current, fitted at 60-110 mV without correction for iR"
    j0 = {on: Value(f"na-{on}-tafel", "j0_apparent_ma_cm2") for on in ("znag", "bare")}
    calibrated = (
        "window and series resistance are calibrated, and the interphase has formed: five cycles"
    )
    rows += [
        Row(
            "A7", "sodium-tafel", _NAMES[on], window, value, "mA/cm2", 0.05, SOURCE, "calibrated",
            "P", j0[on], relative=True, remark=calibrated,
        )
        for on, value in (("znag", 2.36), ("bare", 1.86))
    ]  # fmt: skip
    rows.append(
        Row(
            "A7", "sodium-tafel", "Zn@Ag against bare Zn", "ratio of apparent exchange currents",
            1.27, "1", 0.05, SOURCE, "calibrated", "P",
            Combined("ratio", j0["znag"], j0["bare"]), remark=calibrated,
        )
    )  # fmt: skip
    protocol = "sodium-impedance-temperatures"
    form, other = "activation_energy_kj_mol", "activation_energy_ln_inverse_r_kj_mol"
    for on, value, lower in (("znag", 7.92, 5.44), ("bare", 11.75, 9.27)):
        name = f"na-{on}-temperatures"
        rows += [
            Row(
                "A8", protocol, _NAMES[on], "activation energy, ln(T/R) against 1/T", value,
                "kJ/mol", 0.4, SOURCE, "input", "P", Value(name, form),
            ),
            Row(
                "A8b", protocol, _NAMES[on], "activation energy, ln(1/R) against 1/T", lower,
                "kJ/mol", 0.4, SOURCE, "input", "P", Value(name, other),
            ),
            Row(
                "A8b", protocol, _NAMES[on], "difference of the two forms, R times mean T", 2.48,
                "kJ/mol", 0.05, "R T", "identity", "P",
                Combined("difference", Value(name, form), Value(name, other)),
            ),
        ]  # fmt: skip
    return rows


def _long() -> list[Row]:
    thousand = "sodium-symmetric-1000-h"
    plateau = "plateau_overpotential_mv"
    rows = [
        Row(
            "A9", thousand, _NAMES["znag"], "time without a soft short (censored)", 1000.0, "h",
            0.001, SOURCE, "input", "P", Value("na-znag-1000-h", "life_first_soft_short_h"),
            relative=True, compared="at least", remark="any sudden fall of the potential counts",
        ),
        Row(
            "A9", thousand, _NAMES["znag"], "time without a polarisation failure (censored)",
            1000.0, "h", 0.001, SOURCE, "input", "P",
            Value("na-znag-1000-h", "life_polarisation_h"), relative=True, compared="at least",
        ),
        Row(
            "A9", thousand, _NAMES["znag"], "soft shorts", 0.0, "1", 0.0, SOURCE, "input", "P",
            Value("na-znag-1000-h", "soft_short_count"),
        ),
        Row(
            "A9", thousand, _NAMES["znag"], "time without a hard short (censored)", 1000.0, "h",
            0.001, SOURCE, "input", "P", Value("na-znag-1000-h", "life_hard_short_h"),
            relative=True, compared="at least",
            remark="a tenth of the baseline of 6.4 mV is below the potential's offset of 1 mV: "
            "judged on half the difference of two half-cycles, in which it cancels",
        ),
        Row(
            "A9", thousand, _NAMES["znag"], "a hard short of 0.5 ohm, injected after 20.5 h, is "
            "dated at", 20.5, "h", 0.05, "the injected short", "identity", "P",
            Value("na-znag-hard-short", "life_hard_short_h"),
        ),
        Row(
            "A9", thousand, _NAMES["znag"], "scatter of the plateau from cycle to cycle", 0.0,
            "mV", 0.1, SOURCE, "input", "P",
            Value("na-znag-1000-h", plateau, how="sd", first=10), compared="at most",
            remark='the paper: "small"; the tolerance is ours',
        ),
        Row(
            "A9", thousand, "bare Zn against Zn@Ag",
            "scatter of the plateau from cycle to cycle, times that of Zn@Ag", 1.0, "1", 0.0,
            SOURCE, "input", "P",
            Combined(
                "ratio",
                Value("na-bare-1000-h", plateau, how="sd", first=10),
                Value("na-znag-1000-h", plateau, how="sd", first=10),
            ),
            compared="at least", remark='the paper: "larger, irregular"',
        ),
        *(
            Row(
                "A10", "sodium-depth-of-discharge", _NAMES[on],
                "depth of discharge measured, 1.5 of 2.0 mAh/cm2", 75.0, "%", 0.3,
                SOURCE, "identity", "C", Value(f"na-{on}-depth", "depth_of_discharge_pct"),
                remark="measured: the charge that was stripped; exact but for the current's gain "
                "(0.1 %)",
            )
            for on in ("znag", "bare")
        ),
        *(
            Row(
                "A10", "sodium-depth-of-discharge", _NAMES[on],
                "depth of discharge that the program asks for", 75.0, "%", 0.0, SOURCE,
                "identity", "C", Value(f"na-{on}-depth", "depth_of_discharge_planned_pct"),
                remark="of the program, not of the cell: exact",
            )
            for on in ("znag", "bare")
        ),
        Row(
            "A11", "sodium-depth-of-discharge", _NAMES["znag"],
            "overpotential at 75 % depth of discharge", 2.0, "mV", 0.0, SOURCE, "input", "X", None,
            remark="the current is told in the supporting information only; with the resistance "
            "of A6 it would be below 0.16 mA/cm2",
        ),
        *(
            Row(
                "A12", "sodium-rate-capability", _NAMES[on],
                "rate test to 5 mA/cm2 and 5 mAh/cm2 ends as planned (1: yes)", 1.0, "1", 0.0,
                SOURCE, "input", "P", Value(f"na-{on}-rates", "completed"),
            )
            for on in ("znag", "bare")
        ),
        Row(
            "A12", "sodium-rate-capability", "bare Zn against Zn@Ag",
            "scatter of the plateau at 5 mA/cm2, times that of Zn@Ag", 1.0, "1", 0.0, SOURCE,
            "input", "P",
            Combined(
                "ratio",
                Value("na-bare-rates", plateau, how="sd", first=20, last=24),
                Value("na-znag-rates", plateau, how="sd", first=20, last=24),
            ),
            compared="at least",
            remark='the paper: "stable" against "substantial fluctuations"',
        ),
    ]  # fmt: skip
    return rows


SODIUM_ROWS = (*_nucleation(), *_thickness(), *_efficiencies(), *_kinetics(), *_long())
