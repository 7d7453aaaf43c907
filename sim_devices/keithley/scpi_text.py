"""What SCPI commands and answers consist of: headers, parameters, readings and events as text."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sim_devices.keithley.buffers import Buffer, Reading
from sim_devices.keithley.events import ILLEGAL_VALUE, Event, RefusedError
from sim_devices.keithley.smu import Quantity

UNDEFINED = (-113, "Undefined header")
MISSING = (-109, "Missing parameter")
TYPE = (-104, "Data type error")
BAD_ELEMENT = (1133, "Parameter error: unknown buffer element")
NOT_NOW = (-221, "Settings conflict")

# Long forms that are not the short form and a rest that anybody would guess.
_WORDS = """
SOURce SENSe MEASure READ FETCh OUTPut CURRent VOLTage RESistance FUNCtion RANGe AUTO LEVel
IMMediate AMPLitude VLIMit ILIMit TRIPped DELay USER BACK HIGH CAPacitance SWEep LINear LIST LOG
NPLCycles RSENse AZERo ONCE COUNt AVERage TCONtrol STATe SMODe TRACe MAKE POINts ACTual DATA CLEar
TRIGger DELete FILL MODE STARt END STATistics MAXimum MINimum STDDev SYSTem ERRor EVENt NEXT
LFREquency TIME VERSion BEEPer INITiate ABORt LOAD DIGital LINE STATus PRESet MEASurement ENABle
ROUTe TERMinals FORMat DISPlay PROTection LOWer UPPer OPERation QUEStionable FEED CONTrol SPAN
ULIMit LLIMit LCOunt
"""
_SHORT: dict[str, str] = {}
for _word in _WORDS.split():
    _short = re.sub(r"[^A-Z]", "", _word)
    _SHORT[_word.upper()] = _SHORT[_short] = _short
# Nodes that may be left out.
DEFAULT_NODES = frozenset({"LEV", "IMM", "AMPL", "DC", "STAT"})
QUANTITIES: dict[str, Quantity] = {"CURR": "current", "VOLT": "voltage"}
FUNCTIONS = {"CURR": "current", "VOLT": "voltage", "RES": "resistance"}
FUNCTION_NAMES = {"current": '"CURR:DC"', "voltage": '"VOLT:DC"', "resistance": '"RES"'}


def commands_of(line: str) -> Iterator[str]:
    """Yield the commands of a line with whole headers."""
    path = ""
    for text in _parted(line, ";"):
        text = text.strip()
        if not text:
            continue
        if text.startswith("*"):
            yield text
            continue
        if not text.startswith(":") and path:
            text = f"{path}:{text}"
        header = text.split(None, 1)[0]
        path = header.rpartition(":")[0]
        yield text


def _parted(text: str, at: str) -> list[str]:
    """Split at a character that is in no quotes."""
    parts, quote = [""], ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == at:
            parts.append("")
            continue
        parts[-1] += character
    return parts


def header_and_parameters(text: str) -> tuple[str, list[str]]:
    """Return a command's header, and its parameters."""
    header, _, rest = text.partition(" ")
    rest = rest.strip()
    return header, [part.strip() for part in _parted(rest, ",")] if rest else []


def nodes_of(header: str) -> Iterator[str]:
    """Yield the nodes of a header in their short forms; raises RefusedError for an unknown one."""
    for node in header.strip(":").upper().split(":"):
        word, number = re.fullmatch(r"(.*?)(\d*)", node).groups()  # type: ignore[union-attr]
        short = _SHORT.get(word)
        if short is None:
            raise RefusedError(*UNDEFINED)
        # SOURce1 is the source; of USER2 the number counts.
        yield short + number if short in ("USER", "DIG", "LINE") else short


def first_of(parameters: Sequence[str]) -> str:
    """Return the first parameter; raises RefusedError if there is none."""
    if not parameters or not parameters[0]:
        raise RefusedError(*MISSING)
    return parameters[0]


