"""What a driver in a package of its own builds on."""

from instruments._driver import LineDriver

__all__ = ["LineDriver"]
