"""A VICI Valco actuator with a valve of two positions: loop filled at A, in the carrier at B.

Commands end with CR, in capitals or not, with or without an ID in front (``/1CP``). ``CP`` is
answered at once, also while it turns: then with the position that it left. ``GOA``, ``GOB``,
``CW``, ``CC``, ``GO``, ``TO``, ``TT`` and ``HM`` (to A) turn it, in 0.15 s, and are answered as
``IFM`` says: 0 not at all, 1 and 2 with the position when it is there. Where it stands already
nothing happens. ``LRN`` looks for the stops and ends at A, which it tells also if it stood there;
that it visits B on the way is not simulated. What it does not know is answered with what came and
``Bad command``.

The gas that is in the loop when it is turned to B is what a chromatograph gets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sim_devices.pty_server import ByteServer
from sim_devices.surroundings import TruthWriter
from sim_devices.wire_faults import on_a_line

if TYPE_CHECKING:
    from sim_devices.clock import SimulatedClock

_TURN_S = 0.15
# Somebody who has turned it into the carrier is about to start a chromatograph: the clock waits.
_LONGEST_INJECTION_S = 5.0
_LINE_ENDS = {1: "\r", 2: "\n", 3: "\r\n"}
_VERSION = "I-PD-UMTN88RD1"
_LONGEST_LINE = 32

FAULTS = on_a_line(
    "a valve actuator",
    {
        "refuse": "answers the next `count` (1) commands as one that it does not know",
        "out-of-range": "tells a position that there is not, C (or `value`), at the next `count` "
        "(1) questions for it",
        "power-cycle": "has no power for `seconds` (1); the valve stands where it stood",
        "stuck": "the valve turns no more",
        "loose": "ends that",
    },
    {"wrong-checksum": "its lines have no checksum", "clock-jump": "it has no clock"},
)


class ViciActuator:
    """One actuator, its valve at A; `ViciActuator.address` is where it is."""

    def __init__(
        self,
        clock: SimulatedClock,
        truth: TruthWriter,
        *,
        on_turn: Callable[[str], None] = lambda position: None,
        unit: str = "",
        prefer_pty: bool = True,
        seed: int = 0,
    ) -> None:
        """Switch it on.

        Args:
            clock: held while it turns, and for a while when it has been turned to B.
            truth: gets ``sampling_valve`` events.
            on_turn: called with "A" or "B" when the valve has got there.
            unit: its ID; with one it hears nothing that does not begin with it.
            prefer_pty: use a pseudo-terminal where there is one, else TCP.
            seed: of injected faults.
        """
        self._clock = clock
        self._truth = truth
        self._on_turn = on_turn
        self._prefix = f"/{unit}" if unit else ""
        self._position = "A"
        self._wake = threading.Condition()
        self._wanted: str | None = None
        self._stuck = False
        self._closed = False
        self._typed = bytearray()
        self._turns = 0
        self._reset()
        self.line = ByteServer(
            self._receive,
            prefer_pty=prefer_pty,
            on_fault=self._fault,
            faults=FAULTS,
            seed=seed,
        )
        self.address = self.line.address
        self._worker = threading.Thread(target=self._work, name="vici", daemon=True)
        self._worker.start()

    def close(self) -> None:
        """Switch it off: the valve stays where it is."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._worker.join()
        self.line.close()

    def _reset(self) -> None:
        self._typed.clear()
        self._learns = False
        self._tells = 0
        self._line_end = _LINE_ENDS[1]
        self._delay_ms = 0

    # ---- the motor

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._wanted is not None or self._closed)
                if self._closed:
                    return
            with self._clock.exchange("sampling valve"):
                self._turn()

    def _turn(self) -> None:
        with self._wake:
            wanted, self._wanted = self._wanted, None
            learns, self._learns = self._learns, False
            self._wake.wait_for(lambda: self._closed, _TURN_S)
            if wanted is None or self._stuck or self._closed:
                return
            if wanted == self._position:
                if learns:
                    self._tell()
                return
            self._position = wanted
            self._turns += 1
        self._on_turn(wanted)
        self._truth.write("sampling_valve", "turned", position=wanted)
        self._tell()
        if wanted == "B":
            with self._wake:
                self._wake.wait_for(
                    lambda: self._wanted is not None or self._closed, _LONGEST_INJECTION_S
                )

    def _tell(self) -> None:
        if self._tells:
            told = f"{self._prefix}CP{self._position}{self._line_end}"
            self.line.send(told.encode("ascii"))

    def _want(self, position: str) -> None:
        if position != self._position or self._wanted is not None:
            self._wanted = position
            self._wake.notify_all()

    # ---- the language

    def _receive(self, data: bytes) -> bytes:
        answers = bytearray()
        for byte in data:
            if byte != 0x0D:
                if byte != 0x0A and len(self._typed) < _LONGEST_LINE:
                    self._typed.append(byte)
                continue
            line = self._typed.decode("latin-1").strip().upper()
            self._typed.clear()
            if not line.startswith(self._prefix):
                continue
            command = line.removeprefix(self._prefix)
            with self._wake:
                answer = self._answer(command)
            if answer is not None:
                answers += f"{self._prefix}{answer}{self._line_end}".encode("ascii")
        return bytes(answers)

    def _answer(self, command: str) -> str | None:
        other = "B" if self._position == "A" else "A"
        broken = self.line.broken
        if broken.due("refuse"):
            return f"{command} = Bad command"
        match command:
            case "CP":
                return f"CP{broken.told_text(self._position, 'C')}"
            case "VR" | "VR2":
                return _VERSION
            case "NP":
                return "NP2"
            case "AM":
                return "AM1"
            case "CNT":
                return f"CNT{self._turns}"
            case "GOA" | "CW" | "HM":
                self._want("A")
            case "LRN":
                self._wanted, self._learns = "A", True
                self._wake.notify_all()
            case "GOB" | "CC":
                self._want("B")
            case "GO" | "TO":
                self._want(other)
            case "TT":
                if self._delay_ms:  # without a delay it is ignored
                    self._want(other)
            case "IFM":
                return f"IFM{self._tells}"
            case "IFM0" | "IFM1" | "IFM2":
                self._tells = int(command[-1])
            case "DEL1" | "DEL2" | "DEL3":
                self._line_end = _LINE_ENDS[int(command[-1])]
            case _ if command.startswith("DT") and command[2:].isdigit():
                self._delay_ms = int(command[2:])
            case _:
                return f"{command} = Bad command"
        return None

    # ---- for whoever breaks things

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        """Break it, where that is not the line's business."""
        del options
        with self._wake:
            if fault in ("stuck", "loose"):
                self._stuck = fault == "stuck"
            elif fault == "power-cycle":
                self._wanted = None
                self._reset()
