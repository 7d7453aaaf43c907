"""How an injection is called where an instrument keeps a name of ours with its result."""

import re

_LABEL = re.compile(r"\b(?P<uid>[0-9a-f]{8}-[0-9a-f-]{27})\s+injection\s+(?P<number>\d+)\b")


def injection_label(uid: str, number: int) -> str:
    """Return the name of an injection: the run's uid and the injection's number in it."""
    return f"{uid} injection {number}"


def labelled_injection(text: str) -> tuple[str, int] | None:
    """Return run and injection that a name tells; None if it tells none."""
    found = _LABEL.search(text)
    return None if found is None else (found["uid"], int(found["number"]))
