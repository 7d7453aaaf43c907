"""Instruments: per kind a contract, the drivers that speak wire languages, and an ophyd device."""
