"""Streams of which no number can be made: a column is missing, or is in another unit."""

from collections.abc import Mapping

from operando.runs import Run, Stream

_LEADER = ("t", "potential", "current", "cycle", "half_cycle", "step", "role")
_SPECTRA = ("t", "spectrum", "half_cycle", "frequency", "z_real", "z_imag")
# Stream -> device and the columns without which nothing can be told of it.
_NEEDED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "potentiostat": ("potentiostat", _LEADER),
    "impedance": ("potentiostat_impedance", _SPECTRA),
    "thermostat": ("thermostat", ("temperature",)),
    "camera": ("camera", ("t_before", "t_after", "lamp", "laser")),
    "raman": ("raman", ("t_before", "t_after", "laser")),
    "gas_chromatograph": ("gas_chromatograph", ("t_before", "t_after", "injection", "missed")),
    "chromatogram": ("gas_chromatograph_result", ("injection", "sample_interval")),
}
_UNITS: Mapping[str, frozenset[str]] = {
    "t": frozenset({"s"}),
    "step_t": frozenset({"s"}),
    "potential": frozenset({"V"}),
    "potential_cell": frozenset({"V"}),
    "current": frozenset({"A"}),
    "frequency": frozenset({"Hz"}),
    "z_real": frozenset({"ohm", "Ohm", "Ω"}),
    "z_imag": frozenset({"ohm", "Ohm", "Ω"}),
}


def refused_streams(run: Run) -> dict[str, str]:
    """Return stream -> why no number is made of it, naming the run, the stream and what is wrong.

    A stream without rows is not refused: there is nothing to be made of it anyhow. A unit that is
    not told is taken for the one this program writes.
    """
    found = {}
    for name, (device, columns) in _NEEDED.items():
        stream = run.streams.get(name)
        wrong = None if stream is None or not len(stream) else _wrong(stream, device, columns)
        if wrong is not None:
            found[name] = f"run {run.uid[:8]}, stream {name}: {wrong}"
    return found


def _wrong(stream: Stream, device: str, columns: tuple[str, ...]) -> str | None:
    missing = [f"{device}_{name}" for name in columns if f"{device}_{name}" not in stream.columns]
    if missing:
        return f"the column {', '.join(missing)} is missing"
    if device not in ("potentiostat", "potentiostat_impedance"):
        return None
    others = [
        f"{device}_{name} is in {told}, not in {min(units)}"
        for name, units in _UNITS.items()
        if (told := stream.units.get(f"{device}_{name}")) and told not in units
    ]
    return "; ".join(others) or None
