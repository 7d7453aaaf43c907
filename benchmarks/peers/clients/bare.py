"""Parts of packages whose own start imports what the peers do not have."""

import importlib
import importlib.util
import sys
from types import ModuleType


def bare(package: str) -> ModuleType:
    """Return a package whose ``__init__`` was not run; its modules can be imported then."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package {package!r}")
    found = ModuleType(package)
    found.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = found
    return found


def stand_in(module: str, *classes: str, base: type = Exception) -> None:
    """Put an empty module with empty classes in the place of one that is not there."""
    found = ModuleType(module)
    for name in classes:
        setattr(found, name, type(name, (base,), {}))
    sys.modules[module] = found


def labmcp() -> ModuleType:
    """Return LabMCP without its server: transports and errors, which its drivers use.

    The server wants fastmcp, of which the drivers see nothing but the base of their errors.
    """
    stand_in("fastmcp")
    stand_in("fastmcp.exceptions", "ToolError")
    found = bare("labmcp")
    for module in ("errors", "transports"):
        part = importlib.import_module(f"labmcp.{module}")
        for name in dir(part):
            if name[0].isupper():
                setattr(found, name, getattr(part, name))
    return found


def path_of(address: str) -> str:
    """Return the device file of a serial address."""
    return address.removeprefix("serial://")


def host_of(address: str) -> tuple[str, int]:
    """Return host and port of any other address."""
    host, _, port = address.partition("://")[2].partition(":")
    return host, int(port)
