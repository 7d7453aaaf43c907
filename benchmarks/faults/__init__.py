"""Trials of what must not lose a row: ``make faults``, that is ``python -m benchmarks.faults``.

A trial breaks something for good, with real processes and files, and returns `Outcome`s: what was
broken, what is expected, what was observed, how many rows are lost (in the record of those who had
them, and not in the journal), and whether all of it is as expected. To add one, write a function
that takes a folder of its own and an `Effort` and returns outcomes, and name it in `TRIALS` of
``benchmarks/faults/__main__.py``. Nothing here is a timed test; a sample of the trials is in
``tests/faults``.
"""
