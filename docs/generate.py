"""Write the reference pages that follow from the code: ``make docs``. A test compares them.

The pages are made from the models' schemas and from the command line's parser, so that nothing is
told twice.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from instruments.bench_file import BenchFile, entries
from instruments.calibration import CalibratedValue, Calibration, CalibrationPolicy
from instruments.camera.entry import LampEntry
from instruments.entry import CalibratedEntry
from instruments.gas_chromatograph.entry import CalibrationLevel, PeakWindows
from instruments.listing import listed, models_alike, span_text
from instruments.potentiostat.entry import PotentiostatCalibration
from instruments.stage.entry import AxisEntry
from operando.cli import command_line
from operando.cli._instruments import keeping
from operando.registry import reference_markdown
from sim_devices.wire_faults import SERIAL_FAULTS, WIRE_FAULTS, list_faults
from techniques import (
    Block,
    Campaign,
    CampaignProtocol,
    CampaignSample,
    Cell,
    Condition,
    CorrosionRest,
    CurrentInterrupt,
    CyclicVoltammetry,
    DropCriteria,
    DummyCellRanges,
    Electrode,
    Electrolyte,
    FailureCriteria,
    FailurePolicy,
    Formation,
    FreshSpots,
    FullCellCycling,
    GalvanostaticStep,
    GasCheck,
    HalfCellCycling,
    ImpedanceSeries,
    ImpedanceSpectrum,
    Inject,
    Limit,
    LinearSweep,
    NucleationSeries,
    OpenCell,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Protocol,
    Pulses,
    RateCapability,
    Recording,
    ReferenceCheck,
    Repeat,
    ReservoirEfficiency,
    Retry,
    Rule,
    SafetyLimits,
    Schedule,
    Sequence,
    SymmetricCycling,
    Tafel,
    TakeImages,
    TakeRamanSpectra,
    TakeSpectrum,
    Technique,
    Temperatures,
    Transference,
    Voltammetry,
    WettingRest,
    default_rules,
)

REFERENCE = Path(__file__).parent / "reference"
MADE = "<!-- Made by `make docs` from the code; do not edit. -->\n"

# The only union of so many members; a schema does not keep its name.
TECHNIQUES = len(get_args(get_args(Technique)[0]))

FILES: Mapping[str, tuple[str, tuple[type[BaseModel], ...]]] = {
    "Protocol files": (
        "`config/protocols/NAME.yaml`, or any file: what `operando run FILE` runs.",
        (
            Protocol,
            Schedule,
            FreshSpots,
            FailureCriteria,
            DropCriteria,
            FailurePolicy,
            Retry,
            Temperatures,
            GasCheck,
        ),
    ),
    "Techniques": (
        "What stands under `technique` of a protocol. `type` says which; techniques that contain "
        "techniques can be nested. Currents and potentials are told from the metal electrode's "
        "side: plating deposits metal on it, whichever cable it hangs on.",
        (
            OpenCircuit,
            GalvanostaticStep,
            PlateStripCycle,
            PotentiostaticStep,
            LinearSweep,
            CyclicVoltammetry,
            ImpedanceSpectrum,
            Sequence,
            Repeat,
            Block,
        ),
    ),
    "Experiments": (
        "Also under `technique`: whole experiments, told as a paper tells them. The cell decides "
        "what runs: its area, its foils, its cathode. One that makes no sense on a cell is "
        "refused before anything moves. The record has both, what was written and what ran.",
        (
            WettingRest,
            Formation,
            SymmetricCycling,
            HalfCellCycling,
            ReservoirEfficiency,
            NucleationSeries,
            RateCapability,
            ImpedanceSeries,
            Tafel,
            Voltammetry,
            Transference,
            Pulses,
            FullCellCycling,
            CorrosionRest,
            CurrentInterrupt,
            DummyCellRanges,
        ),
    ),
    "Rules": (
        "Under `rules` of a protocol: what is done when the live stream shows an event.",
        (Rule, Condition, TakeSpectrum, TakeImages, TakeRamanSpectra, Inject, OpenCell),
    ),
    "Parts of techniques": ("", (Limit, Recording, SafetyLimits)),
    "Campaign files": (
        "`config/protocols/NAME.yaml` with the key `campaign`, or any file: what `operando queue "
        "campaign FILE` adds to the queues of stations.",
        (Campaign, CampaignSample, CampaignProtocol),
    ),
    "Cell files": (
        "`config/cells/NAME.yaml`: the log book's entry of one cell.",
        (Cell, ReferenceCheck, Electrode, Electrolyte),
    ),
    "Bench files": (
        "`config/NAME.yaml`: the instruments of one bench. `sim.yaml` and `bench.yaml` differ in "
        "addresses and calibrations only.",
        (
            BenchFile,
            *entries(),
            CalibrationPolicy,
            Calibration,
            CalibratedValue,
            PotentiostatCalibration,
            LampEntry,
            CalibrationLevel,
            PeakWindows,
            AxisEntry,
        ),
    ),
}


def protocol_files() -> str:
    """Return the page on every file a user writes."""
    parts = [
        "# Protocol, cell and bench files\n",
        MADE,
        "All are YAML. A key that is not listed here is an error, told with its line and with what "
        "is allowed. Units are in the names of the keys; signs are IUPAC: positive current "
        "oxidises the working electrode, E is E_WE - E_CE.\n",
    ]
    for title, (text, models) in FILES.items():
        parts += [f"## {title}\n", *([f"{text}\n"] if text else [])]
        for model in models:
            parts += list(_model(model))
        if title == "Rules":
            parts += list(_default_rules())
        if title == "Bench files":
            parts += list(_calibrated())
    return "\n".join(parts)


def _model(model: type[BaseModel]) -> Iterator[str]:
    schema = _schema(model)
    kind = _tag(schema["properties"])
    tag = f" (`{kind['const']}`)" if kind is not None and "const" in kind else ""
    yield f"### {model.__name__}{tag}\n"
    yield f"{_plain(model.__doc__ or '')}\n"
    required = schema.get("required", [])
    yield "| key | takes | default | |"
    yield "|---|---|---|---|"

    # What a model inherits comes first in its schema; which model it is belongs there.
    def place(item: tuple[str, Any]) -> tuple[bool, bool]:
        return item[1] is not kind, item[0] == "on_failure"

    for name, told in sorted(schema["properties"].items(), key=place):
        if name in required:
            default = "**needed**"
        elif "const" in told:
            default = "needed, unless its place tells it"
        else:
            default = _default(told.get("default"))
        yield f"| `{name}` | {_takes(told)} | {default} | {_cell(told.get('description', ''))} |"
    yield ""


# What decides in techniques that are written out in steps, of the two default rules.
_IN_STEPS: Mapping[type[BaseModel], tuple[str, str]] = {
    GalvanostaticStep: ("with a role, repeated", "role: strip"),
    PotentiostaticStep: ("", "role: strip"),
    PlateStripCycle: ("of 3 cycles or more, or repeated", "yes"),
    Pulses: ("yes", "role: strip"),
    **dict.fromkeys((Sequence, Repeat, Block, Formation), ("as what is in it", "as what is in it")),
}


def _calibrated() -> Iterator[str]:
    """Yield what can be calibrated on each kind of instrument."""
    yield "### What can be calibrated\n"
    yield (
        "Under `values` of `calibrations` of an instrument. Quantities in bold are expected: an "
        "instrument without them, or with a value that has no date, is one whose calibration is "
        "missing.\n"
    )
    yield "| kind | `of` | `unit` | `at` | |"
    yield "|---|---|---|---|---|"
    seen = set()
    for entry in entries():
        if not issubclass(entry, CalibratedEntry):
            continue
        kind = str(entry.model_fields["kind"].annotation.__args__[0])  # type: ignore[union-attr]
        for of, quantity in entry.quantities().items():
            if (kind, of) in seen:
                continue
            seen.add((kind, of))
            name = f"**`{of}`**" if quantity.expected else f"`{of}`"
            at = quantity.at_means or "-"
            yield f"| {kind} | {name} | `{quantity.unit}` | {at} | {quantity.meaning} |"
    yield ""


def _default_rules() -> Iterator[str]:
    """Yield which technique carries which rule by default."""
    short, overrun = default_rules.HARD_SHORT_ENDS, default_rules.OVERRUN_ENDS
    yield "### Default rules\n"
    yield (
        "A protocol that says nothing of `rules` has those of its technique, each with the action "
        f"`open_cell`: `{short.name}` (`{short.when.event}`) and `{overrun.name}` "
        f"(`{overrun.when.event}`). They stand in the start document like any other. Rules of a "
        "protocol's own take their place, and `rules: []` leaves them out. A hard short can be "
        "told from the fifth half-cycle of one current on, or the fourth of each of two; of what "
        "is written out in steps these are counted, experiments have the rule in any case. An "
        "overrun is more charge stripped in all than the electrode held at first and was plated, "
        "5 % of the most there ever was and twice what the uncertainty of the current adds up "
        "to; full cells are "
        "exempt, and where the thickness of a foil is not declared it cannot be told. Resumed runs "
        "count what was plated and stripped before. Sweeps and voltammograms have neither rule: "
        "limits of their own on current and charge end them, on the instrument. Beside its rules a "
        "run has guards by its cell file, which no protocol leaves out (`guards` in the start "
        "document): `headspace_pressure`, `temperature_outside`, `reference_noise`, `overload`. "
        "`end_of_life` adds rules to either.\n"
    )
    yield f"| technique | `{short.when.event}` | `{overrun.when.event}` |"
    yield "|---|---|---|"
    for model in (*FILES["Techniques"][1], *FILES["Experiments"][1]):
        told = _IN_STEPS.get(model) or (
            "yes" if issubclass(model, default_rules.CYCLING) else "",
            "yes" if issubclass(model, default_rules.STRIPPING) else "",
        )
        if any(told):
            kind = _tag(_schema(model)["properties"]) or {}
            yield f"| `{kind['const']}` | {told[0] or '-'} | {told[1] or '-'} |"
    yield ""


def _tag(properties: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the property that says of which kind an entry is."""
    found = (properties.get(key) for key in ("type", "kind", "do"))
    return next((told for told in found if told is not None), None)


