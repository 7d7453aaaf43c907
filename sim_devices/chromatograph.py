"""A gas chromatograph behind three wires and a folder: Start in, Ready out, result files.

It samples the cell's headspace at the moment of the start, records a thermal-conductivity trace for
160 s of cell time and then writes the chromatogram as an INFICON Micro GC Fusion data file (JSON).
Start is ignored while the instrument is not ready.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sim_devices.cell import Cell
from sim_devices.cell.parameters import GAS_CONSTANT
from sim_devices.clock import SimulatedClock
from sim_devices.result_files import ResultFolder
from sim_devices.truth import Truth
from sim_devices.wire_faults import FaultsOf, WireFaults, number_of

RUN_S = 160.0
VALUES_PER_SECOND = 50
SHORTEST_START_S = 0.5e-3  # of the contact, host time
AREA_PER_MOLE_FRACTION = 6.7e6  # detector units times seconds
METHOD = "H2_molecular_sieve"

_STANDARD_ATMOSPHERE_PA = 101325.0
_AREA_NOISE = 0.005
_NOISE = 4.0
_LITRE_PER_M3 = 1e-3
_IMPOSSIBLE_AREA = -1e9


# What can go wrong with one, whatever its wires.
OF_THE_INSTRUMENT = {
    "not-ready": "is not ready, and no start is obeyed, until `resume`",
    "bottle": "its gas comes from a bottle now, with a mole fraction of `hydrogen` (0)",
    "headspace": "it is the cell's again",
}
FAULTS = FaultsOf(
    "a gas chromatograph behind a contact and a folder",
    {
        "stall": "no result appears for `seconds` (without: until `resume`), then all",
        "resume": "ends what lasts, what has not come about yet, and `not-ready`",
        "garble": "flips bit `bit` (7) of one byte of each of the next `count` (1) results",
        "drop-bytes": "the next `count` (1) results lack `bytes` (1) bytes",
        "drop": "the next `count` (1) results never appear",
        "split": "for `seconds` (without: until `resume`) a result appears at once and grows, in "
        "pieces that are `pause_s` (0.02) apart",
        "merge": "what results there are in `seconds` (without: until `resume`) appear together",
        "refuse": "does not obey the next `count` (1) starts",
        "disconnect": "its folder is gone for `seconds` (1), as a share of the network may be",
        "power-cycle": "has no power for `seconds` (1): a run that goes on is lost, and it is not "
        "ready",
        "clock-jump": "sets its clock forward by `seconds` (60), back if negative: what it stamps "
        "results with",
        "slow": "results appear `delay_s` (0.5) late for `seconds` (without: until `resume`)",
        "out-of-range": "tells `value` (-1e9) as the area of hydrogen in the next `count` (1) "
        "results",
        **OF_THE_INSTRUMENT,
    },
    {
        "wrong-checksum": "its files have no checksum",
        "garble-in": "a contact is closed or open",
    },
)


class Species(NamedTuple):
    """Where a gas comes out of the column and how broad."""

    retention_s: float
    width_s: float  # standard deviation


SPECIES = {"H2": Species(52.06, 0.8), "O2": Species(60.2, 0.9), "N2": Species(69.12, 1.1)}
_AIR = {"O2": 2e-4, "N2": 8e-4}  # mole fractions that leak in


class Sample(NamedTuple):
    """What the sample loop held at an injection."""

    cell_t: float  # s
    hydrogen_mol: float  # in the headspace (closed), 0 when swept
    hydrogen_mol_s: float  # leaving the electrolyte
    mole_fraction: float


class InjectingInstrument:
    """The instrument: `start_contact` and `ready` are its terminals, `folder` has its results.

    Where the gas comes from is a subclass's business: see `take_in`.
    """

    def __init__(self, clock: SimulatedClock, truth: Truth, folder: Path) -> None:
        """Switch on, ready.

        Args:
            clock: of the bench; hurried while a run is in progress.
            truth: gets one line per injection, with what was really there.
            folder: made if need be; result files appear in it complete, by renaming.
        """
        self._clock = clock
        self._truth = truth
        self.folder = folder
        self.broken = WireFaults(FAULTS)
        self._results = ResultFolder(folder, self.broken)
        self._condition = threading.Condition()
        self._contact_closed_at: float | None = None
        self._closures = self._closures_seen = 0
        self._asked = False
        self._annotations: dict[str, Any] = {}
        self._ready = True
        self._stop = False
        self._refuses = False
        self._clock_ahead_s = 0.0
        self._power_cuts = 0
        self.injections = 0
        self.results: dict[str, Path] = {}  # by their $id, in their order
        self._thread = threading.Thread(target=self._work, name="chromatograph", daemon=True)
        self._thread.start()

    def take_in(self) -> tuple[dict[str, Any], Callable[[], npt.NDArray[np.float64]]]:
        """Fill the sample loop: return what the truth says of it, and what gives its trace."""
        raise NotImplementedError

    # ---- the terminals

    def start_contact(self, closed: bool) -> None:
        """Close or open the Start contact; a closure shorter than 0.5 ms is not seen."""
        with self._condition:
            if closed:
                self._closures += 1
                self._contact_closed_at = time.monotonic()
                self._clock.open_exchange("start contact")
            elif self._contact_closed_at is not None:
                self._notice()
                self._contact_closed_at = None
                self._clock.close_exchange("start contact")
            self._condition.notify_all()

    @property
    def ready(self) -> bool:
        """The Ready line: high (True) while a start would be obeyed."""
        with self._condition:
            return self._ready and not self._refuses and not self.broken.off_s()

    @property
    def running(self) -> bool:
        """Whether a run is in progress, from its start to its result."""
        with self._condition:
            return not self._ready

    def start(self, annotations: dict[str, Any]) -> bool:
        """Start as a command does that comes by a network; return whether it is obeyed.

        Args:
            annotations: kept with the result, beside those of the instrument.
        """
        with self._condition:
            if self._refuses or self._asked or not self._ready or self.broken.off_s():
                return False
            self._annotations = dict(annotations)
            self._asked = True
            self._condition.notify_all()
            while self._asked and not self._stop:
                self._condition.wait(1.0)
        return True

    def inject(self, fault: str, **options: object) -> None:
        """Break something of `FAULTS`.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        self.broken.take(fault, options)
        with self._condition:
            if fault in ("not-ready", "resume"):
                self._refuses = fault == "not-ready"
            elif fault == "clock-jump":
                self._clock_ahead_s += number_of(options, "seconds", 60.0)
            elif fault == "power-cycle":
                self._power_cuts += 1
        if fault == "power-cycle":
            self._clock.wake()
        elif fault == "disconnect":
            self._results.leave()

    def close(self) -> None:
        """Switch off; a run in progress leaves no result."""
        with self._condition:
            self._stop = True
            self._condition.notify_all()
        self._clock.wake()
        self._thread.join()
        self._results.close()

    # ---- inside

    def _notice(self) -> None:
        """Take a closure that lasts long enough as one request to start."""
        since = self._contact_closed_at
        if since is not None and self._closures != self._closures_seen:
            if time.monotonic() - since >= SHORTEST_START_S:
                self._closures_seen = self._closures
                self._asked = True

    def _work(self) -> None:
        while True:
            with self._condition:
                self._notice()
                while not (self._stop or self._asked):
                    undecided = self._contact_closed_at is not None and (
                        self._closures != self._closures_seen
                    )
                    self._condition.wait(SHORTEST_START_S if undecided else None)
                    self._notice()
                if self._stop:
                    return
                self._asked = False
                if self._refuses or self.broken.off_s() or self.broken.due("refuse"):
                    continue
                self._ready = False
                self.injections += 1
                number = self.injections
                annotations, self._annotations = self._annotations, {}
                self._condition.notify_all()
            if not self._run(number, annotations):
                return
            with self._condition:
                # A start during the run was ignored, even if the contact is still closed.
                self._closures_seen = self._closures
                self._asked = False
                self._ready = True

    def _run(self, number: int, annotations: dict[str, Any]) -> bool:
        started, cuts = datetime.now(UTC), self._power_cuts

        def without_power() -> bool:
            return self._stop or cuts != self._power_cuts

        told, trace = self.take_in()
        self._truth.write(
            "chromatograph",
            "injection",
            number=number,
            clock_s=self._clock.now(),
            host_time_s=started.timestamp(),
            **told,
        )
        with self._clock.hurry("chromatogram"):
            if not self._clock.follow_until(self._clock.now() + RUN_S, without_power):
                return not self._stop
        stamped = started + timedelta(seconds=self._clock_ahead_s)
        result = number, stamped, trace(), annotations
        if self._results.is_slow:
            self._results.later(self._publish, *result)
        else:
            self._publish(*result)
        return True

    def _publish(
        self,
        number: int,
        started: datetime,
        trace: npt.NDArray[np.float64],
        annotations: dict[str, Any],
    ) -> None:
        stamp = started.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        result: dict[str, Any] = {
            "$id": f"{number:06d}",
            "runTimeStamp": stamp,
            "methodName": METHOD,
            "softwareVersion": {"version": "3.3.5"},
            "annotations": {"name": f"injection {number}", "valcoPosition": 1, **annotations},
            "detectors": {
                "moduleA:tcd": {
                    "nValuesPerSecond": VALUES_PER_SECOND,
                    "nValuesExpected": len(trace),
                    "values": [round(float(value), 2) for value in trace],
                    "analysis": {"peaks": [_peak(trace, label) for label in SPECIES]},
                }
            },
        }
        hydrogen = result["detectors"]["moduleA:tcd"]["analysis"]["peaks"][0]
        hydrogen["area"] = self.broken.told(hydrogen["area"], _IMPOSSIBLE_AREA)
        name = f"{started:%Y%m%dT%H%M%S}-{number:04d}.json"
        if self._results.write(name, json.dumps(result).encode("utf-8")):
            self.results[f"{number:06d}"] = self.folder / name
            values = result["detectors"]["moduleA:tcd"]["values"]
            self._truth.write(
                "chromatograph",
                "result",
                number=number,
                file=name,
                crc32=zlib.crc32(np.asarray(values, "<f8").tobytes()),
            )


