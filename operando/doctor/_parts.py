"""The parts of a support bundle, each a text."""

import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from operando.doctor._masking import MASKED, Mask, is_secret_variable

RUNS = 20
LINES = 300
_LONGEST = 200_000
_TOLD_VARIABLES = re.compile(
    r"OPERANDO_\w+|BENCH_\w+|TILED_\w+|PYTHON\w*|VIRTUAL_ENV|PYLON\w*|GENICAM\w*|HDF5_\w+|XDG_\w+|"
    r"LANG|LANGUAGE|LC_\w+|TZ|TERM|\w+_proxy|\w+_PROXY"
)
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)


def versions() -> str:
    """Return which versions of what run here."""
    import sqlite3
    import ssl

    from operando import __version__

    lines = [
        f"operando {__version__} ({Path(__file__).parents[2]})",
        f"python {platform.python_version()} ({sys.executable})",
        f"system {platform.platform()}",
        f"machine {platform.machine()}, {os.cpu_count()} processors",
        f"sqlite {sqlite3.sqlite_version}",
        f"ssl {ssl.OPENSSL_VERSION}",
        *_libraries(),
        "",
        "Packages:",
    ]
    found = {one.name: one.version for one in importlib.metadata.distributions()}
    lines += [f"{name} {found[name]}" for name in sorted(found, key=str.lower)]
    return "\n".join(lines) + "\n"


def _libraries() -> Iterator[str]:
    import usb.backend.libusb1

    from instruments.camera._libaravis import Aravis
    from instruments.errors import InstrumentError

    backend = usb.backend.libusb1.get_backend()
    yield "libusb 1: " + ("not found" if backend is None else "found")
    try:
        yield f"aravis {Aravis().version}"
    except InstrumentError as error:
        yield f"aravis: {error}"


def settings(data_dir: Path) -> str:
    """Return which variables are set that change what happens, and the folders in use."""
    lines = ["Variables:"]
    for name in sorted(os.environ):
        if _TOLD_VARIABLES.fullmatch(name):
            value = MASKED if is_secret_variable(name) else os.environ[name]
            lines.append(f"{name}={value}")
    lines += ["", "Folders:"]
    from operando.settings import config_dir, simulator_dir

    for what, find in (
        ("configuration", config_dir),
        ("data", lambda: data_dir),
        ("simulator", simulator_dir),
    ):
        try:
            lines.append(f"{what}: {_told_folder(find())}")
        except OSError as error:
            lines.append(f"{what}: {error}")
    return "\n".join(lines) + "\n"


def _told_folder(path: Path) -> str:
    if not path.exists():
        return f"{path}, which does not exist"
    told = path.stat()
    disk = shutil.disk_usage(path)
    return (
        f"{path}, {stat.filemode(told.st_mode)}, of uid {told.st_uid}; free "
        f"{disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB"
    )


def bench(name: str, mask: Mask) -> str:
    """Return a bench file without its comments, and without its secrets."""
    from operando.configuration import ConfigurationError, bench_path, read_tree

    path = bench_path(name)
    head = f"# {path}, its comments left out\n"
    try:
        return (head + _yaml(mask.tree(read_tree(path))))[:_LONGEST]
    except ConfigurationError as error:
        # As it is, then: what is wrong with it may be all that is to be seen.
        with path.open(encoding="utf-8", errors="replace") as file:
            text = _COMMENT.sub("", file.read(_LONGEST))
        return f"{head}# {' '.join(str(error).split())}\n{text}"


def bench_understood(name: str) -> str:
    """Return what is understood of a bench file, and what is wrong with the rest."""
    from operando.configuration import load_bench_leniently

    file, left_out = load_bench_leniently(name)
    lines = [f"bench {file.name}"]
    for one, entry in file.instruments.items():
        lines.append(f"{one}: {entry.kind} {entry.language} at {', '.join(entry.addresses) or '-'}")
    lines += [f"{one}: LEFT OUT: {why}" for one, (_, why) in left_out.items()]
    return "\n".join(lines) + "\n"


