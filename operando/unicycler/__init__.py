"""Protocols of the library aurora-unicycler, and through it of EC-Lab, Neware, PyBaMM and tomato.

Which electrode is which: there positive current charges the cell, and a voltage is that of its
positive terminal; here positive current oxidises the working electrode, and a technique is told
from the metal electrode's side. `operando.terminals.orientation` says which electrode is the
positive terminal, the same as in exported data: of a half cell (a bare metal electrode against the
metal) and of a symmetric cell it is the metal electrode, so that plating discharges the cell; of a
full cell it is the cathode, so that plating charges it; with a reference electrode it is the
working electrode, against the reference. Current and potential change their sign together.

What has no counterpart is an `ExchangeError` that names the step, or, where the cell is run all the
same, is told in words: nothing is left out silently.
"""

from operando.unicycler._exchange import Exchanged, ExchangeError
from operando.unicycler._export import exported, to_unicycler
from operando.unicycler._formats import FORMATS, Format, written
from operando.unicycler._import import from_unicycler, imported

__all__ = [
    "FORMATS",
    "ExchangeError",
    "Exchanged",
    "Format",
    "exported",
    "from_unicycler",
    "imported",
    "to_unicycler",
    "written",
]
