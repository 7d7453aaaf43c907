"""The experiments behind the rows, as data: what is run, on which cell, how fast, how often."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

# With the leader alone the simulator computes as fast as it can: the clock waits for it.
FASTEST = 1e7
LEADER = frozenset({"potentiostat"})
WITH_CAMERA = frozenset({"potentiostat", "camera"})
WITH_FOLLOWERS = frozenset({"potentiostat", "camera", "raman", "gas_chromatograph"})
WITH_THERMOSTAT = frozenset({"potentiostat", "thermostat"})
WITH_CHROMATOGRAPH = frozenset({"potentiostat", "gas_chromatograph"})


@dataclass(frozen=True)
class Experiment:
    """One simulated experiment.

    Attributes:
        name: What rows call it.
        protocol: A file of ``config/protocols``.
        cell: A file of ``config/cells``.
        preset: The simulated cell that stands behind it.
        instruments: Those of the bench that take part.
        factor: Cell seconds per second; the simulator is slower where it must.
        technique: Fields of the protocol's technique that are changed, and why is told in ``told``.
        temperatures: Fields of the protocol's temperatures that are changed.
        every: Fields of the protocol's schedule that are changed.
        cell_fields: Fields of the cell file that are changed.
        rarer: Rows come so many times rarer than the protocol says.
        faults: What breaks, as objects of the simulator's file ``faults``.
        observations: Names in `operando.acceptance.observations`: what is asked of the run beside
            its metrics.
        truths: Names in `operando.acceptance.identities`: what is compared with what the simulator
            says really happened.
        cost_s: Roughly how long it takes on a quiet machine of two cores, both busy with such; the
            longest start first.
        waits: Whether it waits for its clock most of that time.
        told: What differs from the protocol file, and why.
    """

    name: str
    protocol: str
    cell: str
    preset: str
    instruments: frozenset[str] = LEADER
    factor: float = FASTEST
    technique: Mapping[str, Any] = field(default_factory=dict)
    temperatures: Mapping[str, Any] = field(default_factory=dict)
    every: Mapping[str, Any] = field(default_factory=dict)
    cell_fields: Mapping[str, Any] = field(default_factory=dict)
    rarer: float = 1.0
    faults: tuple[Mapping[str, Any], ...] = ()
    observations: tuple[str, ...] = ()
    truths: tuple[str, ...] = ()
    cost_s: float = 5.0
    waits: bool = False
    told: str = ""


def _rare(half_cycle_h: float, rows: int) -> dict[str, float]:
    """Return when rows are recorded of long tests: evenly, limits checked each 10 s at most."""
    dt_s = half_cycle_h * 3600 / rows
    return {"dt_s": dt_s, "edge_for_s": 0.0, "check_dt_s": dt_s / math.ceil(dt_s / 10.0)}


def _life(
    name: str, protocol: str, cell: str, total_h: float, half_cycle_h: float, cost_s: float
) -> Experiment:
    rows = 30
    record = _rare(half_cycle_h, rows)
    return Experiment(
        name,
        protocol,
        cell,
        cell,
        technique={"total_h": total_h, "record": record},
        cost_s=cost_s,
        told=f"goes on to {total_h:g} h, so that the end of a life can be seen; a row each "
        f"{record['dt_s']:g} s ({rows} in a half-cycle, 200 by default) and a check of limits each "
        f"{record['check_dt_s']:g} s: plateaus and lives stay",
    )


_SODIUM = ("znag", "bare")

SODIUM = (
    *(
        Experiment(
            f"na-{on}",
            "na-half-cell",
            f"na-{on}-half",
            f"na-{on}-half",
            truths=("efficiency", "ledger") if on == "znag" else (),
            observations=("replayed",) if on == "znag" else (),
        )
        for on in ("znag", "bare", "cu", "al")
    ),
    Experiment(
        "na-znag-rarer", "na-half-cell", "na-znag-half", "na-znag-half", rarer=2.0,
        told="half as many rows",
    ),
    Experiment(
        "na-znag-mirrored", "na-half-cell", "na-znag-half", "na-znag-half",
        cell_fields={"metal_electrode": "CE"}, observations=("refused",),
        told="the cell file names the wrong electrode, as a swapped cable would",
    ),
    *(
        Experiment(
            f"na-{on}-image", "sodium-nucleation", f"na-{on}-half", f"na-{on}-half",
            instruments=WITH_CAMERA, factor=1000, truths=("thickness",), cost_s=60,
        )
        for on in _SODIUM
    ),
    *(
        Experiment(
            f"na-{on}-500", "sodium-coulombic-efficiency", f"na-{on}-half", f"na-{on}-half",
            cost_s=75,
        )
        for on in _SODIUM
    ),
    Experiment(
        "na-znag-1-mah", "sodium-coulombic-efficiency-1-mah", "na-znag-half", "na-znag-half",
        cost_s=60,
    ),
    *(
        Experiment(
            f"na-{on}-impedance", "sodium-impedance", f"na-{on}-predeposited",
            f"na-{on}-predeposited",
        )
        for on in _SODIUM
    ),
    *(
        Experiment(
            f"na-{on}-tafel", "sodium-tafel", f"na-{on}-predeposited", f"na-{on}-predeposited"
        )
        for on in _SODIUM
    ),
    *(
        Experiment(
            f"na-{on}-temperatures", "sodium-impedance-temperatures", f"na-{on}-symmetric",
            f"na-{on}-symmetric", instruments=WITH_THERMOSTAT, factor=1000, cost_s=60, waits=True,
        )
        for on in _SODIUM
    ),
    *(
        Experiment(
            f"na-{on}-1000-h", "sodium-symmetric-1000-h", f"na-{on}-predeposited",
            f"na-{on}-predeposited", technique={"record": _rare(1.0, 120)}, cost_s=25,
            told="a row each 30 s, evenly, and a check of limits each 10 s: plateaus stay",
        )
        for on in _SODIUM
    ),
    Experiment(
        "na-znag-hard-short", "sodium-symmetric-1000-h", "na-znag-predeposited",
        "na-znag-predeposited", technique={"total_h": 30},
        faults=({"instrument": "cell", "fault": "hard-short", "at": 73_800.0, "ohm": 0.5},),
        told="30 h, a hard short of 0.5 ohm after 20.5 h",
    ),
    *(
        Experiment(
            f"na-{on}-depth", "sodium-depth-of-discharge", f"na-{on}-symmetric",
            f"na-{on}-symmetric", technique={"cycles": 5},
            told="5 cycles of the 100: the depth is the same in each",
        )
        for on in _SODIUM
    ),
    *(
        Experiment(
            f"na-{on}-rates", "sodium-rate-capability", f"na-{on}-predeposited",
            f"na-{on}-predeposited", observations=("completed",), cost_s=20,
        )
        for on in _SODIUM
    ),
)  # fmt: skip

_FOIL_20_UM = {"material": "Zn", "area_cm2": 1.131, "metal": "Zn", "thickness_um": 20}
_SHORTS = tuple(
    {
        "instrument": "cell",
        "fault": "soft-short",
        "at": 60.0 + 1800.0 + 3600.0 * number,
        "ohm": 30.0 if number % 2 else 100.0,
        "seconds": 300.0,
    }
    for number in range(20)
)

ZINC = (
    _life("zn-caco3-life", "zinc-symmetric-0.25-0.05", "zn-caco3", 1400, 0.2, 30),
    _life("zn-bare-life", "zinc-symmetric-0.25-0.05", "zn-bare", 100, 0.2, 8),
    _life("zn-zro2-life", "zinc-symmetric-0.25-0.125", "zn-zro2", 3850, 0.5, 60),
    _life("zn-lzs-life", "zinc-symmetric-0.5-0.5", "zn-lzs", 4100, 1.0, 40),
    Experiment(
        "zn-zro2-efficiency", "zinc-coulombic-efficiency-5-1", "zn-zro2-half", "zn-zro2-half",
        cost_s=60,
    ),
    Experiment(
        "zn-lzs-efficiency", "zinc-coulombic-efficiency-2-1", "zn-lzs-half", "zn-lzs-half",
        cost_s=90,
    ),
    Experiment(
        "zn-safe-mxene-nucleation", "zinc-nucleation", "zn-safe-mxene-half", "zn-safe-mxene-half"
    ),
    *(
        Experiment(
            f"zn-{on}-1-1", "zinc-symmetric-1-1", f"zn-{on}", f"zn-{on}",
            technique={"total_h": 10}, told="5 cycles of the 1000 h",
        )
        for on in ("bare", "znb")
    ),
    *(
        Experiment(
            f"zn-{on}-watched", "zinc-raman", f"zn-{on}-half", f"zn-{on}-half",
            instruments=WITH_FOLLOWERS, factor=1000, waits=True,
            observations=("bands_detected", "injection_interval"),
            truths=("hydrogen", "hydroxide", "ledger") if on == "bare" else (), cost_s=120,
        )
        for on in ("bare", "zro2")
    ),
    *(
        Experiment(f"zn-{on}-impedance", "zinc-impedance", f"zn-{on}", f"zn-{on}")
        for on in ("bare", "zro2")
    ),
    Experiment(
        "zn-bare-first-cycle", "zinc-impedance-first-cycle", "zn-bare", "zn-bare"
    ),
    Experiment(
        "zn-thin-foil", "zinc-depth-of-discharge", "zn-bare", "zn-bare",
        technique={"depth_of_discharge_pct": 50, "cycles": 1},
        cell_fields=dict.fromkeys(("working_electrode", "counter_electrode"), _FOIL_20_UM),
        told="a foil of 20 um in the cell file, half of it, one cycle",
    ),
    Experiment(
        "zn-zro2-soft-shorts", "zinc-symmetric-1-1", "zn-zro2", "zn-zro2",
        technique={"total_h": 20, "record": {"dt_s": 10.0, "edge_for_s": 0.0}}, faults=_SHORTS,
        truths=("soft_shorts",), cost_s=15,
        told="20 h, in the middle of each half-cycle a soft short of 5 min, 100 and 30 ohm",
    ),
    Experiment(
        "zn-zro2-healthy", "zinc-symmetric-1-1", "zn-zro2", "zn-zro2",
        technique={"total_h": 10, "record": {"dt_s": 10.0, "edge_for_s": 0.0}}, cost_s=4,
        told="10 h, in which nothing happens",
    ),
    Experiment(
        "zn-zro2-shunt", "zinc-impedance", "zn-zro2", "zn-zro2", technique={"every_cycles": 1},
        faults=(
            {"instrument": "cell", "fault": "soft-short", "at": 3700.0, "ohm": 200.0,
             "seconds": 7000.0},
        ),
        truths=("shunt",), told="a short of 200 ohm lasts over the second spectrum",
    ),
)  # fmt: skip

FULL_CELLS = (
    *(
        Experiment(
            f"pb-{on}-voltammetry", "prussian-blue-voltammetry", f"pb-{on}-anodeless",
            f"pb-{on}-anodeless", cost_s=20,
        )
        for on in _SODIUM
    ),
    *(
        Experiment(
            f"pb-{on}-50", "prussian-blue-cycling", cell, cell, cost_s=60,
        )
        for on, cell in (
            ("znag", "pb-znag-anodeless"), ("bare", "pb-bare-anodeless"), ("half", "pb-half"),
        )
    ),
    Experiment(
        "pb-znag-100", "prussian-blue-cycling-100", "pb-znag-anodeless-100",
        "pb-znag-anodeless-100", cost_s=25,
    ),
    *(
        Experiment(
            f"pb-{on}-rates", "prussian-blue-rate-capability", f"pb-{on}-rate", f"pb-{on}-rate",
            cost_s=25,
        )
        for on in _SODIUM
    ),
    *(
        Experiment(
            f"pb-{on}-cold", "prussian-blue-temperatures", f"pb-{on}-anodeless",
            f"pb-{on}-anodeless", instruments=WITH_THERMOSTAT, factor=3000, waits=True,
            temperatures={"kelvin": [298.15, 253.15]}, every={"tolerance_s": 60}, cost_s=60,
            told="two temperatures of the six; a minute of lateness, so that the clock may run",
        )
        for on in _SODIUM
    ),
    *(
        Experiment(
            f"pb-{on}-free", "prussian-blue-anode-free", f"pb-{on}-anodefree",
            f"pb-{on}-anodefree", cost_s=50,
        )
        for on in _SODIUM
    ),
)  # fmt: skip

EVIDENCE = (
    Experiment("zn-blind", "zinc-blind", "blind-zn-half", "blind-zn-half", truths=("blind",)),
    Experiment(
        "dummy-100-ohm", "dummy-cell", "dummy-100ohm", "dummy-100ohm",
        observations=("dummy_ranges",), truths=("dummy",),
    ),
    Experiment(
        "dummy-100-ohm-set", "dummy-cell-potentials", "dummy-100ohm", "dummy-100ohm",
        observations=("dummy_potentials",),
    ),
    Experiment("dummy-two-rc", "dummy-cell-impedance", "dummy-2rc", "dummy-2rc"),
    Experiment("dummy-rc", "dummy-cell-impedance", "dummy-rc", "dummy-rc"),
    *(
        Experiment(
            name, name, "zn-bare", "zn-bare", instruments=WITH_CHROMATOGRAPH, factor=1000,
            waits=True,
            faults=(
                {"instrument": "chromatograph", "fault": "bottle", "hydrogen": fraction},
            ),
            cost_s=20,
        )
        for name, fraction in (("gas-blank", 0.0), ("gas-calibration", 1e-3))
    ),
    Experiment(
        "pt-recovery", "hydrogen-recovery", "pt-hydrogen", "pt-hydrogen",
        instruments=WITH_CHROMATOGRAPH, factor=1000, waits=True, cost_s=20,
    ),
)  # fmt: skip

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {one.name: one for one in (*SODIUM, *FULL_CELLS, *ZINC, *EVIDENCE)}
)