def number_in(text: str) -> float:
    """Return a parameter as a number; raises ValueError if it is none."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def switch_in(text: str) -> bool:
    """Return whether a parameter says on; raises RefusedError if it says neither."""
    word = text.upper()
    if word in ("ON", "1"):
        return True
    if word in ("OFF", "0"):
        return False
    raise RefusedError(*ILLEGAL_VALUE)


def unquoted(text: str) -> str:
    """Return a name without its quotes."""
    return text.strip().strip("'\"")


def function_in(text: str) -> str:
    """Return the function that a parameter names; raises RefusedError for another word."""
    name = unquoted(text).upper().partition(":")[0]
    found = FUNCTIONS.get(_SHORT.get(name, name))
    if found is None:
        raise RefusedError(*ILLEGAL_VALUE)
    return found


def quantity_in(text: str) -> Quantity:
    """Return what can be sourced that a parameter names; raises RefusedError for another word."""
    name = unquoted(text).upper().partition(":")[0]
    found = QUANTITIES.get(_SHORT.get(name, name))
    if found is None:
        raise RefusedError(*ILLEGAL_VALUE)
    return found


def number_told(value: float) -> str:
    """Return a number as it is answered."""
    return f"{value:.6E}"


_ELEMENTS: dict[str, Callable[[Buffer, Reading], str]] = {
    "READ": lambda buffer, x: number_told(x.value),
    "SOUR": lambda buffer, x: number_told(x.source),
    "REL": lambda buffer, x: f"{buffer.relative_s(x):.6f}",
    "SEC": lambda buffer, x: str(int(x.utc_s)),
    "FRAC": lambda buffer, x: f"{x.utc_s - int(x.utc_s):.9f}",
    "TIME": lambda buffer, x: _moment(x).strftime("%H:%M:%S.%f"),
    "DATE": lambda buffer, x: _moment(x).strftime("%m/%d/%Y"),
    "TST": lambda buffer, x: _moment(x).strftime("%m/%d/%Y %H:%M:%S.%f") + "000",
    "UNIT": lambda buffer, x: x.unit,
    "SOURUNIT": lambda buffer, x: x.source_unit,
    "FORM": lambda buffer, x: f"{x.value:+.6e} {x.unit[0]}",
    "SOURFORM": lambda buffer, x: f"{x.source:+.6e} {x.source_unit[0]}",
    "STAT": lambda buffer, x: str(x.status),
    "SOURSTAT": lambda buffer, x: str(x.source_status),
}
_LONG_ELEMENTS = {
    "READING": "READ",
    "SOURCE": "SOUR",
    "RELATIVE": "REL",
    "SECONDS": "SEC",
    "FRACTIONAL": "FRAC",
    "TSTAMP": "TST",
    "FORMATTED": "FORM",
    "SOURFORMATTED": "SOURFORM",
    "STATUS": "STAT",
    "SOURSTATUS": "SOURSTAT",
}
_MOST_ELEMENTS = 14


def _moment(reading: Reading) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(reading.utc_s, datetime.UTC)


def elements_in(words: Sequence[str]) -> list[str]:
    """Return the elements of a reading that are asked for; raises RefusedError for another word."""
    found = [_LONG_ELEMENTS.get(word.upper(), word.upper()) for word in words] or ["READ"]
    if len(found) > _MOST_ELEMENTS or any(name not in _ELEMENTS for name in found):
        raise RefusedError(*BAD_ELEMENT)
    return found


def reading_told(buffer: Buffer, reading: Reading, elements: Sequence[str]) -> str:
    """Return these elements of a reading as they are answered."""
    return ",".join(_ELEMENTS[name](buffer, reading) for name in elements)


def event_told(event: Event | None) -> str:
    """Return an event as it is answered; ``None``: there is none."""
    if event is None:
        return '0,"No error;0;0 0"'
    moment: Any = datetime.datetime.fromtimestamp(event.utc_s, datetime.UTC)
    stamp = moment.strftime("%Y/%m/%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    return f'{event.number},"{event.text};{event.severity};{stamp}"'
