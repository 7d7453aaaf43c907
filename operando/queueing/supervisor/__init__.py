"""The supervisor: one process per computer that keeps stations running for weeks.

It opens the workers, starts items, notices deaths and decides what becomes of what they left.
"""

from ._supervisor import Supervisor

__all__ = ["Supervisor"]
