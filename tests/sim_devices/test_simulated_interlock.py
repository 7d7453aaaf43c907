"""The simulated relay module, asked by pyserial and nothing of ours."""

import contextlib
import time
from pathlib import Path

import pytest
import serial

from sim_devices.bench import Bench
from sim_devices.cell import make_cell
from sim_devices.dcon import DconRelays
from sim_devices.truth import Truth, read_truth

PAGES = Path(__file__).parents[1] / "transcripts" / "dcon"
SILENCE_S = 0.03


class Host:
    """A port, and what is said and heard on it."""

    def __init__(self, module):
        self.module = module
        self.port = serial.Serial(module.address.removeprefix("serial://"), timeout=50)

    def ask(self, text):
        self.port.write(text.encode() + b"\r")
        return self.port.read_until(b"\r").decode().removesuffix("\r")

    def tell(self, text, wait_s=SILENCE_S):
        self.port.write(text.encode() + b"\r")
        time.sleep(wait_s)
        assert self.port.in_waiting == 0

    def contacts(self):
        return [self.module.relay(n) for n in range(4)]


@pytest.fixture
def start():
    with contextlib.ExitStack() as stack:

        def started(**more):
            host = Host(stack.enter_context(contextlib.closing(DconRelays(**more))))
            stack.callback(host.port.close)
            return host

        yield started


def pages(name):
    blocks = (PAGES / name).read_text().split("\n\n")
    return {page: turns for page, *turns in (block.strip().split("\n") for block in blocks)}


@pytest.mark.parametrize(
    ("name", "page"), [(n, page) for n in ("manual.txt", "checksum.txt") for page in pages(n)]
)
def test_it_answers_as_the_manuals_say(start, name, page):
    host = start(checksum=name == "checksum.txt")
    turns = [(turn[0], turn[2:]) for turn in pages(name)[page]]
    for (way, text), (next_way, answer) in zip(turns, [*turns[1:], (">", "")], strict=True):
        if way == ">" and next_way == "<":
            assert host.ask(text) == answer
        elif way == ">":
            host.tell(text)


def test_without_the_host_its_relays_open_and_stay_open_until_that_is_acknowledged(start, tmp_path):
    with contextlib.ExitStack() as stack:
        late_s, folder = 1.0, tmp_path
        while late_s > 0.2:  # a computer that stood still for so long tells nothing of the module
            folder /= "again"
            host = start(truth=stack.enter_context(Truth(folder)))
            late_s, before = 0.0, time.monotonic()
            assert (host.ask("~013103"), host.ask("@013")) == ("!01", ">")
            for _ in range(8):  # longer than 0.3 s in all
                host.tell("~**", 0.06)
                late_s, before = max(late_s, time.monotonic() - before), time.monotonic()
            held = host.contacts()
            late_s = max(late_s, time.monotonic() - before)
        assert held == [True, True, False, False]
        for _ in range(8):  # other questions are no sign that the host is well
            host.ask("$01M")
            time.sleep(0.06)
        assert host.contacts() == [False] * 4
        assert host.ask("~010") == "!0184"
        assert host.ask("$016") == "!000000"
        assert (host.ask("@013"), host.ask("#010003"), host.ask("#011001")) == ("!", "!", "!")
        assert host.contacts() == [False] * 4
        assert (host.ask("~011"), host.ask("~010"), host.ask("@011")) == ("!01", "!0180", ">")
        assert host.contacts() == [True, False, False, False]
        host.tell("", 0.4)  # and it watches again
        assert host.contacts() == [False] * 4
        told = [line for line in read_truth(folder, "interlock") if line["event"] == "watchdog"]
        assert [line["timeout_s"] for line in told] == [0.3, 0.3]


