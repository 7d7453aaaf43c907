"""Keithley 2450, 2460 and 2461 SourceMeters as potentiostats (Tektronix), by TSP programs."""

from instruments.potentiostat.keithley.driver import KeithleyPotentiostat
from instruments.potentiostat.keithley.program import Program, compile_program

__all__ = ["KeithleyPotentiostat", "Program", "compile_program"]
