"""Every driver can be left safe in any state, again and again, and from any thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, get_args

import pytest

from instruments.bench_file import BuiltIn, entries
from instruments.camera.aravis import AravisCamera
from instruments.camera.pylon import PylonCamera
from instruments.errors import InstrumentError
from instruments.external import WatchedFolder
from instruments.gas_chromatograph.contact import ContactGasChromatograph
from instruments.gas_chromatograph.valved import ValvedGasChromatograph
from instruments.lamp import SwitchedLamp
from instruments.relay_board import NumatoRelayBoard
from instruments.sampling_valve.vici import ViciValve
from instruments.sensor.keller_bus import KellerBusPressure
from sim_devices.cell import Cell
from sim_devices.keller import KellerTransmitter
from tests.instruments.test_refusals import World, driver_of

# Language -> the simulator that `World` knows, where it is called otherwise.
WORLDS = {
    "methodscript": "methodscript",
    "keithley": "keithley",
    "rodeostat": "rodeostat",
    "atlas_ezo_ph": "ezo",
    "srs_qcm200": "qcm200",
    "julabo": "julabo",
    "huber_pb": "huber",
    "vici": "vici",
    "zaber_ascii": "zaber",
    "numato": "numato",
    "wasatch": "wasatch",
    "ocean": "ocean",
    "fusion": "fusion",
    "dcon": "dcon",
}
LANGUAGES = sorted(
    language
    for entry in entries(BuiltIn)
    for language in get_args(entry.model_fields["language"].annotation)
)


class Made:
    """A driver, what it hangs on, and what ends its simulators."""

    def __init__(self, language: str, folder: Path) -> None:
        self.world = World(folder)
        self.stack = self.world.stack
        self.hangs_on: list[Any] = []
        self.driver = self._driver(language)

    def board(self) -> NumatoRelayBoard:
        board = NumatoRelayBoard(self.world.board())
        self.hangs_on.append(board)
        return board

    def _driver(self, language: str) -> Any:
        if language in WORLDS:
            self.world.start(WORLDS[language])
            return driver_of(WORLDS[language], self.world, WORLDS[language])
        match language:
            case "contact":
                self.world.start("vici")
                chromatograph = ContactGasChromatograph(self.board(), start_relay=0, ready_gpio=3)
                valve = ViciValve(self.world.address("vici"))
                self.hangs_on.append(valve)
                return ValvedGasChromatograph(chromatograph, valve)
            case "relay":
                return SwitchedLamp(self.board(), 2)
            case "folder":
                folder = self.world.folder / "files"
                folder.mkdir()
                return WatchedFolder(f"folder://{folder}", board=self.board(), start_relay=4)
            case "keller_bus":
                transmitter = KellerTransmitter(Cell("zn-bare"))
                self.stack.callback(transmitter.close)
                return KellerBusPressure(transmitter.address)
            case "pylon":
                return PylonCamera("pylon-emulation:///nowhere")
            case "aravis":
                return AravisCamera("gige://127.0.0.1:1")
        raise AssertionError(f"{language}: say here how it is simulated")


@pytest.fixture(params=LANGUAGES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    made = Made(request.param, tmp_path)
    with ExitStack() as stack:
        stack.callback(made.world.stack.close)
        for one in (*made.hangs_on, made.driver):
            stack.enter_context(suppress(InstrumentError))  # one that is gone
            stack.callback(one.close)
        yield made


def in_threads(call: Callable[[], object], times: int = 3) -> list[BaseException]:
    failures: list[BaseException] = []

    def body() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=body) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50.0)
        assert not thread.is_alive()
    return failures


def test_it_is_left_safe_before_it_was_connected_while_it_is_and_after_it_was_closed(
    made: Made,
) -> None:
    driver = made.driver
    assert in_threads(driver.safe_state) == []
    if isinstance(driver, PylonCamera | AravisCamera):
        return  # nothing here that could be connected; a camera drives nothing
    for one in made.hangs_on:
        one.connect()
    driver.connect()
    driver.safe_state()
    assert in_threads(driver.safe_state) == []
    driver.close()
    driver.safe_state()
    assert in_threads(driver.safe_state) == []


def test_one_that_is_gone_says_so_in_its_own_words_or_has_nothing_to_lose(made: Made) -> None:
    driver = made.driver
    if isinstance(driver, PylonCamera | AravisCamera):
        return
    for one in made.hangs_on:
        one.connect()
    driver.connect()
    made.world.stack.close()  # every simulator is gone, as with a pulled cable
    for failure in in_threads(driver.safe_state):
        assert isinstance(failure, InstrumentError)


@pytest.mark.parametrize("made", ["keithley", "methodscript", "rodeostat"], indirect=True)
def test_a_potentiostat_that_was_left_without_its_word_is_not_told_to_be_safe(made: Made) -> None:
    driver = made.driver
    driver.connect()
    made.world.stack.close()
    with pytest.raises(InstrumentError):
        driver.close()
    with pytest.raises(InstrumentError, match="did not confirm that its cell is open"):
        driver.safe_state()
