"""Interlocks: relays in the lead of a cell or in a laser's interlock, held by a watchdog."""

from instruments.interlock.contract import Interlock
from instruments.interlock.dcon import DconInterlock

__all__ = ["DconInterlock", "Interlock"]
