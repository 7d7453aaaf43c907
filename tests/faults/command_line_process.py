"""The command line, each time in a process that is forked from this one, which has imported it.

What a command needs is imported when it runs; what most of them need is imported here, once.

With DOOM in its environment a process dies of itself in the middle of a run: once rows of a stream
are recorded it writes faults to the simulated bench and sends itself a signal. However busy the
computer is, it has then recorded these rows and not many more. As a JSON list: what it waits for,
[stream, rows, role or null] one after the other (of the leader the rows of the run's own program);
the faults; the signal's number.

With FILE_LIMIT in its environment no file of the process may grow beyond so many bytes: to a
program the same as a disk that is full.

Standard input is a socket. Each packet on it orders a process: in JSON its arguments, environment
and folder, with the descriptors of its standard output and standard error, and of a pipe on which
its number and, once it is over, its exit status are told.
"""

import json
import os
import resource
import selectors
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import operando.analysis
import operando.catalog
import operando.configuration
import operando.history
import operando.live
import operando.resume
import operando.session  # noqa: F401
from operando import cli
from operando.journal import JournalWriter

LEADER = "potentiostat"
ORDER_BYTES = 1 << 20
TOLD_BYTES = 16


def tell(pipe: int, number: int) -> None:
    os.write(pipe, f"{number:{TOLD_BYTES}d}".encode("ascii"))


def arguments_of_new_process(orders: socket.socket) -> list[str] | None:
    """Return in each process that was ordered, its arguments; in this one None, at the end."""
    selector = selectors.DefaultSelector()
    selector.register(orders, selectors.EVENT_READ)
    living: dict[int, tuple[int, int]] = {}  # by what stands for the process
    while True:
        for key, _ in selector.select():
            if key.fd in living:
                selector.unregister(key.fd)
                pid, told = living.pop(key.fd)
                tell(told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(told)
                os.close(key.fd)
                continue
            packet, given, *_ = socket.recv_fds(orders, ORDER_BYTES, 3)
            if not packet:
                return None
            output, errors, told = given
            pid = os.fork()
            if pid == 0:
                selector.close()
                orders.close()
                nothing = os.open(os.devnull, os.O_RDONLY)
                for place, file in enumerate((nothing, output, errors)):
                    os.dup2(file, place)
                kept = [file for _, file in living.values()]
                for file in (nothing, *given, *living, *kept):
                    os.close(file)
                order = json.loads(packet)
                os.environ.clear()
                os.environ.update(order["environment"])
                os.chdir(order["folder"])
                return order["arguments"]
            tell(told, pid)
            os.close(output)
            os.close(errors)
            number = os.pidfd_open(pid)
            living[number] = (pid, told)
            selector.register(number, selectors.EVENT_READ)


class Doom:
    """What brings the end; called with each document once it is in the journal."""

    def __init__(self, after: list[Any], faults: list[Any], number: int) -> None:
        self._after = after
        self._faults = faults
        self._number = number
        self._streams: dict[str, str] = {}
        self._begun = self._seen = 0

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self._begun = doc.get("resume", {}).get("begin", {}).get("step", 0)
        elif name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        elif name in ("event", "event_page") and self._after:
            stream, rows, role = self._after[0]
            if self._streams[doc["descriptor"]] == stream:
                self._seen += self._count(name, doc, stream, role)
            if self._seen >= rows:
                self._after.pop(0)
                self._seen = 0
                if not self._after:
                    self._end()

    def _count(self, name: str, doc: Mapping[str, Any], stream: str, role: int | None) -> int:
        page = name == "event_page"
        if stream != LEADER:
            return len(doc["seq_num"]) if page else 1
        steps, roles = (doc["data"][f"{LEADER}_{column}"] for column in ("step", "role"))
        rows = zip(steps, roles, strict=True) if page else [(steps, roles)]
        return sum(step > self._begun and role in (None, its) for step, its in rows)

    def _end(self) -> None:
        with (Path(os.environ["OPERANDO_SIM"]) / "faults").open("a") as file:
            file.write("".join(json.dumps(fault) + "\n" for fault in self._faults))
        os.kill(os.getpid(), self._number)


def be_doomed(after: list[Any], faults: list[Any], number: int) -> None:
    take, doom = JournalWriter.__call__, Doom(after, faults, number)

    def take_and_die(self: JournalWriter, name: str, doc: Mapping[str, Any]) -> None:
        take(self, name, doc)
        doom(name, doc)

    JournalWriter.__call__ = take_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    arguments = arguments_of_new_process(socket.socket(fileno=os.dup(0)))
    if arguments is not None:
        if limit := os.environ.pop("FILE_LIMIT", ""):
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        if told := os.environ.pop("DOOM", ""):
            be_doomed(*json.loads(told))
        sys.exit(cli.main(arguments))
