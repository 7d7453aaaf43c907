"""What makes the instruments of a bench safe with their drivers alone."""

from typing import Any

import pytest

from instruments.bench_file import BenchFile
from instruments.errors import UnsupportedTechniqueError
from instruments.making_safe import resorts
from instruments.potentiostat.entry import MethodScriptEntry


class Stoppable:
    """A driver that knows no more than to stop."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def connect(self) -> None:
        self.asked.append("connect")

    def stop(self) -> None:
        self.asked.append("stop")


class WithoutAnEnd:
    """A driver that can start and not stop."""

    def connect(self) -> None:
        raise AssertionError("it is refused before anything is opened")


def bench_of(driver: object) -> BenchFile:
    class Entry(MethodScriptEntry):
        def driver(self, *_: Any) -> Any:
            return driver

    entry = Entry(kind="potentiostat", language="methodscript", address="tcp://127.0.0.1:1")
    return BenchFile.model_construct(name="bench", instruments={"potentiostat": entry})


def test_a_driver_that_can_only_stop_is_stopped() -> None:
    driver = Stoppable()
    ((resort,),) = resorts(bench_of(driver))
    assert resort.make_safe() == "cell open"
    assert driver.asked == ["connect", "stop"]


def test_a_driver_that_can_make_nothing_safe_is_refused_before_anything_is_driven() -> None:
    with pytest.raises(
        UnsupportedTechniqueError,
        match=r"the potentiostat potentiostat cannot be made safe: .*WithoutAnEnd has neither",
    ):
        resorts(bench_of(WithoutAnEnd()))
