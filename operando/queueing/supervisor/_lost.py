"""What an entry of Redis that nobody can read any more was, and what people can do."""

from collections.abc import Mapping

from operando.queueing.sanitise import KEYS

_OWN, _QUEUES = "operando:", "operando_qs_"
_AGAIN = (
    "If you asked for it just now and were not answered, ask again; operando queue list tells what "
    "runs."
)
# By the word behind `_OWN`: what it was, and what to do; NAME stands for what is behind that.
_OF_STATIONS: Mapping[str, tuple[str, str]] = {
    "station": (
        "The state of station NAME",
        "It is taken to be as it was last: look at operando station status NAME.",
    ),
    "mount": (
        "Which cell is mounted in station NAME",
        "An item that is under way goes on with its cell. If none is, nothing is begun there until "
        "you mount the cell again: operando mount CELL --station NAME.",
    ),
    "records": (
        "The list of the items of station NAME",
        "It was made anew of their records: look at operando queue history.",
    ),
    "commands": ("What was asked of station NAME (stop, abort, skip-step or amend)", _AGAIN),
    "wishes": ("Which item of station NAME was to end (stop, abort)", _AGAIN),
    "decision": (
        "What was decided of station NAME",
        "It was not done, and the station waits still: operando station decide NAME "
        "resume|skip|fail.",
    ),
    "mounting": ("Which cell was to be mounted in station NAME", "Say operando mount again."),
    "supervisor": (
        "Which computer serves station NAME",
        "The one that does says so again within seconds: look at operando station status NAME.",
    ),
}
_OF_OTHERS: Mapping[str, tuple[str, str]] = {
    "record": (
        "The record of item NAME",
        "If it is under way it is made anew of ticket, journal and mounted cell: what had begun is "
        "followed to its end, what had not is held. Otherwise operando queue history has lost it; "
        "its runs are kept.",
    ),
    "mounted": (
        "In which station cell NAME is mounted",
        "It was looked up with the stations: operando station status. If no station has it, mount "
        "it again.",
    ),
    "finished": (
        "Why cell NAME is finished",
        "Its notes and its runs tell it as well: it is not mounted without --again.",
    ),
    "lease": ("Who has the shared instrument NAME", "It is lent anew."),
}
_OTHER = "Something of ours in Redis", "Look at operando station status and operando queue list."
_SHOWN = 40


def lost(key: str) -> tuple[str, str | None, str]:
    """Return what was lost with a key, of which station (``None``: of none), and what to do."""
    if key.startswith(_QUEUES):
        rest = key.removeprefix(_QUEUES)
        of = next((rest.removesuffix(f"_{x}") for x in KEYS if rest.endswith(f"_{x}")), rest)
        todo = "Look at operando queue list, and add again what is missing."
        return f"An entry of the queue of station {of}", of, todo
    word, _, name = key.removeprefix(_OWN).partition(":")
    what, todo = _OF_STATIONS.get(word) or _OF_OTHERS.get(word) or _OTHER
    name = name[:_SHOWN]
    station = name if word in _OF_STATIONS else None
    return what.replace("NAME", name), station, todo.replace("NAME", name)
