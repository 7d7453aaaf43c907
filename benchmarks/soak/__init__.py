"""Weeks of unattended cycling in compressed time: stations, items, faults, and the account of it.

``make soak``, or ``python -m benchmarks.soak --help``.
"""
