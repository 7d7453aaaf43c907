"""What a reading of a sensor can be, whichever driver it has."""

import math
from collections.abc import Mapping

import pytest

from instruments.abilities import TELLS, Abilities, Span
from instruments.bench_file import BenchFile
from operando.checking._instruments import read_back

BENCH = BenchFile.model_validate(
    {
        "name": "one",
        "instruments": {
            "box": {"kind": "sensor", "language": "keller_bus", "address": "serial:///dev/none"}
        },
    }
)


class Box:
    """A sensor of another package, which tells what it is given."""

    def __init__(self, units: Mapping[str, str], values: Mapping[str, float], *spans: Span) -> None:
        self.quantities = units
        self._values = values
        self._spans = spans

    def read(self) -> Mapping[str, float]:
        return self._values

    def abilities(self) -> tuple[Abilities, ...]:
        quantity = next(iter(self.quantities))
        return tuple(
            Abilities(does=(TELLS,), limits={quantity: span}, limits_kept_by="nobody")
            for span in self._spans
        ) or (Abilities(does=(TELLS,), limits_kept_by="nobody"),)


@pytest.mark.parametrize(
    ("quantity", "unit", "value", "status", "told"),
    [
        ("ph", "", 4.2, "ok", "ph 4.2"),
        ("ph", "", 15.0, "failed", "can be: ph (0 to 14)"),
        ("ph", "", math.nan, "warning", "it has no ph now"),
        ("transmitter_temperature", "K", 298.0, "ok", "298 K"),
        ("transmitter_temperature", "K", 25.0, "failed", "(173 to 673 K)"),
        ("pressure", "Pa", 101325.0, "ok", "101325 Pa"),
        ("pressure", "Pa", -5.0, "failed", "(0 Pa or more)"),
        ("pressure", "Pa", 300.0, "warning", "taken as absolute?"),
        ("pressure", "mbar", 990.0, "ok", "990 mbar"),
        ("overpressure", "Pa", 2e3, "ok", "2000 Pa"),
        ("overpressure", "Pa", 101e3, "warning", "taken as gauge?"),
        ("frequency", "Hz", -1.0, "failed", "(0 Hz or more)"),
        ("resistance", "ohm", 375.0, "ok", "375 ohm"),
        ("mass", "ug/cm2", -40.0, "ok", "-40 ug/cm2"),
    ],
)
def test_a_reading_is_ok_within_what_it_can_be(
    quantity: str, unit: str, value: float, status: str, told: str
) -> None:
    (item,) = read_back(BENCH, {"box": Box({quantity: unit}, {quantity: value})})
    assert item.status == status, item.told
    assert told in item.told
    assert bool(item.do) == (status != "ok")


def test_a_driver_knows_better_what_its_quantity_can_be() -> None:
    spans = (Span(0.0, 10.0, "mg/l"), Span(0.0, 50.0, "mg/l"))
    for value, status in ((45.0, "ok"), (51.0, "failed")):
        box = Box({"oxygen": "mg/l"}, {"oxygen": value}, *spans)
        (item,) = read_back(BENCH, {"box": box})
        assert item.status == status
