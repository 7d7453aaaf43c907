"""A bench: one simulated EmStat4 HR, a dummy cell known by hand, a plain serial client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pytest
import serial

from sim_devices.clock import SimulatedClock
from sim_devices.methodscript import EmStat4, serve


class DummyCell:
    """A resistor in series with a capacitor and a battery: E = emf + charge/C + i R."""

    area_cm2 = 2.0  # not 1, so that a forgotten area shows

    def __init__(
        self, resistance_ohm: float = 1e3, capacitance_f: float = np.inf, emf_v: float = 0.0
    ) -> None:
        self.lock = threading.RLock()
        self.t = 0.0
        self.resistance_ohm = resistance_ohm
        self.capacitance_f = capacitance_f
        self.emf_v = emf_v
        self.charge_c = 0.0
        self.drives: list[tuple[str, float]] = []

    def advance(
        self, dt_s: float, mode: Literal["i", "E"] = "i", value: float = 0.0
    ) -> tuple[float, float, float]:
        if not self.drives or self.drives[-1] != (mode, value):
            self.drives.append((mode, value))
        _, density = self.potential(mode, value)
        self.charge_c += density * 1e-3 * self.area_cm2 * dt_s
        self.t += dt_s
        return dt_s, *self.potential(mode, value)

    def potential(self, mode: Literal["i", "E"] = "i", value: float = 0.0) -> tuple[float, float]:
        rest = self.emf_v + self.charge_c / self.capacitance_f
        if mode == "i":
            return rest + value * 1e-3 * self.area_cm2 * self.resistance_ohm, value
        return value, (value - rest) / self.resistance_ohm * 1e3 / self.area_cm2

    def impedance(self, frequency_hz: Any) -> Any:
        omega = 2 * np.pi * np.asarray(frequency_hz, dtype=float)
        return self.resistance_ohm - 1j / (omega * self.capacitance_f)

    def ledger(self, which: Literal["WE", "CE"]) -> dict[str, float]:
        return {"charge_c": self.charge_c if which == "WE" else -self.charge_c}


class Notebook:
    """Collects what is written to the truth."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def write(self, instrument: str, event: str, **values: Any) -> None:
        assert instrument == "potentiostat"
        self.lines.append((event, values))

    def __getitem__(self, event: str) -> list[dict[str, Any]]:
        return [values for name, values in self.lines if name == event]


class Client:
    """A serial port and nothing more."""

    def __init__(self, address: str) -> None:
        self.port = serial.Serial(address.removeprefix("serial://"), timeout=0.01)
        self.received = b""

    def send(self, text: str) -> None:
        self.port.write(text.encode("utf-8"))

    def line(self, timeout_s: float = 50.0) -> str:
        """Return the next line without its LF."""
        end = time.monotonic() + timeout_s
        while b"\n" not in self.received:
            assert time.monotonic() < end, f"no line came, only {self.received!r}"
            self.received += self.port.read(self.port.in_waiting or 1)
        line, _, self.received = self.received.partition(b"\n")
        return line.decode("ascii")

    def lines_until(self, last: str) -> list[str]:
        lines = [self.line()]
        while lines[-1] != last:
            lines.append(self.line())
        return lines

    def ask(self, command: str) -> str:
        self.send(command + "\n")
        return self.line()

    def run(self, script: str) -> list[str]:
        """Execute a script and return its output without the acknowledgement and the last line."""
        self.send("e\n" + script.strip() + "\n\n")
        assert self.line() == "e"
        return self.lines_until("")[:-1]

    def silent(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.received += self.port.read(self.port.in_waiting or 1)
        return not self.received

    def close(self) -> None:
        self.port.close()


class Bench:
    def __init__(self, cell: Any, factor: float, seed: int, options: dict[str, Any]) -> None:
        self.cell = cell
        self.clock = SimulatedClock(factor)
        self.truth = Notebook()
        self.device: EmStat4 = serve(cell, self.clock, self.truth, seed, **options)
        self.client = Client(self.device.address)

    def close(self) -> None:
        self.client.close()
        self.device.close()
        self.clock.close()


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Make a bench: perfect, on the dummy cell and still while idle, unless told otherwise."""
    benches: list[Bench] = []

    def make(cell: Any = None, factor: float = 1e5, seed: int = 0, **options: Any) -> Bench:
        options = {"perfect": True, "idle": False, **options}
        bench = Bench(DummyCell() if cell is None else cell, factor, seed, options)
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def dummy_cell() -> type[DummyCell]:
    return DummyCell


PREFIXES = {
    "a": 1e-18,
    "f": 1e-15,
    "p": 1e-12,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    " ": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
}


@pytest.fixture
def decode() -> Callable[[str], Any]:
    """Read a package line as the protocol's sheet says, independently of what wrote it."""

    def value(text: str) -> float:
        assert len(text) == 8, text
        if text == "     nan":
            return float("nan")
        number = int(text[:7], 16) - 0x8000000
        return number if text[7] == "i" else number * PREFIXES[text[7]]

    def package(line: str) -> dict[str, Any]:
        assert line[0] == "P", line
        found: dict[str, Any] = {}
        for part in line[1:].split(";"):
            kind, number, *metadata = part[:2], part[2:10], *part[10:].split(",")[1:]
            found[kind] = value(number)
            for item in metadata:
                found[f"{kind}.{'status' if item[0] == '1' else 'range'}"] = int(item[1:], 16)
        return found

    return package