class Chromatograph(InjectingInstrument):
    """The instrument at a simulated cell: it samples the headspace, or the gas that sweeps it."""

    def __init__(
        self,
        cell: Cell,
        clock: SimulatedClock,
        truth: Truth,
        folder: Path,
        *,
        seed: int = 0,
        mode: Literal["closed", "swept"] = "closed",
        sweep_sccm: float = 5.0,
    ) -> None:
        """Switch on, ready.

        Args:
            cell: whose headspace is sampled.
            clock: of the bench; hurried while a run is in progress.
            truth: gets one line per injection, with the moles that were really there.
            folder: made if need be; result files appear in it complete, by renaming.
            seed: of the detector's noise.
            mode: ``closed``: hydrogen collects in the headspace; ``swept``: a carrier gas takes it
                along.
            sweep_sccm: flow of the carrier gas, cm3/min at 0 degrees C and 1 atm.
        """
        self._cell = cell
        self._random = np.random.default_rng(seed)
        self._mode = mode
        self._bottle: float | None = None
        self._loop_fitted = False
        self._loop: Sample | None = None
        self._carrier_mol_s = (
            sweep_sccm * 1e-6 / 60 * _STANDARD_ATMOSPHERE_PA / (GAS_CONSTANT * 273.15)
        )
        super().__init__(clock, truth, folder)

    def inject(self, fault: str, **options: object) -> None:
        """Break something of `FAULTS`, or change the gas.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        super().inject(fault, **options)
        if fault == "bottle":
            self._bottle = number_of(options, "hydrogen", 0.0)
        elif fault == "headspace":
            self._bottle = None

    def fit_loop(self) -> None:
        """Take samples from the loop of a valve from now on, and nothing without it."""
        self._loop_fitted = True

    def turn_loop(self, in_carrier: bool) -> None:
        """Turn the loop, which was filling with the gas, into the carrier, or back."""
        self._loop = self.sample() if in_carrier else None

    def take_in(self) -> tuple[dict[str, Any], Callable[[], npt.NDArray[np.float64]]]:
        sample = self.sample()
        if self._loop_fitted:
            # Without the loop the carrier alone goes over the column.
            sample = self._loop or Sample(sample.cell_t, 0.0, 0.0, 0.0)
        told = {
            "cell_t_s": sample.cell_t,
            "hydrogen_mol": sample.hydrogen_mol,
            "hydrogen_mol_s": sample.hydrogen_mol_s,
            "mole_fraction": sample.mole_fraction,
        }
        return told, lambda: self.trace(sample.mole_fraction)

    def sample(self) -> Sample:
        """Return what an injection at this moment would take in."""
        cell = self._cell
        with cell.lock:
            gas_mol = cell.hydrogen_gas_mol
            flow_mol_s = cell.hydrogen_dissolved_mol / cell.parameters.gas_release_s
            temperature_k, t = cell.temperature_k, cell.t
        if self._bottle is not None:
            return Sample(t, 0.0, 0.0, self._bottle)
        if self._mode == "swept":
            fraction = flow_mol_s / (self._carrier_mol_s + flow_mol_s)
            return Sample(t, 0.0, flow_mol_s, fraction)
        volume_m3 = cell.parameters.headspace_l * _LITRE_PER_M3
        filling_mol = _STANDARD_ATMOSPHERE_PA * volume_m3 / (GAS_CONSTANT * temperature_k)
        return Sample(t, gas_mol, flow_mol_s, gas_mol / (filling_mol + gas_mol))

    def trace(self, hydrogen_fraction: float) -> npt.NDArray[np.float64]:
        """Return a new noisy trace of the detector: 50 values per second for 160 s."""
        draw = self._random
        t = np.arange(int(RUN_S * VALUES_PER_SECOND)) / VALUES_PER_SECOND
        baseline = 30 + draw.normal(0, 0.5) + 2 * t / RUN_S
        trace = baseline + draw.normal(0, _NOISE, len(t))
        hydrogen = hydrogen_fraction * (1 + draw.normal(0, _AREA_NOISE))
        for label, fraction in {"H2": hydrogen, **_AIR}.items():
            peak = SPECIES[label]
            height = fraction * AREA_PER_MOLE_FRACTION / (peak.width_s * np.sqrt(2 * np.pi))
            trace += height * np.exp(-0.5 * ((t - peak.retention_s) / peak.width_s) ** 2)
        return np.asarray(trace)


def _peak(trace: npt.NDArray[np.float64], label: str) -> dict[str, Any]:
    """Integrate one peak as the instrument's own software does: over a straight baseline."""
    species = SPECIES[label]
    half, edge = 4 * species.width_s, 1.0
    t = np.arange(len(trace)) / VALUES_PER_SECOND
    inside = np.abs(t - species.retention_s) <= half
    before = (t < species.retention_s - half) & (t >= species.retention_s - half - edge)
    after = (t > species.retention_s + half) & (t <= species.retention_s + half + edge)
    baseline = np.interp(
        t[inside],
        [t[before].mean(), t[after].mean()],
        [trace[before].mean(), trace[after].mean()],
    )
    signal = trace[inside] - baseline
    area = float(np.sum(signal)) / VALUES_PER_SECOND
    percent = 100 * area / AREA_PER_MOLE_FRACTION
    return {
        "label": label,
        "height": round(float(signal.max()), 2),
        "area": round(area, 2),
        "concentration": round(percent, 6),
        "normalizedConcentration": round(percent, 6),
        "top": round(float(t[inside][np.argmax(signal)]), 2),
    }
