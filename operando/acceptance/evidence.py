"""Rows of better evidence (E1, E2, E4, as simulated) and of what only a laboratory can give."""

from operando.acceptance.measures import Coverage, Value
from operando.acceptance.rows import Row

_DRAWN = "drawn blind, told by the simulator afterwards"
_PARTS = "the dummy cell's parts"


def _blind() -> list[Row]:
    return [
        Row(
            "E1", "zinc-blind", "100 blind cells and potentiostats",
            f"{what}: share within 2 u of the truth", 0.95, "1", 0.0, _DRAWN, "emergent", "E",
            Coverage("zn-blind", f"{truth}_covered", off=f"{truth}_off", unit=unit),
            compared="at least", told=True, remark=remark,
        )
        for what, truth, unit, remark in (
            ("coulombic efficiency", "ce", "%", ""),
            ("plated charge", "charge", "mAh/cm2", ""),
            ("series resistance, leads included", "series", "ohm", ""),
            ("interfacial resistance", "interfacial", "ohm", ""),
            ("nucleation overpotential", "nucleation", "mV",
             "the truth is the cell's parameter at the true current; tip less plateau lies below "
             "it by the polarisation that grows between them, which is in the uncertainty"),
        )
    ]  # fmt: skip


def _dummies() -> list[Row]:
    rows = [
        Row(
            "E2", "dummy-cell", "100 ohm", f"resistance by direct current, {current}", 100.0,
            "ohm", 0.005, _PARTS, "input", "E",
            Value("dummy-100-ohm", "dummy_resistance_ohm", first=index), relative=True,
        )
        for index, current in enumerate(("6 uA", "60 uA", "0.6 mA", "6 mA"))
    ]  # fmt: skip
    rows += [
        Row(
            "E2", "dummy-cell", "100 ohm", "charge of the last step over current times time", 1.0,
            "1", 0.001, "Q = I t", "identity", "E",
            Value("dummy-100-ohm", "dummy_charge_ratio", how="last"),
        ),
        Row(
            "E2", "dummy-cell-impedance", "10 ohm + two RC", "series resistance", 10.0, "ohm",
            0.01, _PARTS, "input", "E",
            Value("dummy-two-rc", "series_resistance_ohm", first=0), relative=True,
        ),
        Row(
            "E2", "dummy-cell-impedance", "10 ohm + two RC", "sum of both resistances", 250.0,
            "ohm", 0.01, _PARTS, "input", "E",
            Value("dummy-two-rc", "interfacial_resistance_ohm", first=0), relative=True,
        ),
        *(
            Row(
                "E2", "dummy-cell-impedance", "10 ohm + two RC", f"time constant {number}, DRT",
                value, "s", 0.05, _PARTS, "input", "E",
                Value("dummy-two-rc", "drt_tau_s", first=number - 1), relative=True,
            )
            for number, value in ((1, 1e-3), (2, 1.0))
        ),
    ]  # fmt: skip
    return rows


def _laboratory() -> list[Row]:
    return [
        Row(
            id_, "-", sample, what, None, "1", 0.0, "a laboratory", "identity", "E", None,
            remark="needs hardware; see the procedures",
        )
        for id_, sample, what in (
            ("E3", "one cell", "same charge on our driver and on the maker's software"),
            ("E5", "silicon, polystyrene, stage micrometer", "line positions and scale"),
            ("E6", "three zinc cells or more", "spread from cell to cell"),
        )
    ]  # fmt: skip


_RECOVERY = Row(
    "E4", "hydrogen-recovery", "Pt, 0.1 mA/cm2 for 1 h",
    "hydrogen found, of the charge (2 F per mole)", 100.0, "%", 5.0, "Faraday's law", "identity",
    "E", Value("pt-recovery", "hydrogen_faradaic_efficiency_pct"),
)  # fmt: skip

EVIDENCE_ROWS = tuple(
    sorted((*_blind(), *_dummies(), _RECOVERY, *_laboratory()), key=lambda row: row.id)
)
