"""The guard's own process: wait, and if the owner dies, act.

Nothing here raises to the top while an instrument may be unsafe, and nothing waits for a disk.
"""

import contextlib
import hmac
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError
from instruments.making_safe import NOTHING, resorts
from instruments.potentiostat.contract import STILL_RUNNING
from instruments.potentiostat.entry import PotentiostatEntry
from instruments.strangers import Known

from ._act import Acting
from ._hand_over import ports
from ._interlock import Keeper
from ._loans import Loans
from ._places import GuardError, announce, beside, folder
from ._record import Recorder
from ._watch import Heart, Owner, fence_copies

# How long the record waits for instruments that do not answer; what comes later is in the log.
_RECORDED_AFTER_S = 10.0
_BEAT_EVERY_S = 0.5
_LET_GO_S = 30.0
# Who never comes back: an instrument that was taken away is tried for a day.
_ANNOUNCE_EVERY_S = 60.0
_WRITTEN_WITHIN_S = 120.0
_TRIES_S = 24 * 3600.0
_LONGEST_ORDER = 65536
_VISIT_S = 2.0


def main() -> int:
    """Serve one owner until it leaves, or act in its place; the exit status."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # What ends everything else on this computer must not end this first.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # What a driver has to say the owner's has said.
    logging.getLogger("instruments").setLevel(logging.CRITICAL)
    heard = b""
    while b"\n" not in heard:
        part = os.read(sys.stdin.fileno(), 65536)
        if not part:
            return 1  # its owner died before it had said what is to be guarded
        heard += part
    first, _, rest = heard.partition(b"\n")
    return _Guard(json.loads(first), rest).serve()


class _Guard:
    def __init__(self, first: Mapping[str, Any], rest: bytes) -> None:
        self._file = BenchFile.model_validate(first["bench"])
        self._data_dir = Path(first["data_dir"])
        self._owner = Owner(int(first["owner"]))
        self._heart = Heart(sys.stdin.fileno(), self._owner, self._file.guard, rest)
        # The owner may have died, and its number be another's, before this was read.
        self._orphaned = os.getppid() != self._owner.pid
        self._recorder = Recorder(self._data_dir)
        self._owners_log = Path(first["log"]) if "log" in first else None
        self._noticed = ""
        self._acts = threading.Event()
        self._acting: Acting | None = None
        self._given_up = threading.Event()
        self._handed_back = threading.Event()
        self._holds = False
        self._go_on = threading.Event()
        self._lent_to: Owner | None = None
        self._door = _Door(self._asked)
        self._keeper = Keeper.of(self._file, lambda why: self._say(tripped=why))
        # Everything that will be needed is imported and made now, while there is time.
        self._known = Known(lambda name: self._heart.who.get(name, ()))
        self._groups = resorts(self._file, None, self._known)
        self._loans = Loans(
            first.get("lender"), frozenset(first.get("lent", ())), lambda: self._heart.loans
        )
        self._finishing_groups = resorts(self._file, self._given_up, self._known)
        self._marks: set[Path] = set()
        self._announce()

    def _announce(self) -> None:
        """Tell where this guard is found; again now and then, since folders are emptied."""
        told = {
            "pid": os.getpid(),
            "owner": self._owner.pid,
            "bench": self._file.name,
            "data_dir": str(self._data_dir),
            "ports": sorted(ports(self._file.addresses())),
            "port": self._door.port,
            "token": self._door.token,
        }

        def beside_the_data() -> None:
            with contextlib.suppress(OSError):
                place = beside(self._data_dir)
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._marks.add(announce(told, place))

        # A thread: the disk of the data may hang.
        threading.Thread(target=beside_the_data, name="mark", daemon=True).start()
        with contextlib.suppress(OSError, GuardError):
            self._marks.add(announce(told, folder()))
        self._announced_at = time.monotonic()

    def serve(self) -> int:
        try:
            self._say(ready=True, pid=os.getpid())
            why = self._watch()
            if why != "goodbye":
                self._noticed = why
                self._act_for_the_dead()
            elif self._heart.unsafe:
                self._noticed = "they could not be made safe when they were left"
                self._act(self._heart.unsafe)
                self._linger()
        finally:
            if self._keeper is not None:
                self._keeper.close()
            self._door.close()
            for mark in self._marks:
                with contextlib.suppress(OSError):
                    mark.unlink()
            if self._owners_log is not None and self._noticed:
                with contextlib.suppress(OSError):
                    self._owners_log.unlink()
        return 0

    def _watch(self) -> str:
        beat_at = 0.0
        while True:
            why = self._heart.listen()
            if why is not None:
                return why
            if self._orphaned:
                return "its process ended"
            if time.monotonic() - self._announced_at > _ANNOUNCE_EVERY_S:
                self._announce()
            if self._heart.hold and self._keeper is not None and not self._holds:
                self._holds = True
                self._keeper.hold()
                self._say(held=True)
            if self._heart.trips and self._keeper is not None:
                # What the owner cannot make safe itself loses its lead, or its laser's.
                self._heart.trips.clear()
                self._open_interlock()
            if time.monotonic() - beat_at >= _BEAT_EVERY_S:
                beat_at = time.monotonic()
                self._say(beat=True)

    def _act_for_the_dead(self) -> None:
        began = time.time()
        # An orphan's number may be another process's by now.
        dead = self._orphaned or self._owner.fence()
        run = self._recorder.run(self._heart.run)
        self._fence_copies()
        self._act(None)
        assert self._acting is not None
        self._acting.wait(_RECORDED_AFTER_S) if not self._left_to_finish else self._settle()
        stop = {
            "guard": {
                "noticed": self._noticed,
                "at": began,
                "owner_ended": dead,
                "instruments": self._acting.became,
                "not_safe": self._acting.unsafe,
            }
        }
        self._recorder.close_run(run, self._told(dead), stop)
        self._linger()

    @property
    def _left_to_finish(self) -> list[str]:
        """Return the potentiostats whose program goes on, as the bench file declares."""
        if not self._heart.finishes:
            return []
        return [
            name
            for name, entry in self._file.instruments.items()
            if isinstance(entry, PotentiostatEntry) and entry.finishes_alone
        ]

    def _settle(self) -> None:
        """Wait for all but those that are left to their own end."""
        assert self._acting is not None
        end = time.monotonic() + _RECORDED_AFTER_S
        while time.monotonic() < end and set(self._acting.unsafe) - set(self._left_to_finish):
            time.sleep(0.05)

    def _act(self, only: tuple[str, ...] | None) -> None:
        if self._left_to_finish:
            groups = self._finishing_groups  # and the lead of the cell stays closed
        else:
            groups = self._groups
            if self._keeper is not None:
                groups = [[self._keeper.resort()], *groups]
                only = None if only is None else (*only, self._keeper.name)
        self._acting = Acting(groups, only, self._note, self._given_up, self._loans)
        self._acts.set()

    def _fence_copies(self) -> None:
        held = {
            port.removeprefix("serial://")
            for port in ports(self._file.addresses())
            if port.startswith("serial://")
        }
        for pid in fence_copies(self._owner, held, self._heart.run):
            self._recorder.log(run=self._heart.run, ended=pid, why="forked by the owner")

    def _open_interlock(self) -> None:
        assert self._keeper is not None
        try:
            became, safe = self._keeper.open(), True
        except InstrumentError as error:
            became, safe = str(error), False
        self._note(self._keeper.name, became, safe)
        self._say(tripped=f"the interlock {self._keeper.name} was opened ({became})")

    def _told(self, dead: bool) -> str:
        assert self._acting is not None
        order = list(self._file.instruments)
        became = [
            f"{name}: {words}"
            for name, words in sorted(
                self._acting.became.items(), key=lambda item: order.index(item[0])
            )
            if not words.startswith(NOTHING)
        ]
        told = f"it acted because {self._noticed}"
        if not dead:
            told += " (it could not be ended: it waits for a device)"
        not_safe = set(self._acting.unsafe) - set(self._left_to_finish)
        means = [f"{name} ({self._acting.means(name)})" for name in sorted(not_safe)]
        if means:
            told += f". NOT SAFE YET, it goes on trying: {', '.join(means)}"
        return f"{told}. {'; '.join(became)}"

    def _note(self, name: str, became: str, safe: bool) -> None:
        self._recorder.log(run=self._heart.run, instrument=name, became=became, safe=safe)

    def _linger(self) -> None:
        """Stay until everything is safe and written, or somebody wants the instruments back."""
        assert self._acting is not None
        end = time.monotonic() + _TRIES_S
        wait_s = 0.05
        while time.monotonic() < end and not self._handed_back.is_set():
            self._take_again()
            lent = self._lent_to is not None
            if not lent and self._acting.wait(0.0) and self._recorder.wait(0.0):
                break
            if any(self._acting.became.get(x) == STILL_RUNNING for x in self._left_to_finish):
                end = time.monotonic() + _TRIES_S  # a day from when it last was heard to run
            if time.monotonic() - self._announced_at > _ANNOUNCE_EVERY_S:
                self._announce()
            self._handed_back.wait(wait_s)
            wait_s = min(2 * wait_s, 1.0)
        if not self._handed_back.is_set() and self._acting.unsafe:
            self._recorder.log(run=self._heart.run, gave_up=self._acting.unsafe)
        self._acting.stop(_LET_GO_S)
        self._recorder.wait(_WRITTEN_WITHIN_S)

    # -- the door

    def _asked(self, what: str, wanted: Set[str], asker: int) -> dict[str, Any]:
        """Answer another session; called in the door's thread."""
        kept: list[str] = []
        if what in ("settled", "go on"):
            if self._lent_to is not None:  # else there is nothing that could be settled
                (self._handed_back if what == "settled" else self._go_on).set()
        elif what == "hand back" and self._noticed:
            # Between the owner's death and the first try.
            self._acts.wait(_LET_GO_S)
            kept = self._others(wanted)
            if not kept:
                self._lend(asker)
        acting = self._acting
        return {
            "owner_lives": not self._noticed,
            "kept": kept,
            "run": self._heart.run,
            "noticed": self._noticed,
            "became": {} if acting is None else acting.became,
            "unsafe": {
                name: sorted(ports(self._file.instruments[name].addresses))
                for name in ([] if acting is None else acting.unsafe)
            },
            "who": {name: sorted(self._known.unsettled(name)) for name in self._heart.who},
        }

    def _lend(self, asker: int) -> None:
        """Let every port go; what is not safe yet is lent until that is settled."""
        # First: what is lent ends nobody's watch, also in the moment in which the ports are let go.
        self._lent_to = Owner(asker)
        self._given_up.set()
        if self._acting is not None:
            self._acting.stop(_LET_GO_S)
        if self._keeper is not None:
            self._keeper.close()
        if self._acting is None or not self._acting.unsafe:
            self._handed_back.set()

    def _take_again(self) -> None:
        """Go on with what was lent, if it is not to be had back safe."""
        if self._lent_to is None or self._acting is None:
            return
        if self._lent_to.alive and not self._go_on.is_set():
            return
        self._lent_to = None
        self._go_on.clear()
        self._given_up.clear()
        self._act(tuple(self._acting.unsafe))

    def _others(self, wanted: Set[str]) -> list[str]:
        """Return what is not safe yet and not among what is wanted: nobody else would try it."""
        if self._acting is None:
            return []
        unsafe = [(name, self._file.instruments[name]) for name in self._acting.unsafe]
        return [name for name, entry in unsafe if not wanted & ports(entry.addresses)]

    def _say(self, **told: Any) -> None:
        # An owner that does not read, or is gone, is noticed elsewhere.
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), json.dumps(told).encode() + b"\n")


class _Door:
    """Where another session of this user knocks; on loopback, and with a token from a private file.

    It can ask what was done, and have the instruments of a dead owner back; nothing else.
    """

    def __init__(self, asked: Any) -> None:
        self._asked = asked
        self.token = secrets.token_hex(16)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, name="door", daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            with line, contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                heard, end = b"", time.monotonic() + _VISIT_S
                while not heard.endswith(b"\n") and len(heard) < _LONGEST_ORDER:
                    # Who says it letter by letter keeps the door no longer than who says nothing.
                    line.settimeout(max(end - time.monotonic(), 0.001))
                    part = line.recv(_LONGEST_ORDER)
                    if not part:
                        break
                    heard += part
                order = json.loads(heard)
                if hmac.compare_digest(str(order["token"]).encode(), self.token.encode()):
                    answer = self._asked(
                        str(order["do"]), set(map(str, order["ports"])), int(order["asker"])
                    )
                    line.settimeout(_LET_GO_S)
                    line.sendall(json.dumps(answer).encode() + b"\n")
