"""How much a run will write.

An estimate from above: every step lasts as long as it can, every follower is never late, images
count as if nothing compressed them. What a run writes is less, never much more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from instruments.bench_file import BenchFile
from instruments.camera.contract import BITS_OF
from instruments.raman.contract import Specification
from techniques import (
    Cell,
    CyclicVoltammetry,
    GalvanostaticStep,
    ImpedanceSpectrum,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Protocol,
    Recording,
    Technique,
    longest_duration_s,
)
from techniques.programs import Block, Repeat, Sequence

# Measured, journal and catalog together: a row that travels in an event page of its own (slower
# than ten rows a second), one in a page of many, one of a follower. With fast steps pages are full.
ROW_ALONE_B, ROW_AMONG_MANY_B, FOLLOWER_ROW_B = 1200, 300, 1500
# Rows of the leader come in pages of 0.1 s.
PAGES_PER_S = 10.0
# Start and stop documents, descriptors, indexes, the files' own heads, and the write-ahead logs of
# the catalog, 4 MB each.
RUN_B = 10_000_000
# Values of a chromatogram's trace each second, 8 bytes each.
_TRACE_PER_S = 50.0
# A potential that moves rows: at most so far in a step, V.
_SWING_V = 2.0


@dataclass(frozen=True)
class Part:
    """One kind of what a run writes.

    Attributes:
        what: e.g. ``images``.
        count: How many, at most.
        bytes_each: Of one.
    """

    what: str
    count: float
    bytes_each: float

    @property
    def bytes(self) -> float:
        """Return what all of them take."""
        return self.count * self.bytes_each


@dataclass(frozen=True)
class Estimate:
    """What a run writes at most.

    Attributes:
        duration_s: How long it lasts at most, s of cell time.
        parts: By kind.
    """

    duration_s: float
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> float:
        """Return what all parts take together."""
        return sum(part.bytes for part in self.parts)

    def text(self) -> str:
        """Return it in words."""
        listed = ", ".join(
            f"{part.count:.4g} {part.what} {size_text(part.bytes)}"
            for part in self.parts
            if part.count >= 1
        )
        return f"{size_text(self.bytes)} in up to {self.duration_s / 3600:.3g} h ({listed})"


def size_text(size: float) -> str:
    """Return bytes in words: ``3.1 GB``."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def estimate(
    file: BenchFile, protocol: Protocol, cell: Cell, drivers: Mapping[str, Any] | None = None
) -> Estimate:
    """Return what ``protocol`` on ``cell`` writes at most with the instruments of a bench.

    Args:
        file: The bench.
        protocol: What runs.
        cell: On which cell; raises UnsuitableCellError if it suits it not.
        drivers: By name, those that are connected: they tell how large images and spectra are;
            else 5 megapixels of 8 bits and 2048 pixels are assumed.
    """
    drivers = drivers or {}
    program = protocol.program(cell)
    duration_s = longest_duration_s(program)
    rows, plates, halves = _counted(program)
    every = protocol.every
    edges = halves if every.at_half_cycle_ends else 0.0
    full = duration_s > 0 and rows / duration_s > PAGES_PER_S
    parts = [
        Part("runs", 1, RUN_B),
        Part("rows of the potentiostat", rows, ROW_AMONG_MANY_B if full else ROW_ALONE_B),
    ]
    for name, entry in file.instruments.items():
        driver = drivers.get(name)
        match entry.kind:
            case "camera" if every.image_s is not None:
                burst = 0.0
                if every.burst_for_s > 0:
                    burst = plates * (every.burst_for_s / every.burst_every_s + 1)
                count = duration_s / every.image_s + burst + edges
                parts.append(Part("images", count, _image_b(driver) + FOLLOWER_ROW_B))
            case "raman" if every.spectrum_s is not None:
                count = duration_s / every.spectrum_s + edges + every.blank_spectra
                told: int = getattr(entry, "accumulations", 1)
                accumulations = every.accumulations or told
                spectrum_b = (accumulations + 2) * _pixels(driver) * 8
                parts.append(Part("spectra", count, spectrum_b + FOLLOWER_ROW_B))
            case "gas_chromatograph" if every.injection_s is not None:
                count = duration_s / every.injection_s + edges
                trace_b = getattr(entry, "run_time_s", 160.0) * _TRACE_PER_S * 8
                parts.append(Part("injections", count, trace_b + 2 * FOLLOWER_ROW_B))
            case "thermostat" if every.temperature_s is not None:
                count = duration_s / every.temperature_s
                parts.append(Part("temperatures", count, FOLLOWER_ROW_B))
            case "sensor" | "external" | "stage" | "lamp" if every.reading_s is not None:
                count = duration_s / every.reading_s + edges
                parts.append(Part(f"readings of {name}", count, FOLLOWER_ROW_B))
            case _:
                pass
    return Estimate(duration_s, tuple(parts))