def ports(name: str) -> str:
    """Return the serial ports and USB devices there are, and who may open those of the bench."""
    from serial.tools import list_ports

    lines = ["Serial ports:"]
    for port in sorted(list_ports.comports()):
        may = _access(Path(port.device))
        lines.append(f"{port.device}: {port.description}; {port.hwid}; {may}")
    for folder in (Path("/dev/serial/by-id"), Path("/dev/serial/by-path")):
        if folder.is_dir():
            lines += [f"{path} -> {os.path.realpath(path)}" for path in sorted(folder.iterdir())]
    lines += ["", "USB devices:"]
    for device in sorted(Path("/sys/bus/usb/devices").glob("*")):
        told = [_line_of(device / key) for key in ("idVendor", "idProduct", "product", "serial")]
        if told[0]:
            lines.append(f"{device.name}: {told[0]}:{told[1]} {told[2]} {told[3]}".rstrip())
    lines += ["", "Addresses of the bench:", *_addresses(name)]
    return "\n".join(lines) + "\n"


def _addresses(name: str) -> Iterator[str]:
    from instruments.errors import InstrumentError
    from instruments.transport import resolve
    from operando.configuration import load_bench_leniently

    file, _ = load_bench_leniently(name)
    for one, entry in file.instruments.items():
        for address in entry.addresses:
            try:
                real = resolve(address)
            except InstrumentError as error:
                yield f"{one}: {error}"
                continue
            scheme, _, rest = real.partition("://")
            told = f": {_access(Path(rest.partition('?')[0]))}" if scheme == "serial" else ""
            yield f"{one}: {real}{told}"


def _access(path: Path) -> str:
    try:
        told = path.stat()
    except OSError as error:
        return str(error.strerror)
    may = "may" if os.access(path, os.R_OK | os.W_OK) else "MAY NOT"
    who = f"{stat.filemode(told.st_mode)} uid {told.st_uid} gid {told.st_gid}"
    groups = os.getgroups()
    return f"{who}; this user ({os.getuid()}, groups {groups}) {may} open it"


def _line_of(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def runs(data_dir: Path, mask: Mask) -> str:
    """Return the newest runs: when, on what, how they ended and why."""
    from operando.journal import list_runs

    if not data_dir.is_dir():
        return f"There is no data folder {data_dir}.\n"
    found = list_runs(data_dir)
    lines = [f"The newest {min(RUNS, len(found))} of {len(found)} runs in {data_dir}:"]
    for one in found[:RUNS]:
        told = {
            "uid": one.uid,
            "time": one.time,
            "plan": one.plan_name,
            "protocol": one.protocol,
            "sample": one.sample,
            "status": one.exit_status,
            "reason": one.reason,
            "damage": one.damage,
            "resume_of": one.resume_of,
            "attachment_of": one.attachment_of,
            "journal_bytes": one.path.stat().st_size if one.path.exists() else None,
            "rows": one.rows if one.counted else None,
        }
        kept = {key: value for key, value in told.items() if value not in ("", None)}
        lines += ["", _yaml(mask.tree(kept)).rstrip()]
    return "\n".join(lines) + "\n"


def logs(data_dir: Path) -> list[Path]:
    """Return the logs of a data folder: of its catalog's service, and of guards that acted."""
    try:
        found = sorted((data_dir / "state").iterdir())
    except OSError:
        return []
    return [path for path in found if path.suffix in (".log", ".jsonl") and path.is_file()]


def tail(path: Path) -> str:
    """Return the last lines of a log."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LONGEST))
        text = file.read(_LONGEST).decode("utf-8", "replace")
    return "".join(text.splitlines(keepends=True)[-LINES:])


def run(uid: str, data_dir: Path, mask: Mask) -> str:
    """Return what the documents of a run tell, rows left out."""
    from operando.journal import documents, journal_path

    told: list[dict[str, Any]] = []
    pages: dict[str, int] = {}
    try:
        for name, doc in documents(journal_path(data_dir, uid)):
            if name in ("event", "event_page", "stream_datum"):
                pages[name] = pages.get(name, 0) + 1
            else:
                told.append({name: _plain(doc)})
    except Exception as error:
        # Any: a journal that cannot be read to its end may be what is the matter.
        told.append({"it ends here": f"{type(error).__name__}: {error}"})
    told.append({"documents_of_rows": pages})
    return _yaml(mask.tree(told))


def _yaml(value: Any) -> str:
    # Nothing is folded: half a secret at the end of a line would not be found.
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=math.inf))


def _plain(doc: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(doc, default=str))
