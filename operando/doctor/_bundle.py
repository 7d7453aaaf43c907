"""Put together what a bench is, how it is doing and what it said, and write it as one file."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from operando.doctor import _parts
from operando.doctor._dialogues import dialogues
from operando.doctor._masking import Mask, known_secrets

README = """\
A support bundle of operando, written {when} UTC by version {version}.

It was written to this computer's disk and sent nowhere. Before you hand it on, look through it:
every file is text.

Masked, as {masked}: what is called a password, key or token, user names and passwords in addresses,
what variables of such names hold, the keys of the catalog, private keys. The home folder is ~.
Not masked: names of samples, runs and files, reasons and notes, serial numbers, addresses of
instruments. No measured rows are in it.

{parts}"""


class DoctorError(Exception):
    """The bundle cannot be written; the message says what to do."""


@dataclass(frozen=True)
class Bundle:
    """A support bundle that was written.

    Attributes:
        path: The file.
        parts: Its files: name, bytes, and what is in it.
    """

    path: Path
    parts: tuple[tuple[str, int, str], ...]


def write_bundle(
    target: Path,
    *,
    bench: str,
    data_dir: Path,
    run: str | None = None,
    record: bool = False,
) -> Bundle:
    """Write a support bundle, a zip that only this user can read, and return what is in it.

    What cannot be told is told to be so: a bench that is broken is why one is asked for.

    Args:
        target: The file to make.
        bench: Name or path of a bench file.
        data_dir: The data folder, which need not be there.
        run: Whole uid of a run whose documents are to be in it, rows left out.
        record: Whether the bench is connected, and what each instrument says then written down.

    Raises:
        DoctorError: The file exists, or cannot be written.
    """
    if target.exists():
        raise DoctorError(f"{target} exists, and nothing is overwritten: name another file (--to)")
    mask = Mask(known_secrets(data_dir))
    told: list[tuple[str, str, str]] = []

    def part(name: str, about: str, tell: Callable[[], str]) -> None:
        try:
            text = tell()
        except Exception as error:
            # Any: whatever is broken is what this is for.
            text = f"This could not be told: {type(error).__name__}: {error}\n"
        told.append((name, mask.text(text), about))

    part("versions.txt", "versions of operando, Python, packages and libraries", _parts.versions)
    part(
        "settings.txt", "variables that are set, folders, disks", lambda: _parts.settings(data_dir)
    )
    part("bench.yaml", "the bench file", lambda: _parts.bench(bench, mask))
    part("bench.txt", "what is understood of it", lambda: _parts.bench_understood(bench))
    part("ports.txt", "serial ports, USB devices, who may open them", lambda: _parts.ports(bench))
    part("runs.txt", "the newest runs and why they ended", lambda: _parts.runs(data_dir, mask))
    for path in _parts.logs(data_dir):
        part(f"logs/{path.name}", "its last lines", partial(_parts.tail, path))
    if run is not None:
        part(
            f"run-{run[:8]}.yaml",
            "its documents without rows",
            lambda: _parts.run(run, data_dir, mask),
        )
    if record:
        for name, about, text in dialogues(bench):
            part(f"dialogues/{name}", about, partial(str, text))
    return _written(target, told)


def _written(target: Path, told: list[tuple[str, str, str]]) -> Bundle:
    from operando import __version__
    from operando.doctor._masking import MASKED

    when = datetime.now(UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    lines = "".join(f"{name}: {about}\n" for name, _, about in told)
    readme = README.format(when=when, version=__version__, masked=MASKED, parts=lines)
    parts = [("README.txt", readme, "what this is"), *told]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise DoctorError(
            f"{target} cannot be written ({error.strerror}): name another file (--to)"
        ) from error
    try:
        with (
            os.fdopen(fd, "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name, text, _ in parts:
                archive.writestr(name, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        target.unlink(missing_ok=True)
        raise DoctorError(f"{target} cannot be written ({error.strerror})") from error
    sizes = ((name, len(text.encode("utf-8", "replace")), about) for name, text, about in parts)
    return Bundle(target, tuple(sizes))
