"""The RunEngine of a session, and what is done around every plan."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.run_engine import RunEngine
from bluesky.utils import FailedPause, Msg, MsgGenerator
from ophyd import Device

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.calibration import CalibrationRefusedError
from instruments.errors import InstrumentError
from operando import __version__, page_validation
from operando.guard import GuardError
from operando.session._signals import StopOnSignal

logger = logging.getLogger(__name__)

SIGN_CONVENTION = "IUPAC"
LEADER = "potentiostat"
INTERRUPTED = """
The plan was interrupted; RE.state tells what it is now.
    'idle'    It has ended: cell open and laser off unless an error says otherwise, everything
              measured is kept. A program that runs on an instrument cannot be paused.
    'paused'  RE.resume() goes on, RE.abort() ends it properly, RE.halt() drops it as it is.
"""
_ASK_AGAIN = (
    "\nCtrl-C again within 10 s ENDS the run: cell open, laser off, everything measured is kept.\n"
    "It cannot be paused: the instrument runs its program by itself.\n"
)


_ASK_NO_INSTRUMENT = ("open_run", "close_run", "null", "clear_checkpoint", "wait_for")


def run_engine(
    loop: asyncio.AbstractEventLoop,
    *,
    interactive: bool,
    noted: Callable[[int], str],
    preprocessors: Sequence[Callable[[MsgGenerator], MsgGenerator]],
    scan_id_source: Callable[[dict[str, Any]], int],
) -> RunEngine:
    """Return a RunEngine that signals end, and that records what a session is.

    Args:
        loop: Its event loop.
        interactive: As for `Session`.
        noted: Is told each signal that ends a plan, and returns the reason.
        preprocessors: Around every plan.
        scan_id_source: Numbers the runs.
    """

    def stop_on(*signals: str) -> Callable[[RunEngine], StopOnSignal]:
        return lambda engine: StopOnSignal(engine, signals, noted)

    if interactive:
        # One slip of the hand must not end weeks of cycling; nothing here can be paused.
        managers: list[Any] = [
            lambda engine: StopOnSignal(engine, ("SIGINT",), noted, confirm=_ASK_AGAIN),
            stop_on("SIGTERM", "SIGHUP"),
        ]
    else:
        managers = [stop_on("SIGINT", "SIGTERM", "SIGHUP")]
    page_validation.use()
    engine = RunEngine(
        {},
        loop=loop,
        context_managers=managers,
        preprocessors=list(preprocessors),
        scan_id_source=scan_id_source,
    )
    engine.md["operando_version"] = __version__
    engine.md["sign_convention"] = SIGN_CONVENTION
    # A journal that refuses a document must stop the plan.
    engine.ignore_callback_exceptions = False
    if interactive:
        from bluesky.utils import ProgressBarManager

        # bluesky declares this attribute by its default only, which is None.
        engine.pause_msg = INTERRUPTED
        engine.waiting_hook = ProgressBarManager()  # type: ignore[assignment]
    return engine


def with_assets(devices: Mapping[str, Device], data_dir: Path, plan: MsgGenerator) -> MsgGenerator:
    """Give each plan a folder of its own for images and spectra, before it stages anything."""
    stamp = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
    folder = data_dir / "assets" / f"{stamp}-{secrets.token_hex(4)}"
    for device in devices.values():
        if hasattr(device, "assets_dir"):
            device.assets_dir = folder
    return (yield from plan)


def with_reason(why_aborted: Callable[[], str], plan: MsgGenerator) -> MsgGenerator:
    """Put the reason of an abort into the stop document, where bluesky leaves it empty."""

    def tell(message: Msg) -> Msg:
        told = message.kwargs
        if message.command != "close_run" or told.get("exit_status") not in ("abort", "fail"):
            return message
        if told.get("reason") == FailedPause.__name__:  # Ctrl-C twice in what cannot pause
            told = {**told, "exit_status": "abort", "reason": ""}
        if told["exit_status"] == "abort":
            # Whatever else is told, e.g. that something could not be made safe, stays.
            why = ". ".join(filter(None, (why_aborted(), told.get("reason"))))
            told = {**told, "reason": why}
        return message._replace(kwargs=told)

    return (yield from bpp.msg_mutator(plan, tell))


def with_calibrations(file: BenchFile, plan: MsgGenerator) -> MsgGenerator:
    """Tell in each run which calibrations are too old or missing that day, or refuse the run.

    Raises CalibrationRefusedError in the plan before it opens the run, where the bench file says
    so; not for a dummy cell or a check of the gas chromatograph, by which they are renewed, and
    not for a run that goes on with an experiment.
    """

    def refuse(message: Msg) -> tuple[MsgGenerator | None, None]:
        told = message.kwargs
        if message.command != "open_run" or told.get("gas_check") or told.get("resume"):
            return None, None
        if _is_dummy(told.get("sample")):
            return None, None
        policy = file.calibrations
        refused = [x.told for x in file.calibration_flags() if getattr(policy, x.flag) == "refuse"]
        return (_refused(file.name, refused) if refused else None), None

    def tell(message: Msg) -> Msg:
        if message.command != "open_run":
            return message
        flags = [flag.as_data() for flag in file.calibration_flags()]
        return message._replace(kwargs={**message.kwargs, "calibration_flags": flags})

    return (yield from bpp.msg_mutator(bpp.plan_mutator(plan, refuse), tell))


def _is_dummy(sample: Any) -> bool:
    return isinstance(sample, Mapping) and sample.get("dummy") is not None


def _refused(bench: str, reasons: Sequence[str]) -> MsgGenerator:
    yield from bps.null()
    raise CalibrationRefusedError(
        f"bench {bench}: no run begins (calibrations in the bench file): {'; '.join(reasons)}. "
        "Calibrate and write it into the bench file; nothing was driven"
    )


def leaving_safe(bench: Bench, plan: MsgGenerator) -> MsgGenerator:
    """Leave no program running behind a plan that started one, whoever wrote the plan.

    No message is sent: this must also work when the RunEngine drops the plan (``RE.halt``).
    """
    started = False

    def watch(message: Msg) -> Msg:
        nonlocal started
        started = started or message.command == "kickoff"
        return message

    ended = False
    try:
        result = yield from bpp.msg_mutator(plan, watch)
        ended = True
        return result
    finally:
        leader = bench.devices.get(LEADER)
        if started and not (ended and getattr(leader, "finished", True)):
            try:
                bench.safe_state()
            except InstrumentError as error:
                logger.error("the bench could not be made safe after a plan: %s", error)


def guarded(state: Callable[[], dict[str, Any] | None], plan: MsgGenerator) -> MsgGenerator:
    """Begin nothing when the guard that there was is gone; raises GuardError.

    What asks no instrument for anything goes on: that nothing was begun may be recorded.
    """
    at_first = state()
    if at_first is None or not at_first["ended"]:
        return (yield from plan)

    def refuse(message: Msg) -> Msg:
        if message.command in _ASK_NO_INSTRUMENT:
            return message
        told = state()
        if told is None or not told["ended"]:
            return message  # one was regained meanwhile
        raise GuardError(
            f"nothing is begun without a guard: {told['ended']}. Close this session and open "
            "another; if that does not help, `python -m operando.guard` says why"
        )

    return (yield from bpp.msg_mutator(plan, refuse))


def without_pause(plan: MsgGenerator) -> MsgGenerator:
    """Let no plan be paused once an instrument runs a program of its own.

    The instrument would go on, and resuming would start its program once more: bluesky replays
    what came since the last checkpoint. Without a checkpoint a pause ends the plan, cell open.
    """

    def clear() -> MsgGenerator:
        # A bluesky plan that is never begun, since the kickoff failed, would warn of it.
        yield Msg("clear_checkpoint")

    def clear_after_kickoff(message: Msg) -> tuple[None, MsgGenerator | None]:
        return None, clear() if message.command == "kickoff" else None

    return (yield from bpp.plan_mutator(plan, clear_after_kickoff))
