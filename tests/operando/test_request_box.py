"""The box into which requests to a run are put: each is answered, and none meets another run."""

import threading

import pytest

from operando.session import RequestBox, RequestRefusedError
from techniques import SkipStep, StopCell

STOP = StopCell(by="Ada", why="wrong electrolyte")


def test_what_is_asked_while_nothing_runs_is_refused_at_once() -> None:
    box = RequestBox()
    with pytest.raises(RequestRefusedError, match="no run goes on"):
        box.put(STOP).answer(0.0)
    box.begin()
    assert box.take() is None


def test_a_request_is_taken_once_and_its_asker_hears_the_answer() -> None:
    box = RequestBox()
    box.begin()
    first, second = box.put(STOP), box.put(SkipStep(by="Bob"))
    with pytest.raises(TimeoutError, match="'stop' of Ada"):
        first.answer(0.0)
    taken = box.take()
    assert taken is not None
    assert taken.request == STOP
    thread = threading.Thread(target=taken.accept, args=("the cell is opened",))
    thread.start()
    assert first.answer(60.0) == "the cell is opened"
    thread.join()
    box.end("the run has ended")
    with pytest.raises(RequestRefusedError, match="the run has ended"):
        second.answer(0.0)
    assert box.take() is None