def test_a_power_cycle_opens_its_relays_and_forgets_neither_values_nor_what_has_tripped(start):
    host = start()
    for said in ("@012", "~015P", "@011", "~015S", "@01F"):
        assert host.ask(said) in (">", "!01")
    host.module.line.inject("power-cycle", seconds=0.15)
    assert host.contacts() == [False] * 4
    host.tell("$01M", 0.25)
    assert host.contacts() == [False, True, False, False]
    assert (host.ask("~012"), host.ask("$015")) == ("!010FF", "!011")
    host.module.line.inject("trip")
    host.module.line.inject("power-cycle", seconds=0.0)
    host.tell("", 0.05)
    assert host.contacts() == [True, False, False, False]
    assert host.ask("@010") == "!"


def test_a_stuck_relay_reads_back_as_it_is_and_a_welded_one_as_it_was_told(start):
    host = start()
    host.ask("@01F")
    host.module.line.inject("weld", relay=0)
    host.module.line.inject("stuck", relay=1.0)
    assert (host.ask("@010"), host.ask("@01")) == (">", ">0200")
    assert host.contacts() == [True, True, False, False]
    host.module.line.inject("repair")
    host.ask("@010")
    assert host.contacts() == [False] * 4


def test_its_checksum_can_be_wrong(start):
    host = start(checksum=True)
    host.module.line.inject("wrong-checksum", count=1)
    assert [host.ask("$01MD2") for _ in range(2)] == ["!0170604E", "!0170604F"]


@pytest.mark.parametrize("preset", ["zn-bare", "dummy-100ohm"])
def test_its_first_relay_is_in_the_lead_of_the_cell(start, preset):
    from sim_devices.served import cell_lead

    cell = make_cell(preset, 1)
    cell.inject("contact", ohm=3.0)
    host = start(on_relay={0: cell_lead(cell)})
    assert cell.contact_ohm == 1e9
    _, current = cell.potential("E", 0.1)
    assert abs(current) < 1e-4
    host.ask("@011")
    assert cell.contact_ohm == 3.0
    assert abs(cell.potential("E", 0.1)[1]) > 0.1
    host.ask("@010")
    cell.inject("contact", ohm=7.0)  # somebody meddles with the leads meanwhile
    host.ask("@011")
    assert cell.contact_ohm == 7.0


@contextlib.contextmanager
def wired(folder, *instruments):
    """A bench in this process, and what the relays of its interlock are told."""
    bench = Bench(folder, "zn-bare-half", instruments=("interlock", *instruments))
    with contextlib.closing(bench):
        address = (folder / "interlock").read_text().strip().removeprefix("serial://")
        with serial.Serial(address, timeout=50) as port:

            def relays(mask):
                port.write(f"@01{mask:X}\r".encode())
                assert port.read_until(b"\r") == b">\r"

            yield bench, relays


def test_on_a_bench_it_holds_the_cell_and_the_laser_that_a_relay_switches(tmp_path):
    with wired(tmp_path, "relay_board", "raman_ocean") as (bench, relays):
        board = (tmp_path / "relay_board").read_text().strip().removeprefix("serial://")
        with serial.Serial(board, timeout=50) as port:
            for command in (b"", b"relay on 1"):
                port.write(command + b"\r")
                port.read_until(b">")
            shone = []
            for mask in (0, 1, 2, 3, 0):
                relays(mask)
                shone.append((bench.cell.contact_ohm < 1e9, bench.lights.laser_mw))
    assert shone == [(False, 0.0), (True, 0.0), (False, 100.0), (True, 100.0), (False, 0.0)]
    truth = [x["power_mw"] for x in read_truth(tmp_path / "sim_truth", "raman")]
    assert truth == [100.0, 0.0]


def test_on_a_bench_it_holds_the_laser_that_the_spectrometer_drives(tmp_path):
    with wired(tmp_path, "raman") as (bench, relays):
        raman = bench._instruments["raman"]
        raman.control(0x40, 0xBE, 1, 0, 0, b"")
        told = []
        for mask in (0, 2, 1):
            relays(mask)
            told.append((raman.control(0xC0, 0xEF, 0, 0, 1, b""), raman.laser_mw > 0))
    assert told == [(b"\0", False), (b"\1", True), (b"\0", False)]
