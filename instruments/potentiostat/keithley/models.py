"""Which SourceMeter is which, and what it can do as a potentiostat."""

import re
from dataclasses import replace

from instruments.errors import ProtocolError
from instruments.potentiostat.contract import Capabilities

# No impedance: there is no frequency response analyser in them.
TECHNIQUES = frozenset(
    {
        "open_circuit",
        "galvanostatic_step",
        "potentiostatic_step",
        "linear_sweep",
        "cyclic_voltammetry",
    }
)
# They reach 100 V and more; no cell does.
_HIGHEST_V = 20.0
# Below, a step would last for minutes; above, a program cannot check every point.
_SLOWEST_V_S, _FASTEST_V_S = 1e-6, 1.0

_2450 = Capabilities(
    model="Keithley 2450",
    galvanostatic=True,
    potential_min_v=-_HIGHEST_V,
    potential_max_v=_HIGHEST_V,
    current_max_a=1.05,
    current_ranges_a=(1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    frequency_max_hz=0.0,
    amplitude_max_v=0.0,
    keeps_log=False,
    techniques=TECHNIQUES,
    scan_rate_min_v_s=_SLOWEST_V_S,
    scan_rate_max_v_s=_FASTEST_V_S,
)
# Of the ranges only those that these share with the 2450 are used up to 1 A; a range that an
# instrument does not have is noticed when it is read back.
_2460 = replace(
    _2450,
    model="Keithley 2460",
    current_max_a=7.35,
    current_ranges_a=(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 4.0, 5.0, 7.0),
)
_MODELS = {"2450": _2450, "2460": _2460, "2461": replace(_2460, model="Keithley 2461")}

# "KEITHLEY INSTRUMENTS INC.,MODEL 2450,01234567,1.0.0i"; newer firmware leaves out INC. and the EC
# bundles add -EC to the model.
_IDENTITY = re.compile(
    r"KEITHLEY[^,]*, *MODEL (?P<model>\d{4})[^,]*, *(?P<serial>[^,]*), *(?P<firmware>[^,]*)", re.I
)
# What these programs need came with it (the maker's own programs ask for the same).
OLDEST_FIRMWARE = (1, 5)


def models() -> tuple[Capabilities, ...]:
    """Return what each model that is known can do."""
    return tuple(_MODELS.values())


def identified(answer: str) -> tuple[Capabilities, str, str]:
    """Return (capabilities, serial number, firmware) of who answers ``*IDN?`` so.

    Raises ProtocolError if it is none that we know, or its firmware is too old.
    """
    found = _IDENTITY.match(answer.strip())
    if found is None or found["model"] not in _MODELS:
        raise ProtocolError(
            f"asked who it is (*IDN?), got {answer!r}: this is no SourceMeter "
            f"{', '.join(_MODELS)}: is this the right address?"
        )
    firmware = found["firmware"].strip()
    version = re.match(r"(\d+)\.(\d+)", firmware)
    if version is not None and (int(version[1]), int(version[2])) < OLDEST_FIRMWARE:
        wanted = ".".join(str(number) for number in OLDEST_FIRMWARE)
        raise ProtocolError(
            f"its firmware is {firmware!r}, the programs need {wanted} or newer: update it"
        )
    return _MODELS[found["model"]], found["serial"].strip(), firmware
