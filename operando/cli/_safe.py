"""The command safe: make a bench safe when nobody else does it."""

import argparse
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ._terminal import FAILED, OK, complain, say

if TYPE_CHECKING:
    from instruments.bench_file import BenchFile
    from operando.guard import Taken
    from operando.queueing.leases import Leases

# How long a shared instrument is waited for that another station has, s.
_WAIT_S = 2.0


def safe(arguments: argparse.Namespace) -> int:
    """Make safe whatever answers; tell what became of each, and what did not confirm it."""
    from instruments.bench_file import entries
    from instruments.plugins import tag
    from operando.configuration import ConfigurationError, load_bench_leniently
    from operando.guard import let_go_on, settle, take_back
    from operando.settings import data_dir

    from ._bench import DEFAULT_BENCH, find_simulator

    find_simulator()
    file, left_out = load_bench_leniently(arguments.bench or DEFAULT_BENCH)
    handed = take_back(file, data_dir())
    for taken in handed:
        if taken.noticed:
            say(f"    {taken}")
    told: dict[str, str | Exception] = {}
    answered: dict[str, str] = {}
    left: set[str] = set()
    # What is this bench's own, and so the cell, before what others may have.
    for shared, part in _parts(file).items():
        with _had(shared, data_dir()) as who:
            if who:
                left |= set(part.instruments)
                told |= dict.fromkeys(part.instruments, f"left to {who}, which has it")
            else:
                told |= _made_safe(part, handed, answered)
    for name, became in told.items():
        if not isinstance(became, Exception):
            say(f"    {name:<18} {became or 'nothing to make safe'}")
    for name, (_, why) in left_out.items():
        told[name] = ConfigurationError(f"left out, it cannot be used: {why}")
    unreached = {name: became for name, became in told.items() if isinstance(became, Exception)}
    # What a guard was trying is not left to nobody because it was tried here, too.
    still = [x for x in handed if set(x.unsafe) & {*unreached, *left}]
    settle((x for x in handed if x not in still), answered)
    goes_on = let_go_on(still)
    if not unreached:
        say("Safe: what could be made safe has confirmed it.")
        return OK
    lines = [f"NOT SAFE: {len(unreached)} of {len(told)} instruments did not confirm it"]
    for name, error in unreached.items():
        lines.append(f"  {name}: {error}")
        kind = left_out[name][0] if name in left_out else file.instruments[name].kind
        means = next((x.unreached_means for x in entries() if tag(x, "kind") == kind), "")
        if means:
            lines.append(f"      {means}")
    for pid in goes_on:
        lines.append(f"The guard (process {pid}) goes on trying.")
    complain("\n".join(lines))
    return FAILED


def _made_safe(
    part: "BenchFile", handed: "list[Taken]", answered: dict[str, str]
) -> dict[str, str | Exception]:
    """Make a part of a bench safe; who answered is added to ``answered``."""
    from instruments.bench import Bench
    from instruments.errors import StrangerError

    bench = Bench(part)
    try:
        told = bench.make_safe()  # to connect alone ends what ran
        answered |= bench.marks()
    finally:
        bench.close()
    for taken in handed:
        for name, why in taken.strangers(bench.marks()).items():
            told[name] = StrangerError(why)
    return told


def _parts(file: "BenchFile") -> "dict[str, BenchFile]":
    """Return what is the bench's own, by an empty name, and what is shared by what that is called.

    Without anything shared it is the whole, in the order of the file.
    """
    from instruments.bench_file import shared_as

    names: dict[str, set[str]] = {"": set()}
    for name, entry in file.instruments.items():
        names.setdefault(shared_as(entry) or "", set()).add(name)
    if len(names) == 1:
        return {"": file}
    return {shared: file.only(some) for shared, some in names.items() if some}


@contextmanager
def _had(shared: str, data_dir: Path) -> Iterator[str]:
    """Have a shared instrument meanwhile; yields who has it if another one does, in words.

    Where no station was ever started, or Redis does not answer, nobody is asked.
    """
    from instruments.lending import LeaseTimeoutError

    leases = _leases(data_dir) if shared else None
    if leases is None:
        yield ""
        return
    with ExitStack() as stack:
        who = ""
        try:
            loan = leases.inherit(shared, _of_the_dead(leases, shared), timeout_s=_WAIT_S)
            if loan is not None:
                stack.enter_context(loan)
        except LeaseTimeoutError:
            who = _holder(leases, shared)
        yield who


def _leases(data_dir: Path) -> "Leases | None":
    """Return who lends shared instruments in this data folder, if anybody does."""
    from operando.configuration import ConfigurationError, load_stations
    from operando.queueing._redis import address, client
    from operando.queueing.errors import QueueError
    from operando.queueing.leases import Leases

    try:
        where = address(data_dir, load_stations())
    except (ConfigurationError, QueueError):
        return None
    return Leases(client(where, patience_s=1.0), "operando safe")


def _of_the_dead(leases: "Leases", shared: str) -> int | None:
    """Return the number of a loan whose holder was a process of this computer that is gone."""
    import redis

    from operando.queueing.leases import lease_state

    try:
        holder = lease_state(leases.client, shared).holder
    except redis.RedisError:
        return None
    if holder is None or holder.pid is None or holder.host != socket.gethostname():
        return None
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return holder.number
    except OSError:
        return None
    return None


def _holder(leases: "Leases", shared: str) -> str:
    import redis

    from operando.queueing.leases import lease_state

    try:
        holder = lease_state(leases.client, shared).holder
    except redis.RedisError:
        holder = None
    return "another station" if holder is None else holder.told
