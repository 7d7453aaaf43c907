"""Rows on their way into the record, and what becomes of an exchange that fails at the very end."""

import time
from typing import Any

import pytest

from instruments._follower import Follower
from instruments.errors import TransportError
from plans.saving import wait_for


class Unplugged(Follower):
    """A follower whose line is gone."""

    def _acquire(self, **request: Any) -> tuple[dict[str, float], int]:
        raise TransportError("serial:///dev/ttyACM0: the port is gone")


def test_an_exchange_that_fails_when_nothing_is_left_to_do_is_not_passed_over() -> None:
    """The RunEngine hears of its status only with the message after: there may be none."""
    follower = Unplugged(name="thermostat")
    try:
        follower.trigger()
        deadline = time.monotonic() + 10.0
        while follower.busy:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        with pytest.raises(TransportError, match="thermostat: serial:///dev/ttyACM0"):
            list(wait_for({"temperature": follower}, course=None))  # type: ignore[arg-type]
    finally:
        follower.close_worker()
