"""What every instrument can do: read from the drivers, so that nothing is told twice.

Everything here is of plain values, as it goes into JSON. Nothing is opened.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

from instruments.abilities import Span, abilities_of
from instruments.bench_file import BenchFile
from instruments.entry import InstrumentEntry
from instruments.plugins import package_of, tag

# The device of a kind, which decides what columns its stream has; a kind without one has none.
_DEVICES = {
    "camera": "instruments.camera.device:CameraDevice",
    "gas_chromatograph": "instruments.gas_chromatograph.device:GasChromatographDevice",
    "potentiostat": "instruments.potentiostat.device:PotentiostatDevice",
    "raman": "instruments.raman.device:RamanDevice",
    "thermostat": "instruments.thermostat.device:ThermostatDevice",
}


def listed(entry: type[InstrumentEntry]) -> dict[str, Any]:
    """Return what the driver of one wire language declares.

    Keys: ``kind``, ``language``, ``about`` (a sentence), ``package`` (name and version of the one
    that brought it; empty: this one), ``driver`` (its class), ``verified_on`` (hardware on which it
    was confirmed; ``None``: on none), ``extra`` (optional part of this package that it needs, or
    empty), ``library`` (of the operating system that it needs, or empty), ``columns`` (of its
    stream: name -> unit), and ``models``, each with the attributes of ``Abilities``.
    """
    driver = entry.driver_class()
    return {
        "kind": tag(entry, "kind"),
        "language": tag(entry, "language"),
        "about": " ".join((entry.__doc__ or "").split("\n\n")[0].split()),
        "package": package_of(entry),
        "driver": f"{driver.__module__}.{driver.__qualname__}",
        "verified_on": driver.verified_on,
        "extra": getattr(driver, "extra", ""),
        "library": getattr(driver, "library", ""),
        "columns": _columns(tag(entry, "kind"), driver),
        "models": _models(driver),
    }


def listed_of_bench(file: BenchFile) -> Iterator[dict[str, Any]]:
    """Yield the same of each instrument of a bench file, and what the file says of it.

    Keys besides those of ``listed``: ``name``, ``addresses``, and ``bench_limits`` (quantity ->
    low, high, unit), which are narrower.
    """
    for name, entry in file.instruments.items():
        bounds = dict(entry.bounds())
        if entry.kind == "potentiostat":
            bounds |= _of_bench(file)
        yield {
            "name": name,
            **listed(type(entry)),
            "addresses": list(entry.addresses),
            "bench_limits": _plain(bounds),
        }


def models_alike(models: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the names of the models that differ in nothing else, and what they can do."""
    groups: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
    for model in models:
        rest = {key: value for key, value in model.items() if key != "model"}
        groups.setdefault(repr(rest), ([], rest))[0].append(str(model["model"]))
    for names, alike in groups.values():
        yield ", ".join(filter(None, names)), alike


def span_text(limit: Mapping[str, Any]) -> str:
    """Return a limit in words: ``-6 to 6 V``."""
    low, high, unit = limit["low"], limit["high"], limit["unit"]
    if low is None and high is None:
        return f"told when it is connected ({unit})"
    if high is None:
        return f"{low:g} {unit}".rstrip() + " or more"
    return f"{f'up to {high:g}' if low is None else f'{low:g} to {high:g}'} {unit}".rstrip()


def _models(driver: Any) -> list[dict[str, Any]]:
    told = [asdict(one) for one in abilities_of(driver)]
    return [{**one, "does": list(one["does"]), "limits": _plain(one["limits"])} for one in told]


def _plain(limits: Mapping[str, Span]) -> dict[str, dict[str, Any]]:
    return {name: Span(*limit)._asdict() for name, limit in limits.items()}


def _columns(kind: str, driver: Any) -> dict[str, str]:
    told: Any = getattr(driver, "quantities", None)
    if kind in _DEVICES:
        module, _, name = _DEVICES[kind].partition(":")
        told = getattr(import_module(module), name).columns()
    # Where it depends on how it is set up (the axes of a stage) the class tells none.
    return {k: unit or "" for k, unit in told.items()} if isinstance(told, Mapping) else {}


def _of_bench(file: BenchFile) -> dict[str, Span]:
    limits = file.limits
    spans = {
        "potential": Span(limits.potential_min_v, limits.potential_max_v, "V"),
        "cell potential": Span(None, limits.cell_potential_max_v, "V"),
        "current": Span(None, limits.current_max_a, "A"),
        "charge": Span(None, limits.charge_max_mah_cm2, "mAh/cm2"),
        "duration": Span(None, limits.duration_max_s, "s"),
    }
    return {name: x for name, x in spans.items() if x[:2] != (None, None)}
