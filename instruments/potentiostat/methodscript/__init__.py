"""Potentiostats that run MethodSCRIPT: EmStat4, Nexus, EmStat Pico (PalmSens)."""

from instruments.potentiostat.methodscript.driver import MethodScriptPotentiostat
from instruments.potentiostat.methodscript.program import Program, compile_program

__all__ = ["MethodScriptPotentiostat", "Program", "compile_program"]
