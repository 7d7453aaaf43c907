"""Sampling valves: two positions, between which the loop of a gas chromatograph is switched."""

from instruments.sampling_valve.contract import Position, SamplingValve

__all__ = ["Position", "SamplingValve"]
