"""Rows of better evidence (E1, E2, E4, as simulated) and of what only a laboratory can give."""

from operando.acceptance.measures import Coverage, Value
from operando.acceptance.rows import Row

_DRAWN = "drawn blind, told by the simulator afterwards"
_PARTS = "the dummy cell's parts"
_TRUE = "told by the simulator afterwards"
_AREA_PER_FRACTION = 6.7e6  # as the simulated bench is told


def _blind() -> list[Row]:
    return [
        Row(
            "E1", "zinc-blind", "100 blind cells and potentiostats",
            f"{what}: share within 2 u of the truth", 0.95, "1", 0.0, _DRAWN, "emergent", "E",
            Coverage("zn-blind", f"{truth}_covered", off=f"{truth}_off", unit=unit),
            compared="at least", told=True, remark=remark,
        )
        for what, truth, unit, remark in (
            ("coulombic efficiency", "ce", "%",
             "the truth is the charge that passed, also after the cut-off; that a strip ends too "
             "late is in the uncertainty, which is so much larger"),
            ("plated charge", "charge", "mAh/cm2",
             "the three charges of an instrument share its gain, so these are 100 draws: an exact "
             "uncertainty covers 95.4 of them, give or take 2.1; that of the others is mostly not "
             "of a gain. A median error of 0.34 times 2 u is that of an exact one"),
            ("series resistance, leads included", "series", "ohm", ""),
            ("interfacial resistance", "interfacial", "ohm", ""),
            ("nucleation overpotential", "nucleation", "mV",
             "the truth is the cell's parameter at the true current; tip less plateau lies below "
             "it by the polarisation that grows between them, which is in the uncertainty"),
        )
    ]  # fmt: skip


def _dummies() -> list[Row]:
    resistor, currents = "dummy-100-ohm", ("6 uA", "60 uA", "0.6 mA", "6 mA")
    largest = 2 * (len(currents) - 1)  # of the steps; each current flows in both directions
    rows = [
        Row(
            "E2", "dummy-cell", "100 ohm", f"resistance by direct current, {current}", 100.0,
            "ohm", 0.005, _PARTS, "input", "E",
            Value(resistor, "dummy_resistance_ohm", first=index), relative=True,
        )
        for index, current in enumerate(currents)
    ]  # fmt: skip
    rows += [
        Row(
            "E2", "dummy-cell", "100 ohm", f"current over the true one, {current}", 1.0, "1", 0.005,
            _TRUE, "input", "E", Value(resistor, "dummy_current_ratio", first=2 * index),
        )
        for index, current in enumerate(currents)
    ]  # fmt: skip
    rows += [
        Row(
            "E2", "dummy-cell", "100 ohm", "potential over true current times resistor, 6 mA", 1.0,
            "1", 0.002, _TRUE, "input", "E",
            Value(resistor, "dummy_potential_ratio", first=largest),
        ),
        Row(
            "E2", "dummy-cell", "100 ohm", "charge over the true one, 6 mA", 1.0, "1", 0.005, _TRUE,
            "input", "E", Value(resistor, "dummy_true_charge_ratio", first=largest),
        ),
        Row(
            "E2", "dummy-cell", "100 ohm", "charge of the last step over current times time", 1.0,
            "1", 0.001, "Q = I t", "identity", "E",
            Value(resistor, "dummy_charge_ratio", how="last"),
        ),
    ]  # fmt: skip
    rows += [
        Row(
            "E2", "dummy-cell-potentials", "100 ohm", what, value, unit, tolerance, _PARTS,
            "input", "E", Value("dummy-100-ohm-set", metric),
        )
        for what, value, unit, tolerance, metric in (
            ("potential at open circuit", 0.0, "mV", 2.0, "dummy_open_circuit_mv"),
            ("resistance by two holds at 60 mV", 100.0, "ohm", 0.5, "dummy_hold_resistance_ohm"),
            ("resistance by a sweep of 120 mV", 100.0, "ohm", 0.5, "dummy_sweep_resistance_ohm"),
        )
    ]  # fmt: skip
    for sample, name, ohm, taus_s in (
        ("10 ohm + RC", "dummy-rc", 100.0, (1e-3,)),
        ("10 ohm + two RC", "dummy-two-rc", 250.0, (1e-3, 1.0)),
    ):
        asked = [
            ("series resistance", 10.0, "ohm", 0.01, "series_resistance_ohm", 0),
            ("resistance of the RC members", ohm, "ohm", 0.01, "interfacial_resistance_ohm", 0),
            *(
                (f"time constant {number + 1}, DRT", tau_s, "s", 0.05, "drt_tau_s", number)
                for number, tau_s in enumerate(taus_s)
            ),
        ]
        rows += [
            Row(
                "E2", "dummy-cell-impedance", sample, what, value, unit, tolerance, _PARTS, "input",
                "E", Value(name, metric, first=index), relative=True,
            )
            for what, value, unit, tolerance, metric, index in asked
        ]  # fmt: skip
    return rows


def _gas() -> list[Row]:
    return [
        Row(
            "E4", "hydrogen-recovery", "Pt, 0.1 mA/cm2 for 1 h",
            "hydrogen found, of the charge (2 F per mole)", 100.0, "%", 5.0, "Faraday's law",
            "identity", "E", Value("pt-recovery", "hydrogen_recovery_pct"),
        ),
        Row(
            "E4", "gas-blank", "argon from a bottle", "mole fraction found where hydrogen elutes",
            0.0, "ppm", 1.4, "what the bottle holds", "input", "E",
            Value("gas-blank", "hydrogen_blank_area", scale=1e6 / _AREA_PER_FRACTION),
            remark="1.4 ppm is the limit of detection of the simulated detector",
        ),
        Row(
            "E4", "gas-calibration", "1000 ppm of hydrogen from a bottle",
            "area per mole fraction, over what the bench is told", 1.0, "1", 0.02,
            "what the bottle holds", "input", "E",
            Value("gas-calibration", "hydrogen_response_area", scale=1 / _AREA_PER_FRACTION),
            remark="three injections, 0.5 % of scatter each",
        ),
    ]  # fmt: skip


def _laboratory() -> list[Row]:
    return [
        Row(
            id_, "-", sample, what, None, "1", 0.0, "a laboratory", "identity", "E", None,
            remark="needs hardware: docs/how-to/evidence-from-your-bench.md",
        )
        for id_, sample, what in (
            ("E3", "one cell", "same charge on our driver and on the maker's software"),
            ("E5", "silicon, polystyrene, stage micrometer", "line positions and scale"),
            ("E6", "three zinc cells or more", "spread from cell to cell"),
        )
    ]  # fmt: skip


EVIDENCE_ROWS = tuple(
    sorted((*_blind(), *_dummies(), *_gas(), *_laboratory()), key=lambda row: row.id)
)
