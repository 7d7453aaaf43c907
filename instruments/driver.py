"""What a driver in a package of its own builds on."""

from instruments._driver import LineDriver, is_plain, number_in

__all__ = ["LineDriver", "is_plain", "number_in"]
