"""The maker's own grammar of MethodSCRIPT, in pypalmsens; its .NET half is not needed."""

from pathlib import Path
from typing import Any

from benchmarks.peers.clients.bare import bare


def grammar(address: str, folder: Path) -> dict[str, Any]:
    """Parse each script of the folder ``address``; tell what was refused, each with its reasons.

    What begins with ``damaged`` is there to be refused.
    """
    del folder
    bare("pypalmsens")
    from pypalmsens._methodscript import validate

    found: dict[str, Any] = {"parsed": 0, "lines": 0, "refused": {}, "damaged": 0, "let pass": []}
    for path in sorted(Path(address).iterdir()):
        text = path.read_text(encoding="ascii")
        reasons = ""
        try:
            validate(text)
        except SyntaxError as error:
            reasons = str(error)
        if path.name.startswith("damaged"):
            found["damaged"] += 1
            found["let pass"] += [] if reasons else [path.stem]
            continue
        found["parsed"] += 1
        found["lines"] += text.count("\n")
        if reasons:
            found["refused"][path.stem] = reasons.splitlines()[:5]
    return found
