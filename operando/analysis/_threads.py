"""Linear algebra of small matrices on one thread."""

from functools import cache
from typing import Any


def one_thread() -> Any:
    """Return a context within which linear algebra runs on the calling thread alone.

    On a computer that also records, threads for matrices of a hundred rows cost more than they
    give: each is waited for, and 3 ms become 300.
    """
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> Any:
    # What it limits must be loaded: numpy's library is, scipy has its own.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
