"""Which Rodeostats there are: what the hardware variant that one tells says of its ranges."""

from dataclasses import dataclass

from instruments.errors import ProtocolError, UnsupportedTechniqueError
from instruments.potentiostat.contract import Capabilities

# Shortest and longest time between two samples, ms.
SAMPLE_PERIOD_MS = (1, 1000)

SOFTWARE_ONLY = (
    "its firmware knows no limits: limits on current and charge are compared by this computer, for "
    "each sample that arrives, which then tells it to stop. When this computer dies, its test goes "
    "on WITHOUT LIMITS until its own duration is over, and then disconnects the electrodes"
)

_MICROAMPERE = 1e-6
_VOLTS = {
    "10V": ("1V", "2V", "5V", "10V"),
    "AD8250": ("1V", "2V", "5V", "10V"),
    "AD8251": ("1V", "2V", "4V", "8V"),
}
# Names of the ranges and the currents they carry, uA, ascending.
_AMPERES: dict[str, tuple[tuple[str, float], ...]] = {
    "nanoAmp": (("60nA", 0.06), ("100nA", 0.1), ("1uA", 1.0), ("10uA", 10.0)),
    "microAmp": (("1uA", 1.0), ("10uA", 10.0), ("100uA", 100.0), ("1000uA", 1000.0)),
    "10MilliAmp": (
        ("10uA", 10.0),
        ("100uA", 100.0),
        ("1000uA", 1000.0),
        ("10000uA", 10000.0),
    ),
    "24MilliAmp": (
        ("100uA", 100.0),
        ("1000uA", 1000.0),
        ("12000uA", 12024.0),
        ("24000uA", 24048.0),
    ),
}
_AMPERES["milliAmp"] = _AMPERES["24MilliAmp"]
_SWITCHED = "V0.2"


@dataclass(frozen=True)
class Model:
    """One hardware variant.

    Attributes:
        variant: as it names itself, ``10V_24MilliAmpV0.2``.
        current_ranges: name and largest current of each, A, ascending.
        voltage_range: name of the largest range of the potential.
        potential_max_v: the largest potential, either sign, V.
    """

    variant: str
    current_ranges: tuple[tuple[str, float], ...]
    voltage_range: str
    potential_max_v: float

    def range_for(self, current_a: float) -> tuple[str, float]:
        """Return name and largest current (A) of the smallest range that carries a current."""
        carrying = (x for x in self.current_ranges if x[1] >= current_a * (1 - 1e-9))
        return next(carrying, self.current_ranges[-1])

    def capabilities(self) -> Capabilities:
        """Return what it can do."""
        return Capabilities(
            model=f"Rodeostat {self.variant}",
            galvanostatic=False,
            potential_min_v=-self.potential_max_v,
            potential_max_v=self.potential_max_v,
            current_max_a=self.current_ranges[-1][1],
            current_ranges_a=tuple(current for _, current in self.current_ranges),
            frequency_max_hz=0.0,
            amplitude_max_v=0.0,
            techniques=frozenset(
                {"open_circuit", "potentiostatic_step", "linear_sweep", "cyclic_voltammetry"}
            ),
            scan_rate_min_v_s=1e-6,
            scan_rate_max_v_s=1.0,
            limits_note=SOFTWARE_ONLY,
        )


def models() -> tuple[Capabilities, ...]:
    """Return what each variant that is driven can do."""
    variants = (f"{volts}_{amperes}{_SWITCHED}" for volts in _VOLTS for amperes in _AMPERES)
    return tuple(model_of(variant).capabilities() for variant in variants)


def model_of(variant: str) -> Model:
    """Return what a variant can do.

    Raises:
        ProtocolError: no Rodeostat names itself so.
        UnsupportedTechniqueError: it has no switches between it and the electrodes.
    """
    volts, _, rest = variant.partition("_")
    amperes, dot, version = rest.rpartition("V")
    if f"{dot}{version}" == "V0.1":
        raise UnsupportedTechniqueError(
            f"hardware {variant!r} has no switches between it and the electrodes: it holds the "
            "cell at a potential all the time and cannot leave it open, so it is not driven; "
            "hardware V0.2 and later has them"
        )
    if f"{dot}{version}" != _SWITCHED or volts not in _VOLTS or amperes not in _AMPERES:
        raise ProtocolError(
            f"it calls its hardware {variant!r}, which is none that this driver knows: "
            f"{', '.join(_VOLTS)}, then {', '.join(_AMPERES)}, then {_SWITCHED}"
        )
    largest = _VOLTS[volts][-1]
    return Model(
        variant,
        tuple((name, current * _MICROAMPERE) for name, current in _AMPERES[amperes]),
        largest,
        float(largest.removesuffix("V")),
    )
