"""The simulated EmStat4 HR on its serial line: the comm protocol around the scripts.

Every line ends with LF, both ways. A command is answered by its first character and what it has to
say, an error by that character, ``!`` and four hexadecimal digits. After an error the instrument
does not listen for 50 ms.

What the vendor's texts leave open is an option here, so that a driver can be tried against both
readings; see `Behaviour`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any

from sim_devices.methodscript.capabilities import (
    LINE_COMMAND_BITS,
    SCRIPT_COMMAND_BITS,
    bit_field,
)
from sim_devices.methodscript.electronics import PERFECT, Electronics, Imperfection
from sim_devices.methodscript.errors import LoadError, ScriptError
from sim_devices.methodscript.faults import FAULTS
from sim_devices.methodscript.files import FileStore
from sim_devices.methodscript.language import COMMANDS, FILE_COMMANDS, Loader
from sim_devices.methodscript.machine import Machine
from sim_devices.methodscript.pgstat import (
    ABORT,
    HALT,
    POWER_OFF,
    REVERSE,
    SKIP,
    PowerLostError,
)
from sim_devices.methodscript.runtime import Program
from sim_devices.methodscript.values import UnrepresentableValueError, format_value
from sim_devices.pty_server import ByteServer, PatientSender
from sim_devices.surroundings import ImpedantCell, LeadingClock, TruthWriter
from sim_devices.wire_faults import number_of

FIRMWARE = "es4_hr1300#Nov 17 2024 10:12:31"
METHODSCRIPT_VERSION = "01.09.00"

_log = logging.getLogger(__name__)

_LONGEST_COMMAND = 255
_IDLE_STRIDE_S = 0.1
_IMPOSSIBLE = 1e9

# Registers by number: their value at power-up, and whether a host may read and write them.
_REGISTERS = {
    0x01: ("00000000", True, True),  # peripheral configuration
    0x02: ("00000000", False, True),  # permission
    0x06: ("", True, False),  # serial number; filled in
}

_COMMANDS_OF_RUNNING_SCRIPT = {"Z": ABORT, "Y": SKIP, "h": HALT, "R": REVERSE}


@dataclass(frozen=True)
class Behaviour:
    """How the instrument behaves where the vendor's texts leave it open, and what it is wired to.

    Attributes:
        line_after_run: whether ``e`` and ``r`` are answered on a line of their own; otherwise the
            script's first line follows at once (``eM0000``).
        blank_line_after_error: whether a run-time error is followed by the blank line that ends a
            script's output.
        blank_line_answered: whether an idle instrument answers an empty line with an empty line.
        set_current_type: the type in which a galvanostat's current is sent, "db" or "ba".
        sample_at_start: whether measurement loops have a point at their time zero, besides those at
            the ends of their intervals.
        deaf_after_error_s: how long nothing is heard after an error, host seconds.
        host_patience_s: how long a script waits, in host seconds, for a host that does not read;
            then output is lost, in whole lines, until the host has read what is left or says
            something. The line that ends a script is never lost. Infinite: it waits for ever.
        script_memory_bytes: how large a script may be.
        firmware: who it says it is: device, firmware, ``#``, when that was built.
        script_version: of the language, as it tells it.
        idle: whether the cell lives on while no script runs. False makes runs reproducible to the
            last bit.
        perfect: no errors of the instrument, no noise, no steps.
        gpio_inputs: returns the levels at the pins that are inputs.
        on_gpio: called with (cell time s, levels) at each change of an output.
    """

    line_after_run: bool = True
    blank_line_after_error: bool = True
    blank_line_answered: bool = True
    set_current_type: str = "db"
    sample_at_start: bool = False
    deaf_after_error_s: float = 0.05
    host_patience_s: float = 2.0
    script_memory_bytes: int = 65536
    firmware: str = FIRMWARE
    script_version: str = METHODSCRIPT_VERSION
    idle: bool = True
    perfect: bool = False
    gpio_inputs: Callable[[], int] | None = None
    on_gpio: Callable[[float, int], None] | None = None


class EmStat4:
    """One instrument on one line, from construction to `close`.

    Attributes:
        address: where it listens.
        line: the serial line, for injecting faults.
        files: the instrument's file store.
    """

    def __init__(
        self,
        cell: ImpedantCell,
        clock: LeadingClock,
        truth: TruthWriter,
        seed: int = 0,
        *,
        prefer_pty: bool = True,
        imperfection: Imperfection | None = None,
        behaviour: Behaviour | None = None,
    ) -> None:
        """Switch the instrument on, with its cell disconnected.

        Args:
            cell: the cell at its leads; only this instrument advances it.
            clock: this instrument leads it.
            truth: gets the instrument's errors, what was applied, and the ledgers.
            seed: of the instrument's errors and noise, and of injected faults.
            prefer_pty: listen on a pseudo-terminal where there are any, else on TCP.
            imperfection: how good the instrument is; None: as its make is.
            behaviour: choices; None: the defaults.
        """
        self._behaviour = chosen = behaviour or Behaviour()
        if imperfection is None:
            imperfection = PERFECT if chosen.perfect else Imperfection()
        self._serial_number = f"ES4HR24C{seed % 10000:04d}"
        electronics = Electronics(imperfection, seed)
        self._clock = clock
        truth.write(
            "potentiostat",
            "instrument",
            serial_number=self._serial_number,
            seed=seed,
            **electronics.calibration.as_truth(),
        )
        self._sender = PatientSender(
            patience_s=chosen.host_patience_s, on_loss=self._lost, closed=lambda: self._closed
        )
        self._machine = machine = Machine(cell, clock, truth, electronics, self._say)
        machine.set_current_type = chosen.set_current_type
        machine.sample_at_start = chosen.sample_at_start
        machine.on_gpio = chosen.on_gpio
        if chosen.gpio_inputs is not None:
            machine.gpio_inputs = chosen.gpio_inputs
        self.files = machine.files
        self._registers = {number: value for number, (value, _, _) in _REGISTERS.items()}
        self._registers[0x06] = self._serial_number
        self._in_flash: Program | None = None
        self._loaded: Program | None = None
        self._loader: Loader | None = None
        self._loading = ""
        self._typed = bytearray()
        self._deaf_until = 0.0
        self._rest_is_deaf = False
        self._changed = threading.Condition()
        self._job: Program | None = None
        self._running = False
        self._closed = False
        self._power_was_cut = False
        self._programs_until_hold: int | None = None  # None: none will be held
        self._hold_after_s = self._began_s = 0.0
        self._holding = ExitStack()
        self._plain_commands: dict[str, Callable[[], str]] = {
            "t": self._firmware,
            "i": self._identity,
            "v": self._version,
            "m": self._multichannel,
            "CC": self._line_capabilities,
            "CM": self._script_capabilities,
            "l": self._begin_load,
            "e": self._begin_execute,
            "r": self._run_loaded,
            "Fmscr": self._to_flash,
            "Lmscr": self._from_flash,
            "h": self._not_now,
            "H": self._not_now,
            "Z": self._not_now,
            "Y": self._not_now,
            "R": self._not_now,
            "fs_info": self._file_info,
            "fs_clear": self._clear_files,
            "fs_format": self._clear_files,
            "fs_mount": self._mount,
            "fs_unmount": self._mount,
        }
        self._file_commands: dict[str, Callable[[str], str]] = {
            "fs_dir": self._list_files,
            "fs_get": self._get_file,
            "fs_del": self._delete_file,
        }
        self.line = self._sender.line = ByteServer(
            self._receive,
            prefer_pty=prefer_pty,
            on_fault=self._fault,
            faults=FAULTS,
            seed=seed,
        )
        self.address = self.line.address
        self._worker = threading.Thread(target=self._work, name="potentiostat", daemon=True)
        self._worker.start()

    def close(self) -> None:
        """Switch the instrument off and close its line; may be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._machine.ask(POWER_OFF)
        self.line.close()
        self._clock.wake()
        self._worker.join()

    @property
    def drives_cell(self) -> bool:
        """Return whether a script runs, or the cell is switched on."""
        return self._running or self._machine.cell_is_on

    def inject(self, fault: str, **options: object) -> None:
        """Break something of `FAULTS`.

        ``held_bytes`` and ``error_when_full`` are as in `FileStore`. A program that is held may be
        aborted: with ``hold`` a state that lasts a moment lasts.
        """
        self.line.inject(fault, **options)

    # ---- the worker: scripts, and the time between them

    def _work(self) -> None:
        lives_on = self._behaviour.idle
        while True:
            with self._changed:
                if not lives_on:
                    self._changed.wait_for(self._is_wanted)
                if self._closed:
                    return
                if self._power_was_cut:
                    self._power_was_cut = False
                    self._machine.take_back(POWER_OFF)
                    self._machine.files.lose_power()
                    self._machine.cell_off()
                    self._machine.power_up()
                job, self._job = self._job, None
            if job is None:
                arrived = self._machine.idle(_IDLE_STRIDE_S, self._is_wanted)
                # A clock that was closed does not make anybody wait, so nothing may move any more.
                lives_on = self._behaviour.idle and (arrived or self._is_wanted())
                continue
            with self._clock.hurry("script"):
                self._run(job)

    def _is_wanted(self) -> bool:
        return self._closed or self._power_was_cut or self._job is not None

    def _run(self, program: Program) -> None:
        machine = self._machine
        machine.begin_script()
        lines = program.text.count("\n")
        machine.write_truth("script", lines=lines)
        if lines > 1:  # a script of one line opens the cell
            self._count_program()
        ending = "\n"
        try:
            program.function(machine)
        except PowerLostError:
            ending = ""
        except (ScriptError, UnrepresentableValueError) as error:
            code = error.code if isinstance(error, ScriptError) else "4037"
            ending = self._error_ending(code, program.line_of_error(error.__traceback__))
        except Exception as error:  # a fault of the simulation must not look like a dead instrument
            _log.exception("the simulated script failed")
            ending = self._error_ending("0001", program.line_of_error(error.__traceback__))
        self._release()
        machine.flush()
        machine.write_truth("script_end", cell_is_on=machine.cell_is_on)
        with self._changed:
            self._running = False
        if ending:
            # Also to a host that has not read for long: when it does, it must see an end.
            self.line.send(ending.encode("ascii"))

    def _error_ending(self, code: str, line: int) -> str:
        self._machine.write_truth("script_error", code=code, line=line)
        return f"!{code}: Line {line}\n" + ("\n" if self._behaviour.blank_line_after_error else "")

    def _say(self, data: bytes) -> None:
        """Send what a script says."""
        if self.line.broken.is_due("out-of-range"):
            data = b"".join(map(self._broken, data.splitlines(keepends=True)))
        self._sender.send(data)

    def _broken(self, line: bytes) -> bytes:
        """Return a package with a value that cannot be, if one is due."""
        broken = self.line.broken
        variables = line.split(b";")
        column = int(broken.option("out-of-range", "column", 0))
        if line.startswith(b"P") and column < len(variables):
            begin = len(b"Pda") if column == 0 else len(b"da")
            value = format_value(broken.told(0.0, _IMPOSSIBLE)).encode("ascii")
            old = variables[column]
            variables[column] = old[:begin] + value + old[begin + len(value) :]
        return b";".join(variables)

    def _lost(self) -> None:
        self._machine.write_truth("output_lost")

    # ---- the line: called in the server's thread

    def _receive(self, data: bytes) -> bytes:
        now = time.monotonic()
        if now < self._deaf_until:
            if self._rest_is_deaf:  # the rest of a refused script is not taken for commands
                self._deaf_until = now + self._behaviour.deaf_after_error_s
            return b""
        self._rest_is_deaf = False
        answer = bytearray()
        self._typed += data
        while True:
            end = self._typed.find(b"\n")
            if end < 0:
                if len(self._typed) > _LONGEST_COMMAND:
                    answer += self._refuse(self._typed[:1].decode("latin-1"), "0008")
                return bytes(answer)
            text = self._typed[:end].decode("latin-1")
            del self._typed[: end + 1]
            try:
                answer += self._line_received(text).encode("ascii", "replace")
            except Exception:  # a fault of the simulation must not look like a dead line
                _log.exception("the simulated instrument failed on %r", text)
                self._loader = None
                answer += self._refuse(text[:1], "7FFF")
            if self._deaf_until > time.monotonic():
                self._typed.clear()
                return bytes(answer)

    def _line_received(self, text: str) -> str:
        if self._loader is not None:
            return self._load(text)
        with self._changed:
            if self._running:
                return self._while_running(text)
        try:
            if self.line.broken.due("refuse"):
                raise _Refused("0006")
            return self._command(text)
        except _Refused as refused:
            return self._refuse(text[:1], refused.code).decode("latin-1")

    def _refuse(self, echo: str, code: str) -> bytes:
        self._deaf_until = time.monotonic() + self._behaviour.deaf_after_error_s
        self._typed.clear()
        return f"{echo}!{code}\n".encode("ascii", "replace")

    def _while_running(self, text: str) -> str:
        """Answer a line that came while a script runs; the condition is held."""
        self._sender.heard()
        if not text:
            return ""  # an empty line would look like the script's end
        if text == "t":
            return self._command(text)
        if text == "H":
            self._machine.take_back(HALT)
        elif text in _COMMANDS_OF_RUNNING_SCRIPT:
            self._machine.ask(_COMMANDS_OF_RUNNING_SCRIPT[text])
        else:
            return f"{text[:1]}!0006\n"
        self._clock.wake()
        return f"{text}\n"

    # ---- commands of an idle instrument

    def _command(self, text: str) -> str:
        if not text:
            return "\n" if self._behaviour.blank_line_answered else ""
        word, _, rest = text.partition(" ")
        if word.startswith("fs_") and not self.files.present:
            raise _Refused("0003")
        plain = self._plain_commands.get(text)
        if plain is not None:
            return plain()
        with_path = self._file_commands.get(word)
        if with_path is not None:
            if not rest:
                raise _Refused("004B")
            return with_path(rest)
        if text[0] in "GS":
            return self._register(text)
        raise _Refused("0003")

    def _firmware(self) -> str:
        return f"t{self._behaviour.firmware}\nR*\n"

    def _identity(self) -> str:
        return f"i{self._serial_number}\n"

    def _version(self) -> str:
        return f"v{self._behaviour.script_version}\n"

    def _multichannel(self) -> str:
        raise _Refused("0048")

    def _line_capabilities(self) -> str:
        names = (*self._plain_commands, *self._file_commands, "S", "G")
        return f"C{bit_field(names, LINE_COMMAND_BITS)}\n"

    def _script_capabilities(self) -> str:
        return f"C{bit_field(COMMANDS, SCRIPT_COMMAND_BITS)}\n"

    def _not_now(self) -> str:
        raise _Refused("0006")

    def _register(self, text: str) -> str:
        if len(text) < 3:
            raise _Refused("004B")
        try:
            number = int(text[1:3], 16)
        except ValueError:
            raise _Refused("006D") from None
        if number not in _REGISTERS:
            raise _Refused("0004")
        _, readable, writable = _REGISTERS[number]
        if text[0] == "G":
            if len(text) > 3:
                raise _Refused("0007")
            if not readable:
                raise _Refused("0043")
            return f"G{self._registers[number]}\n"
        if not writable:
            raise _Refused("0005")
        value = text[3:].upper()
        if len(value) != len(_REGISTERS[number][0]) or any(
            digit not in "0123456789ABCDEF" for digit in value
        ):
            raise _Refused("0007")
        self._registers[number] = value
        return "S\n"

    # ---- scripts

    def _begin_load(self) -> str:
        self._loader, self._loading = self._new_loader(), "l"
        return ""

    def _begin_execute(self) -> str:
        self._loader, self._loading = self._new_loader(), "e"
        return ""

    def _new_loader(self) -> Loader:
        unknown = frozenset[str]() if self.files.present else FILE_COMMANDS
        return Loader(self._behaviour.script_memory_bytes, unknown)

    def _load(self, text: str) -> str:
        """Take one line of a script; the empty one ends it."""
        loader = self._loader
        if loader is None:
            raise AssertionError("no script is being loaded")
        try:
            if text:
                loader.line(text)
                return ""
            program = loader.finish()
        except LoadError as error:
            self._loader = None
            self._refuse("", error.code)
            self._rest_is_deaf = True
            return f"{self._loading}!{error.code}: Line {error.line}, Col {error.column}\n"
        self._loader = None
        self._loaded = program
        return self._start("e") if self._loading == "e" else "l\n"

    def _run_loaded(self) -> str:
        return self._start("r")

    def _start(self, echo: str) -> str:
        if self._loaded is None:
            raise _Refused("000C")
        self._machine.take_back(ABORT | SKIP | HALT | REVERSE)
        self._sender.heard()
        # The answer is queued before the worker can say anything: the worker needs this lock to
        # begin.
        with self._changed:
            self._job = self._loaded
            self._running = True
            self.line.send((echo + ("\n" if self._behaviour.line_after_run else "")).encode())
            self._changed.notify_all()
        self._clock.wake()
        return ""

    def _to_flash(self) -> str:
        if self._loaded is None:
            raise _Refused("000C")
        self._in_flash = self._loaded
        return "F\n"

    def _from_flash(self) -> str:
        if self._in_flash is None:
            raise _Refused("000C")
        self._loaded = self._in_flash
        return "L\n"

    # ---- files. The layout of a listing was not read: one line "name;size" per file is a choice

    def _list_files(self, path: str) -> str:
        folder = FileStore.normal(path).rstrip("/") + "/"
        files = self.files.files
        lines = [
            f"{name};{len(files[name])}\n" for name in sorted(files) if name.startswith(folder)
        ]
        return "f\n" + "".join(lines) + "\n"

    def _get_file(self, path: str) -> str:
        content = self.files.files.get(FileStore.normal(path))
        if content is None:
            raise _Refused("009F")
        return "f\n" + content.decode("ascii") + "\x1c\n"

    def _delete_file(self, path: str) -> str:
        if self.files.files.pop(FileStore.normal(path), None) is None:
            raise _Refused("009F")
        return "f\n"

    def _file_info(self) -> str:
        used = -(-self.files.used_bytes // 1024)
        return f"fused:{used}kB free:{self.files.capacity_bytes // 1024 - used}kB\n"

    def _clear_files(self) -> str:
        self.files.files.clear()
        return "f\n"

    def _mount(self) -> str:
        return "f\n"

    # ---- faults

    def _count_program(self) -> None:
        """Hold the clock if the program that begins is the one to be held in."""
        with self._changed:
            self._began_s = self._clock.now()
            if self._programs_until_hold is None:
                return
            self._programs_until_hold = max(0, self._programs_until_hold - 1)
            if self._programs_until_hold == 0:
                self._hold()

    def _hold(self) -> None:
        """Let the clock stand still, in time, until `_release`; the condition is held."""
        self._holding.close()
        if self._hold_after_s:
            begin = self._began_s + self._hold_after_s
            self._holding.enter_context(self._clock.held_from(begin, "fault", self._is_held))
        else:
            self._holding.enter_context(self._clock.held("fault"))
            self._is_held()

    def _is_held(self) -> None:
        self._programs_until_hold = None
        self._machine.write_truth("held")

    def _release(self) -> None:
        with self._changed:
            self._holding.close()

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        if fault == "clock-jump":
            self._machine.set_timer_forward(number_of(options, "seconds", 60.0))
        if fault == "file-store":
            self._change_file_store(options)
        if fault == "resume":
            self._programs_until_hold = None
            self._release()
        if fault == "hold":
            with self._changed:
                programs = int(float(str(options.get("programs", 0))))
                self._hold_after_s = number_of(options, "after_s", 0.0)
                if programs or self._hold_after_s:
                    self._programs_until_hold = programs
                if self._running and not programs:
                    self._hold()
                elif self._programs_until_hold is None:
                    raise ValueError("no program runs that the clock could be held in")
        if fault != "power-cycle":
            return
        with self._changed:
            self._loaded = self._loader = self._job = None
            self._typed.clear()
            self._running = False
            self._power_was_cut = True
            self._machine.ask(POWER_OFF)
            self._changed.notify_all()
        self._clock.wake()

    def _change_file_store(self, options: dict[str, object]) -> None:
        numbers = {name: int(float(str(value))) for name, value in options.items()}
        store = self.files
        if "kilobytes" in numbers:
            store.capacity_bytes = numbers["kilobytes"] * 1024
        store.present = bool(numbers.get("present", store.present))
        store.held_bytes = numbers.get("held_bytes", store.held_bytes)
        store.error_when_full = bool(numbers.get("error_when_full", store.error_when_full))


class _Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """A command of the line is answered with an error."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def serve(
    cell: ImpedantCell,
    clock: LeadingClock,
    truth: TruthWriter,
    seed: int = 0,
    prefer_pty: bool = True,
    **options: Any,
) -> EmStat4:
    """Start a simulated EmStat4 HR on a line of its own.

    Args:
        cell: the cell at its leads.
        clock: led by the instrument.
        truth: gets what really happened.
        seed: of the instrument's errors and noise.
        prefer_pty: a pseudo-terminal where there are any, else TCP.
        options: fields of `Behaviour`, and ``imperfection``.

    Returns:
        The instrument: ``.address``, ``.inject(fault)``, ``.close()``.
    """
    imperfection = options.pop("imperfection", None)
    known = {one.name for one in fields(Behaviour)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(f"unknown options {unknown}; known are {sorted(known)}")
    return EmStat4(
        cell,
        clock,
        truth,
        seed,
        prefer_pty=prefer_pty,
        imperfection=imperfection,
        behaviour=Behaviour(**options),
    )
