"""Speed, cost and faults, measured: ``python -m benchmarks``, ``python -m benchmarks.faults``.

Nothing here is a test.
"""
