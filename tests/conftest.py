"""What all tests share."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench", action="store_true", help="also run what needs real instruments")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--bench"):
        kept = [item for item in items if item.get_closest_marker("bench") is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