def _schema(model: type[BaseModel]) -> Mapping[str, Any]:
    schema = model.model_json_schema()
    # A model that contains itself is told as a reference to its own definition.
    return schema if "properties" in schema else schema["$defs"][model.__name__]


def _plain(docstring: str) -> str:
    paragraphs = docstring.split("\n\n")
    return (
        "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        .replace("``", "`")
        .replace("`None`", "`null`")
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if value in ({}, [], ()):
        return "none given"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "its own defaults"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _takes(told: Mapping[str, Any]) -> str:
    """Return what a value may be, in words."""
    if "const" in told:
        return f"`{told['const']}`"
    if "enum" in told:
        return ", ".join(f"`{value}`" for value in told["enum"])
    if "$ref" in told:
        return _link(told["$ref"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in told:
            if len(told[several]) == TECHNIQUES:
                return "[technique](#techniques)"
            kinds = [_takes(one) for one in told[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    match told.get("type"):
        case "array":
            if "prefixItems" in told:
                return "[" + ", ".join(_takes(one) for one in told["prefixItems"]) + "]"
            return f"list of {_takes(told['items'])}"
        case "object":
            values = told.get("additionalProperties", True)
            return f"name: {_takes(values)}, ..." if isinstance(values, dict) else "mapping"
        case "string" if told.get("format") == "date-time":
            return "date and time, `2026-11-20T14:05:00+01:00`"
        case "string" if told.get("format") == "date":
            return "date, `2026-11-20`"
        case "string":
            return "text"
        case "boolean":
            return "`true`, `false`"
        case kind:
            name = "integer" if kind == "integer" else "number"
            return f"{name} {', '.join(_bounds(told))}".rstrip()


def _bounds(told: Mapping[str, Any]) -> Iterator[str]:
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    for key, sign in signs.items():
        if key in told:
            yield f"{sign} {told[key]:g}"


def _link(reference: str) -> str:
    name = reference.rpartition("/")[2]
    known = {model.__name__: model for _, models in FILES.values() for model in models}
    if name not in known:
        return name
    properties = _schema(known[name])["properties"]
    kind = _tag(properties) or {}
    anchor = f"{name}-{kind['const']}" if "const" in kind else name
    return f"[{name}](#{anchor.lower()})"


def commands() -> str:
    """Return the page on the command line."""
    parser = command_line()
    parts = [
        "# The command line\n",
        MADE,
        f"{parser.description}\n",
        "Exit status: 0 done; 1 a run began and failed (its data are kept), a comparison did not "
        "hold, or what was shown or exported is of a damaged record; 2 refused or impossible, with "
        "one message on standard error; 128 + N stopped by signal N (130: Ctrl-C), after "
        "everything was made safe. With `OPERANDO_DEBUG=1` errors show where they were raised.\n",
    ]
    for name, command in _subcommands(parser):
        arguments = [each for each in _actions(command) if each.dest != "help"]
        words = " ".join(_word(each) for each in arguments if not each.option_strings)
        options = " [options]" if any(each.option_strings for each in arguments) else ""
        parts += [f"## operando {name}\n", f"    operando {name} {words}".rstrip() + f"{options}\n"]
        parts.append(f"{command.description}\n".replace("....", "..."))
        if arguments:
            parts += ["| | |", "|---|---|"]
            parts += [f"| `{_option(each)}` | {_help(each)} |" for each in arguments]
            parts.append("")
    return "\n".join(parts)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001  argparse tells its arguments nowhere else


def _subcommands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in _actions(parser):
        if isinstance(action.choices, dict):
            for name, command in action.choices.items():
                yield name, command
                yield from ((f"{name} {verb}", one) for verb, one in _subcommands(command))


def _word(action: argparse.Action) -> str:
    word = str(action.metavar or "|".join(action.choices or (action.dest,)))
    return f"[{word}]" if action.nargs == "?" else word


def _option(action: argparse.Action) -> str:
    if not action.option_strings:
        return _cell(_word(action))
    name = action.option_strings[0]
    if action.nargs == 0:
        return name
    unnamed = "PATH" if action.type is Path else "N"
    word = _cell(str(action.metavar or "|".join(action.choices or (unnamed,))))
    return f"{name} [{word}]" if action.nargs == "?" else f"{name} {word}"


def _help(action: argparse.Action) -> str:
    text = action.help or ""
    # What the environment of whoever makes the page says is no default.
    default = action.default if isinstance(action.default, int | float | str) else ""
    text = text.replace("%(default)s", str(default))
    return text.replace("%(default)g", f"{default:g}" if isinstance(default, float) else "")


def instruments() -> str:
    """Return the page on what every instrument can do."""
    parts = [
        "# What every instrument can do\n",
        MADE,
        "As the drivers declare it. `operando instruments` tells the same, with `--json` for "
        "programs, and with `--bench NAME` for a bench file and its own limits; it also knows the "
        "instruments of other packages "
        "([add an instrument](../how-to/add-an-instrument.md)).\n",
        "*Verified on* says on which hardware a driver was confirmed: none is, so far. Where "
        "limits are SOFTWARE ONLY nobody keeps them when the computer is gone. Columns are those "
        "of the instrument's stream, after its name and `_`.\n",
    ]
    told = [listed(entry) for entry in entries()]
    for kind in dict.fromkeys(one["kind"] for one in told):
        parts.append(f"## {kind}\n")
        for one in (one for one in told if one["kind"] == kind):
            parts += list(_instrument(one))
    return "\n".join(parts)


def _instrument(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {told['language']}\n"
    extra = f"`{told['extra']}`" if told["extra"] else "none"
    needs = f" Of the operating system: `{told['library']}`." if told["library"] else ""
    verified = told["verified_on"] or "none"
    yield f"{told['about']} Verified on: {verified}. Extra: {extra}.{needs}\n"
    if told["columns"]:
        named = (f"`{key}` {unit}".rstrip() for key, unit in told["columns"].items())
        yield f"Columns: {', '.join(named)}.\n"
    yield "| model | does | limits |"
    yield "|---|---|---|"
    for models, able in models_alike(told["models"]):
        limits = (f"{quantity}: {span_text(span)}" for quantity, span in able["limits"].items())
        yield f"| {models or 'all'} | {', '.join(able['does'])} | {'<br>'.join(limits)} |"
    yield ""
    for kept in keeping(told["models"]):
        yield f"Limits: {kept}.\n"


def faults() -> str:
    """Return the page on what can be broken at simulated instruments."""
    parts = [
        "# What can be broken at a simulated instrument\n",
        MADE,
        "Faults of the wire, and of what is at its end. A line of JSON in the file `faults` of the "
        "publish folder, at any time, breaks something; so does `--fault` of "
        "`python -m sim_devices`, where numbers are all that options can be:\n",
        '```text\n{"instrument": "thermostat", "fault": "stall", "seconds": 2}\n'
        '{"instrument": "potentiostat", "fault": "garble", "count": 3, "at": 3600}\n'
        "--fault potentiostat:garble@3600:count=3\n```\n",
        "`at` and `@` are cell seconds, all other seconds are the host's. Numbers in parentheses "
        "are what holds where nothing is told. What came of it stands in `sim_truth/bench.jsonl` "
        "(`fault`, with its `outcome`). `python -m sim_devices --list-faults` prints this page as "
        "JSON; what begins with *cannot happen* is refused. An instrument comes back from "
        "`disconnect` at the address that is published then: a socket at the same port, a terminal "
        "perhaps under another name. What can be broken at the cell is told with the "
        "[simulated cells](simulated-cells.md#what-can-be-broken).\n",
        "## Every wire\n",
        "Those on a serial line, or a socket that stands for one, have all of these but the four "
        "that only a language can break (`refuse`, `wrong-checksum`, `clock-jump`, "
        "`out-of-range`), and the last four beside them.\n",
        *_faults_table({**WIRE_FAULTS, **SERIAL_FAULTS}),
    ]
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for instrument, told in list_faults().items():
        alike.setdefault(tuple(told.items()), []).append(instrument)
    for told, instruments in alike.items():
        special = {
            fault: what
            for fault, what in told
            if {**WIRE_FAULTS, **SERIAL_FAULTS}.get(fault) != what
        }
        usual = [f"`{fault}`" for fault, _ in told if fault not in special]
        parts.append(f"## {', '.join(instruments)}\n")
        if usual:
            parts.append(f"As above: {', '.join(usual)}.\n")
        parts += _faults_table(special)
    return "\n".join(parts)


def _faults_table(told: Mapping[str, str]) -> Iterator[str]:
    yield "| fault | what it does |"
    yield "|---|---|"
    for fault, what in told.items():
        yield f"| `{fault}` | {_cell(what)} |"
    yield ""


PAGES: Mapping[str, Callable[[], str]] = {
    "faults.md": faults,
    "protocol-files.md": protocol_files,
    "command-line.md": commands,
    "instruments.md": instruments,
    "metrics.md": reference_markdown,
}


def main() -> int:
    """Write every page; return 0. It takes no arguments, and refuses them before it writes."""
    argparse.ArgumentParser(prog="docs/generate.py", description=main.__doc__).parse_args()
    for name, page in PAGES.items():
        path = REFERENCE / name
        path.write_text(page(), encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