def _image_b(driver: Any) -> float:
    if driver is None:
        return 5e6
    settings = driver.settings
    rows, columns = settings.image_shape
    return float(rows * columns * (1 if BITS_OF.get(settings.pixel_format, 16) == 8 else 2))


def _pixels(driver: Any) -> int:
    if driver is None:
        return 2048
    specification: Specification = driver.specification
    return specification.pixels


def _counted(technique: Technique) -> tuple[float, float, float]:
    """Return how many rows, platings and half-cycles a program has at most."""
    match technique:
        case Sequence():
            return _sum(_counted(step) for step in technique.steps)
        case Repeat():
            return _times(technique.times, _counted(technique.step))
        case Block():
            return _counted(technique.step)
        case PlateStripCycle():
            rest = OpenCircuit(duration_s=technique.rest_s) if technique.rest_s > 0 else None
            parts = [_counted(technique.plate), _counted(technique.strip)]
            if rest is not None:
                rested = rest.model_copy(update={"record": technique.plate.record})
                parts += [_counted(rested)] * 2
            if technique.plate_hold is not None:
                parts.append(_counted(technique.plate_hold))
            total = _times(technique.cycles, _sum(parts))
            if technique.between is None:
                return total
            return _sum([total, _times(technique.times_between, _counted(technique.between))])
        case GalvanostaticStep() | PotentiostaticStep():
            half = 0.0 if technique.role is None else 1.0
            return _rows(technique), float(technique.role == "plate"), half
        case OpenCircuit():
            return _timed(technique.record, technique.duration_s), 0.0, 0.0
        case LinearSweep() | CyclicVoltammetry():
            steps = technique.expected_s * technique.scan_rate_v_s / technique.row_step_v
            return steps + 2, 0.0, 0.0
        case ImpedanceSpectrum():
            return _points(technique), 0.0, 0.0
    raise TypeError(f"not a technique: {technique!r}")


def _rows(step: GalvanostaticStep | PotentiostaticStep) -> float:
    record, duration_s = step.record, step.expected_s
    rows = _timed(record, duration_s)
    if record.dq_mah_cm2 is not None and isinstance(step, GalvanostaticStep):
        charge = abs(step.current_density_ma_cm2) * duration_s / 3600
        rows += charge / record.dq_mah_cm2
    if record.de_v is not None:
        rows += _SWING_V / record.de_v
    return min(rows, duration_s / record.check_interval_s(duration_s) + 2)


def _timed(record: Recording, duration_s: float) -> float:
    dense_s = min(record.edge_for_s, duration_s)
    return dense_s / min(record.edge_dt_s, record.dt_s) + (duration_s - dense_s) / record.dt_s + 2


def _points(spectrum: ImpedanceSpectrum) -> float:
    decades = math.log10(spectrum.frequency_max_hz / spectrum.frequency_min_hz)
    return decades * spectrum.points_per_decade + 1


def _sum(parts: Any) -> tuple[float, float, float]:
    rows, plates, halves = 0.0, 0.0, 0.0
    for part in parts:
        rows, plates, halves = rows + part[0], plates + part[1], halves + part[2]
    return rows, plates, halves


def _times(n: float, part: tuple[float, float, float]) -> tuple[float, float, float]:
    return n * part[0], n * part[1], n * part[2]
