"""What each instrument says when it is connected."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from instruments.transport import DIALOGUES

_LONGEST = 200_000
RESULT = "connection.txt"


def dialogues(bench: str) -> list[tuple[str, str, str]]:
    """Connect a bench, leave it safe, and return (file, about, text) of what was said.

    What has no line of text (cameras, spectrometers behind their maker's library, folders) tells
    only who it is, or why it did not connect.
    """
    with tempfile.TemporaryDirectory(prefix="operando-doctor-") as name:
        folder, before = Path(name), os.environ.get(DIALOGUES)
        os.environ[DIALOGUES] = name
        try:
            result = "\n".join(_connected(bench)) + "\n"
        finally:
            if before is None:
                del os.environ[DIALOGUES]
            else:
                os.environ[DIALOGUES] = before
        told = [(RESULT, "who answered, and who did not", result)]
        for path in sorted(folder.iterdir()):
            text = path.read_text("ascii", "replace")
            cut = f"\n# ... {len(text) - _LONGEST} characters more\n" * (len(text) > _LONGEST)
            told.append((path.name, "what was sent and received", text[:_LONGEST] + cut))
    return told


def _connected(bench: str) -> Iterator[str]:
    from instruments.bench import Bench, BenchConnectionError
    from operando.configuration import load_bench_leniently

    file, left_out = load_bench_leniently(bench)
    for name, (_, why) in left_out.items():
        yield f"{name}: left out, it cannot be used: {why}"
    built = Bench(file)
    try:
        built.connect()
        for name, one in built.metadata()["bench"]["instruments"].items():
            told = ", ".join(f"{key} {value}" for key, value in (one["identity"] or {}).items())
            yield f"{name}: connected: {told}"
    except BenchConnectionError as error:
        for name in file.instruments:
            failure = error.failures.get(name)
            yield f"{name}: {'did not fail' if failure is None else f'NOT CONNECTED: {failure}'}"
    finally:
        built.close()
    for sentence in built.left_unsafe:
        yield f"NOT LEFT SAFE: {sentence}"
