"""Which MethodSCRIPT instrument is which, by the name it gives itself."""

from instruments.errors import ProtocolError
from instruments.potentiostat.contract import Capabilities

# A range carries this many times its nominal value. The maker tells a current that is set as a
# multiple of the range, with 1.5 of it as the example (ChronoPotentiometry.current and
# ConstantI.current of pypalmsens 2.2); other drivers read the overload warning of an EmStat4 at
# 2.46 times.
CURRENT_RANGE_REACH = 1.5


def _decades(smallest_a: float, largest_a: float) -> tuple[float, ...]:
    ranges = [smallest_a]
    while ranges[-1] < largest_a * 0.99:
        # Through text, so that 1 mA is exactly 1e-3 and not ten times something.
        ranges.append(float(f"{ranges[-1] * 10:.6g}"))
    return tuple(ranges)


_WITHOUT_GALVANOSTAT = frozenset(
    {
        "open_circuit",
        "potentiostatic_step",
        "linear_sweep",
        "cyclic_voltammetry",
        "impedance_spectrum",
    }
)
_ALL = _WITHOUT_GALVANOSTAT | {"galvanostatic_step"}
# Below, a converter's step would last for minutes; above, a script cannot check every point.
_SLOWEST_V_S, _FASTEST_V_S = 1e-6, 10.0

_EMSTAT4_HR = Capabilities(
    "EmStat4 HR",
    True,
    -6.0,
    6.0,
    0.2,
    _decades(1e-7, 1e-1),
    2e5,
    0.9,
    True,
    _ALL,
    _SLOWEST_V_S,
    _FASTEST_V_S,
    CURRENT_RANGE_REACH,
)
_EMSTAT4_LR = Capabilities(
    "EmStat4 LR",
    True,
    -3.0,
    3.0,
    0.03,
    _decades(1e-9, 1e-2),
    2e5,
    0.9,
    True,
    _ALL,
    _SLOWEST_V_S,
    _FASTEST_V_S,
    CURRENT_RANGE_REACH,
)
_NEXUS = Capabilities(
    "Nexus",
    True,
    -10.0,
    10.0,
    1.0,
    _decades(1e-10, 1.0),
    1e6,
    0.3,
    True,
    _ALL,
    _SLOWEST_V_S,
    _FASTEST_V_S,
    CURRENT_RANGE_REACH,
)
_PICO = Capabilities(
    "EmStat Pico",
    False,
    -1.7,
    2.0,
    3e-3,
    (1e-7, 2e-6, 4e-6, 8e-6, 16e-6, 32e-6, 63e-6, 125e-6, 250e-6, 5e-4, 1e-3, 5e-3),
    2e5,
    0.429,
    True,
    _WITHOUT_GALVANOSTAT,
    _SLOWEST_V_S,
    _FASTEST_V_S,
)

_MODELS = {
    "es4_hr": _EMSTAT4_HR,
    "mes4hr": _EMSTAT4_HR,
    "es4_lr": _EMSTAT4_LR,
    "mes4lr": _EMSTAT4_LR,
    "nexus1": _NEXUS,
    "espico": _PICO,
    "senswb": _PICO,
}


def models() -> tuple[Capabilities, ...]:
    """Return what each model that is known can do."""
    return tuple(dict.fromkeys(_MODELS.values()))


def capabilities_of(device_id: str) -> Capabilities:
    """Return what the instrument with this six-letter name can do.

    Raises ProtocolError if it is none that we know.
    """
    try:
        return _MODELS[device_id]
    except KeyError:
        raise ProtocolError(
            f"an instrument that calls itself {device_id!r} is not known here; known are "
            f"{', '.join(_MODELS)}"
        ) from None
