"""How a run left its cell, told in its stop document before anybody keeps that."""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator
from ophyd import Device

from instruments.raman.device import RamanDevice
from plans.ending import WHILE_ENDING

if TYPE_CHECKING:
    from operando.analysis.end_state import EndWatch

logger = logging.getLogger(__name__)

_OPENED = ("complete", "stopped", "safety", "opened")


class EndStates:
    """Adds ``end_state`` to each stop document; must hear documents before who records them.

    Args:
        devices: Those of the bench, by name.
        leader: Name of the one that leads.
        not_safe: Tells which are not known to be safe although their devices confirm it: another
            one answers now, or it was given back to others without confirming it.
    """

    def __init__(
        self,
        devices: Mapping[str, Device],
        leader: str,
        not_safe: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._devices, self._leader, self._not_safe = devices, leader, not_safe
        self._watch: EndWatch | None = None
        self._streams: dict[str, str] = {}
        self._led = False

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take one document; whatever is wrong with it ends no run."""
        try:
            self._take(name, doc)
        except Exception:
            logger.exception("the state of the cell at the end cannot be told")
            self._watch = None

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            from operando.analysis.end_state import EndWatch  # numpy: not needed before a run

            self._streams = {}
            self._led = "instrument_log" in doc
            self._watch = EndWatch(doc) if "sample" in doc else None
        if self._watch is None:
            return
        match name:
            case "descriptor":
                self._streams[doc["uid"]] = doc["name"]
            case "event_page":
                self._watch.add(self._streams[doc["descriptor"]], doc["data"])
            case "event":
                rows = {key: [value] for key, value in doc["data"].items()}
                self._watch.add(self._streams[doc["descriptor"]], rows)
            case "stop":
                _, _, unsafe = doc.get("reason", "").partition(WHILE_ENDING)
                state = self._watch.told(
                    cell_open=self._cell_open(unsafe), laser_off=self._laser_off(unsafe)
                )
                self._watch = None
                if state is not None:
                    doc["end_state"] = state

    def _cell_open(self, unsafe: str) -> bool | None:
        leader = self._devices.get(self._leader)
        if leader is None or not self._led:
            return None
        if f"{self._leader}:" in unsafe or self._leader in self._not_safe():
            return False
        return leader.program_end.ending in _OPENED

    def _laser_off(self, unsafe: str) -> bool | None:
        lasers = [name for name, x in self._devices.items() if isinstance(x, RamanDevice)]
        told = self._not_safe()
        return not any(f"{x}:" in unsafe or x in told for x in lasers) if lasers else None


class ToldBesides:
    """Adds to a stop document what a plan tells of its end beside status and reason.

    That are arguments of its message ``close_run`` that bluesky does not know. Must hear documents
    before who records them.
    """

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}

    def listening(self, plan: MsgGenerator) -> MsgGenerator:
        """Take what is told in the messages of a plan."""

        def take(message: Msg) -> Msg:
            if message.command == "close_run":
                known = ("exit_status", "reason")
                self._told = {k: v for k, v in message.kwargs.items() if k not in known}
            return message

        return (yield from bpp.msg_mutator(plan, take))

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take one document."""
        if name == "start":
            self._told = {}
        elif name == "stop":
            told, self._told = self._told, {}
            doc.update({key: value for key, value in told.items() if key not in doc})
