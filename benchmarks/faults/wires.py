"""Break the wire of every simulated instrument, in every way, in every phase of a run.

Each case is a run of its own: a simulator with real wires, a session, a short protocol; the fault
comes while it connects, before it prepares, while it runs, or as it finishes. What it says and
keeps is compared with the simulator's truth: every case ends in a state that has a name, no row
that was delivered is missing, no value was never delivered, the cell is open or it is said that it
may not be, and nobody else waits.
"""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.faults.outcome import Effort, Outcome, or_none
from benchmarks.faults.wires_bench import SUBJECTS
from benchmarks.faults.wires_case import Case, Ending, Phase, State

# They wait for timeouts and clocks most of the time.
_SIDE_BY_SIDE = 10
_OUTER_LIMIT_S = 90.0
_ALLOWED_SHARE = 0.05
_CANNOT = "cannot happen: "
# How each is tried: once and, where it may pass or last, both.
_OPTIONS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "stall": ({"seconds": 0.4}, {}),
    "garble": ({"count": 1}, {"count": 8}),
    "drop-bytes": ({"count": 1},),
    "drop": ({"count": 1}, {"count": 5}),
    "split": ({"seconds": 1, "pause_s": 0.02},),
    "merge": ({"seconds": 1},),
    "refuse": ({"count": 1},),
    "disconnect": ({"seconds": 0.5},),
    "power-cycle": ({"seconds": 0.3},),
    "wrong-checksum": ({"count": 1},),
    "clock-jump": ({"seconds": 3600}, {"seconds": -3600}),
    "slow": ({"delay_s": 0.3, "seconds": 2},),
    "out-of-range": ({"count": 1},),
    "garble-in": ({"count": 1},),
    "unplug": ({},),
}


def faults_of() -> dict[str, dict[str, str]]:
    """Return what the simulator can break: instrument -> fault -> what it does, or why not."""
    listed = subprocess.run(
        [sys.executable, "-m", "sim_devices", "--list-faults"],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, str]] = json.loads(listed.stdout)
    return found


def cases(instruments: Sequence[str] = (), faults: Sequence[str] = ()) -> Iterator[Case]:
    """Yield all cases, or those of some instruments and faults."""
    there = faults_of()
    for instrument in SUBJECTS:
        if instruments and instrument not in instruments:
            continue
        for fault, options in _OPTIONS.items():
            told = there.get(instrument, {}).get(fault, _CANNOT)
            if told.startswith(_CANNOT) or (faults and fault not in faults):
                continue
            for chosen in options:
                for phase in Phase:
                    yield Case(instrument, fault, phase, chosen)


def run_all(
    wanted: Sequence[Case], side_by_side: int = _SIDE_BY_SIDE
) -> Iterator[tuple[Case, Ending]]:
    """Run cases in processes beside each other; yield each with its ending as it comes.

    Raises RuntimeError if one of the processes could not be started or spoken to.
    """
    todo: queue.SimpleQueue[Case] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Case, Ending] | BaseException] = queue.SimpleQueue()
    for case in wanted:
        todo.put(case)

    def work() -> None:
        worker = _Worker()
        try:
            while True:
                try:
                    case = todo.get_nowait()
                except queue.Empty:
                    return
                done.put((case, worker.run(case)))
        except BaseException as error:  # whoever waits for its case has to hear of it
            done.put(error)
        finally:
            worker.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(side_by_side)]
    for thread in threads:
        thread.start()
    for _ in wanted:
        came = done.get()
        if isinstance(came, BaseException):
            raise RuntimeError(f"a case could not be tried: {came}") from came
        yield came
    for thread in threads:
        thread.join()


class _Worker:
    """A process that runs cases; it is ended, and begun anew, where one does not end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, case: Case) -> Ending:
        """Run one case."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.faults.wires_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        began = time.monotonic()
        process.stdin.write((json.dumps(asdict(case)) + "\n").encode())
        process.stdin.flush()
        if select.select([process.stdout], [], [], _OUTER_LIMIT_S)[0]:
            if line := process.stdout.readline():
                return Ending.from_json(line.decode())
            self._end(process)
            return Ending(State.UNNAMED, "the process that ran it died", "injected")
        self._end(process)
        return Ending(State.HUNG, "", "injected", took_s=time.monotonic() - began)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._end(self._process, gently=True)

    def _end(self, process: "subprocess.Popen[bytes]", *, gently: bool = False) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has died
        if not gently:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_OUTER_LIMIT_S)
        process.stdout.close()
        self._process = None


