"""Rows of full cells of Prussian blue, Chem. Sci. 2024, 15, 4833 (A13-A19): phenomenological."""

from operando.acceptance.measures import Value
from operando.acceptance.rows import Row
from operando.acceptance.sodium import SOURCE

_ON = {"znag": "PB || Na on Zn@Ag", "bare": "PB || Na on bare Zn"}
_CV = "prussian-blue-voltammetry"
_LOW, _HIGH = 1, 0  # couples by their potential, the lowest first
_PEAKS = "the positions and separations of the paper differ by rounding, see the conflicts"
# What the paper contradicts by its own other numbers, which the simulated cell was given instead.
_CONTRADICTED = {
    ("A14", "znag", "peak separation"): "the positions, 3.17 and 3.12 V, are 50 mV apart",
    ("A19", "znag", "capacity retention"): "79.9 of 140.5 mAh/g are 56.9 %",
}


def _voltammetry() -> list[Row]:
    published = {
        ("A13", "znag", _LOW, "low-spin couple"): (3.43, 3.31, 115.0),
        ("A13", "bare", _LOW, "low-spin couple"): (3.46, 3.29, 168.0),
        ("A14", "znag", _HIGH, "high-spin couple"): (3.17, 3.12, 38.0),
        ("A14", "bare", _HIGH, "high-spin couple"): (3.18, 3.12, 63.0),
    }
    rows = []
    for (id_, on, couple, what), values in published.items():
        for metric, part, unit, tolerance, value in (
            ("cv_anodic_peak_v", "anodic peak", "V", 0.005, values[0]),
            ("cv_cathodic_peak_v", "cathodic peak", "V", 0.005, values[1]),
            ("cv_peak_separation_mv", "peak separation", "mV", 5.0, values[2]),
        ):
            contradicted = _CONTRADICTED.get((id_, on, part))
            rows.append(
                Row(
                    id_, _CV, _ON[on], f"{what}, {part}", value, unit, tolerance, SOURCE,
                    "calibrated", "X" if contradicted else "I",
                    Value(f"pb-{on}-voltammetry", metric, first=couple),
                    remark=contradicted or _PEAKS,
                )
            )  # fmt: skip
    return rows


def _cycling() -> list[Row]:
    capacity, retention = "discharge_capacity_mah_g", "capacity_retention_pct"
    rows = []
    for name, sample, mah_g, kept in (
        ("pb-znag-50", _ON["znag"], 104.9, 89.1),
        ("pb-bare-50", _ON["bare"], 90.2, 74.2),
        ("pb-half-50", "PB || Na", 123.4, 73.4),
    ):
        rows += [
            Row(
                "A15", "prussian-blue-cycling", sample, "discharge capacity of cycle 1, 50 mA/g",
                mah_g, "mAh/g", 0.01, SOURCE, "input", "I", Value(name, capacity, first=0),
                relative=True,
            ),
            Row(
                "A15", "prussian-blue-cycling", sample, "capacity retention, 150 cycles", kept,
                "%", 0.01, SOURCE, "input", "I", Value(name, retention), relative=True,
            ),
        ]  # fmt: skip
    rows += [
        Row(
            "A16", "prussian-blue-cycling-100", _ON["znag"],
            "capacity retention, 100 cycles at 100 mA/g", 97.0, "%", 0.005, SOURCE, "input", "I",
            Value("pb-znag-100", retention), relative=True,
        ),
        Row(
            "A16", "prussian-blue-cycling-100", _ON["znag"],
            "mean coulombic efficiency, cycles 2-100", 99.5, "%", 0.5, SOURCE, "calibrated", "I",
            Value("pb-znag-100", "ce_mean_without_first_pct"),
        ),
        *(
            Row(
                "A17", "prussian-blue-rate-capability", _ON[on],
                "discharge capacity at 200 mA/g", value, "mAh/g", 0.01, SOURCE, "input", "I",
                Value(f"pb-{on}-rates", "rate_capacity_mah_g", first=4), relative=True,
            )
            for on, value in (("znag", 109.1), ("bare", 101.3))
        ),
        *(
            Row(
                "A18", "prussian-blue-temperatures", _ON[on],
                "capacity at -20 C, of that at 25 C, median of three cycles at each", value, "%",
                0.01, SOURCE, "input", "I",
                Value(f"pb-{on}-cold", "capacity_at_temperature_pct", first=1), relative=True,
                remark="the reference temperature is not told in the paper",
            )
            for on, value in (("znag", 72.7), ("bare", 61.1))
        ),
    ]  # fmt: skip
    return rows


def _contradicted(on: str) -> str:
    return _CONTRADICTED.get(("A19", on, "capacity retention"), "")


def _anode_free() -> list[Row]:
    protocol, sample = "prussian-blue-anode-free", {"znag": "PB || Zn@Ag", "bare": "PB || Zn"}
    free, capacity = "pb-znag-free", "discharge_capacity_mah_g"
    rows = [
        Row(
            "A19", protocol, sample["znag"], "discharge capacity of cycle 1", 140.5, "mAh/g", 0.01,
            SOURCE, "input", "I", Value(free, capacity, first=0), relative=True,
        ),
        Row(
            "A19", protocol, sample["znag"], "discharge capacity of cycle 100", 79.9, "mAh/g",
            0.01, SOURCE, "calibrated", "I", Value(free, capacity, first=99), relative=True,
        ),
    ]  # fmt: skip
    for on, kept, efficiency in (("znag", 55.4, 99.1), ("bare", 39.0, 98.8)):
        rows += [
            Row(
                "A19", protocol, sample[on], "capacity retention, 100 cycles", kept, "%", 0.01,
                SOURCE, "calibrated", "X" if (contradicted := _contradicted(on)) else "I",
                Value(f"pb-{on}-free", "capacity_retention_pct"), relative=True,
                remark=contradicted,
            ),
            Row(
                "A19", protocol, sample[on], "mean coulombic efficiency, cycles 2-100", efficiency,
                "%", 1.0, SOURCE, "calibrated", "I",
                Value(f"pb-{on}-free", "ce_mean_without_first_pct"),
            ),
        ]  # fmt: skip
    return rows


FULL_CELL_ROWS = (*_voltammetry(), *_cycling(), *_anode_free())
