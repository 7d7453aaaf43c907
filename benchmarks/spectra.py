"""How long an impedance spectrum takes to be fitted, and its distribution of relaxation times."""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.table import Row, Section, interleaved
from operando.analysis.circuits import Circuit
from operando.analysis.impedance import fit_arcs
from operando.analysis.relaxation_times import relaxation_times
from operando.analysis.shunt import shunt

POINTS = 60
NOISE = 1e-3
REPEATS = 21
# Two interfaces, each a film and a charge transfer; one arc; an arc and diffusion behind it.
CIRCUITS = {
    "one arc": ("R0-p(R1,CPE1)", (2.65, 150.0, 1e-5, 0.9)),
    "two arcs": (
        "R0-p(R1,CPE1)-p(R2,CPE2)",
        (2.65, 76.0, 5.6e-6, 0.95, 76.0, 6.8e-5, 0.9),
    ),
    "four arcs of two interfaces": (
        "R0-p(R1,CPE1)-p(R2,CPE2)-p(R3,CPE3)-p(R4,CPE4)",
        (9.45, 5.1, 6.8e-5, 0.95, 5.1, 5.7e-3, 0.9, 0.3, 6.8e-5, 0.95, 0.3, 5.7e-3, 0.9),
    ),
    "an arc and diffusion": ("R0-p(R1,CPE1)-Ws1", (2.65, 60.0, 1e-5, 0.9, 40.0, 2.0)),
}


def processor_s(work: Callable[[], object]) -> float:
    """Return the processor time of all threads that ``work`` takes, s."""
    began = time.process_time()
    work()
    return time.process_time() - began


def spectra() -> Section:
    """Measure fits, distributions and the search for a short on spectra of 60 points with noise."""
    frequency = np.logspace(5, -1, POINTS)
    random = np.random.default_rng(0)
    works: dict[str, Callable[[], float]] = {}
    wanted: dict[str, str] = {}
    for name, (text, values) in CIRCUITS.items():
        z = Circuit.parse(text).impedance_ohm(frequency, values)
        z = z * (1 + NOISE * (random.normal(size=POINTS) + 1j * random.normal(size=POINTS)))
        z = np.asarray(z, dtype=np.complex128)
        fit, distribution = f"{name}: test, fit, choice", f"{name}: distribution"
        works[fit] = lambda z=z: processor_s(lambda: fit_arcs(frequency, z.real, z.imag))
        works[distribution] = lambda z=z: processor_s(lambda: relaxation_times(frequency, z))
        wanted |= {fit: "<= 0.1", distribution: "<= 0.05"}
        if name == "two arcs":
            before = fit_arcs(frequency, z.real, z.imag)
            short = z * 30 / (z + 30)
            works["a short in parallel to two arcs"] = lambda before=before, z=short: processor_s(
                lambda: shunt(before, frequency, z.real, z.imag)
            )
    for work in works.values():
        work()  # the first call of each loads its libraries
    measured = interleaved(works, dict.fromkeys(works, REPEATS))
    return Section(
        f"Impedance spectra of {POINTS} points, processor time",
        "python -m benchmarks spectra",
        [Row(name, measured[name], "s", wanted=wanted.get(name, "")) for name in works],
        f"Noise of {NOISE:.1%} of |Z| on both parts.",
    )
