"""Is it the same instrument that answers? USB hands out its ports anew, and cables are swapped."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from instruments.errors import StrangerError

_NOBODY = "one that does not tell who it is"


def mark_of(identity: Mapping[str, str]) -> str:
    """Return what one instrument is told from another by: model and serial number as it tells them.

    Of one that tells no serial number it is the model alone.
    """
    told = (str(identity.get(key, "")).strip() for key in ("model", "serial_number"))
    return " ".join(word for word in told if word) or _NOBODY


def refuse_stranger(known: Collection[str], found: str, left: str) -> None:
    """Raise StrangerError if of those that were at an address others are left than who answers.

    Args:
        known: marks of those whose safety is to be told; empty: whoever answers is taken.
        found: mark of who answers.
        left: what that means for the others, and what a hand does about it.
    """
    others = sorted(set(known) - {found})
    if others:
        raise StrangerError(
            f"NOT known to be safe: another instrument ({found} instead of "
            f"{' and '.join(others)}) answers. Of {others[0]}: {left}"
        )


class Known:
    """Those whose safety is to be told, at each instrument's address.

    Args:
        told: returns their marks by the instrument's name; nothing: whoever answers is taken.
    """

    def __init__(self, told: Callable[[str], Collection[str]] = lambda name: ()) -> None:
        self._told = told
        self._safe: dict[str, set[str]] = defaultdict(set)

    def unsettled(self, name: str) -> frozenset[str]:
        """Return the marks of those that have not been found safe yet."""
        return frozenset(self._told(name)) - self._safe[name]

    def settle(self, name: str, found: str) -> None:
        """Note that this one was found safe."""
        self._safe[name].add(found)
