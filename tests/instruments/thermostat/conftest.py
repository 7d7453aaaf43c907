"""A circulator that answers as the pages of its manual say, on a real socket."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest


@pytest.fixture
def manual(play_pages: Callable[..., Any]) -> Callable[..., Any]:
    """Start a circulator that plays the pages of the given names."""
    return partial(play_pages, "thermostat/driver.txt")