def line(case: Case, ending: Ending) -> str:
    """Return a case as one line of the table."""
    broken = ending.broken_promises(SUBJECTS[case.instrument])
    rows = "" if ending.delivered is None else f"{ending.delivered}/{ending.recorded}"
    words = ending.words.replace("|", "\\|").replace("\n", " ")
    cell = "closed, told" if ending.cell_closed and ending.said_unsafe else "closed"
    return (
        f"| {case.instrument} | {case.name} | {case.phase} | {ending.state} | "
        f"{cell if ending.cell_closed else 'open'} | "
        f"{'on' if ending.laser_mw else 'off'} | {rows} | "
        f"{or_none(ending.lost)} | {or_none(ending.wrong)} | "
        f"{ending.leader_gap_s:.2f} | {ending.took_s:.1f} | "
        f"{'**NOT HELD**: ' + '; '.join(broken) if broken else 'held'} | {words[:240]} |"
    )


HEAD = (
    "| instrument | fault | phase | ended | cell | laser | delivered/recorded | lost | wrong | "
    "longest gap of the leader, s | took, s | | words |\n"
    "|---|---|---|---|---|---|---|---:|---:|---:|---:|---|---|"
)


def summary(results: Sequence[tuple[Case, Ending]]) -> str:
    """Return how the cases ended, a line for each fault of each instrument.

    What is lost or wrong is the sum over those that were compared; a dash: none was.
    ``not held`` stands behind a state in which something else was not as it should be.
    """
    lines = [
        "| instrument | fault | " + " | ".join(Phase) + " | lost | wrong | took at most, s |",
        "|---|---|" + "---|" * len(Phase) + "---:|---:|---:|",
    ]
    by_fault: dict[tuple[str, str], dict[Phase, Ending]] = {}
    for case, ending in results:
        by_fault.setdefault((case.instrument, case.name), {})[case.phase] = ending
    places = list(SUBJECTS)
    for name, fault in sorted(by_fault, key=lambda one: (places.index(one[0]), one[1])):
        endings = by_fault[name, fault]
        words = [_in_short(endings.get(phase), name) for phase in Phase]
        lost, wrong = (or_none(total(endings.values(), key)) for key in ("lost", "wrong"))
        took_s = max(x.took_s for x in endings.values())
        lines.append(
            f"| {name} | {fault} | {' | '.join(words)} | {lost} | {wrong} | {took_s:.1f} |"
        )
    return "\n".join(lines)


def total(endings: Iterable[Ending], key: str) -> int | None:
    """Return the sum of ``lost`` or ``wrong`` over endings that were compared; None: none was."""
    found = [number for one in endings if (number := getattr(one, key)) is not None]
    return sum(found) if found else None


def _in_short(ending: Ending | None, instrument: str) -> str:
    if ending is None:
        return ""
    word = ending.state.name.lower()
    if ending.cell_closed:
        word += ", cell closed and told"
    return f"{word} **not held**" if ending.broken_promises(SUBJECTS[instrument]) else word


def wires(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Try all cases, print their lines, and return one outcome per instrument."""
    del folder
    results: list[tuple[Case, Ending]] = []
    sys.stdout.write(HEAD + "\n")
    for case, ending in run_all(list(cases(effort.instruments, effort.faults))):
        sys.stdout.write(line(case, ending) + "\n")
        sys.stdout.flush()
        results.append((case, ending))
    sys.stdout.write("\n" + summary(results) + "\n\n")
    costs = [] if effort.instruments or effort.faults else _costs()
    return [
        outcome(name, [ending for case, ending in results if case.instrument == name])
        for name in dict.fromkeys(case.instrument for case, _ in results)
    ] + costs


def outcome(name: str, endings: Sequence[Ending]) -> Outcome:
    """Return what came of one instrument's cases; only what was compared is promised."""
    states = Counter(ending.state for ending in endings).most_common()
    failed = sum(bool(ending.broken_promises(SUBJECTS[name])) for ending in endings)
    sums = {key: total(endings, key) for key in ("lost", "wrong")}
    compared = {key: sum(getattr(x, key) is not None for x in endings) for key in sums}
    promised = "".join(f"nothing {key}, " for key, found in sums.items() if found is not None)
    told = ", ".join(f"{key} in {count}" for key, count in compared.items() if count)
    found = [number for number in sums.values() if number is not None]
    return Outcome(
        fault=f"the wire of {name} broken in {len(endings)} ways",
        expected=f"a state with a name, {promised}cell open or told, nobody waits",
        observed=", ".join(f"{count} {state}" for state, count in states)
        + (f"; {failed} not as expected" if failed else "")
        + (f"; compared: {told}" if told else "; no rows compared"),
        rows_lost=sum(found) if found else None,
        as_expected=not failed,
    )


def _costs() -> list[Outcome]:
    """Measure what a dead instrument costs, in a process of its own."""
    measured = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults.wires_cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    costs = [json.loads(one) for one in measured.stdout.splitlines()]
    most = max((one["share"] for one in costs), default=1.0)
    return [
        Outcome(
            fault="dead instruments on a bench",
            expected=f"less than {_ALLOWED_SHARE:.0%} of a core",
            observed="; ".join(f"{one['what']}: {one['share']:.1%}" for one in costs),
            rows_lost=0,
            as_expected=most < _ALLOWED_SHARE and measured.returncode == 0,
        )
    ]
