"""What the documentation shows works: commands parse, files validate, references agree."""

import ast
import contextlib
import importlib.util
import io
import math
import os
import re
import shlex
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import yaml
from event_model import compose_run
from pydantic import TypeAdapter

from instruments.bench_file import BenchFile
from operando.catalog._shared import SharedCatalog
from operando.cli import command_line
from operando.journal import JournalWriter, documents, journal_path
from techniques import Campaign, Cell, Protocol, Recording, SafetyLimits, Schedule, Technique
from techniques.queueing import StationsFile

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
# The word after "yaml" at the head of a block says what it is.
KINDS: dict[str, Any] = {
    "protocol": Protocol,
    "cell": Cell,
    "campaign": Campaign,
    "bench": BenchFile,
    "technique": Technique,
    "limits": SafetyLimits,
    "recording": Recording,
    "schedule": Schedule,
    "shared-catalog": SharedCatalog,
    "stations": StationsFile,
    "tiled-server": dict[str, Any],  # the shared catalog's tests start one with it
    "tiled-profile": dict[str, dict[str, str]],
}


def blocks(language: str) -> Iterator[Any]:
    for page in PAGES:
        for number, (_, head, text) in enumerate(BLOCK.findall(page.read_text("utf-8")), 1):
            words = head.split() or [""]
            # A block that is called like a file is one of a package, which is run as a whole.
            if words[0] == language and not words[-1].endswith(".yaml"):
                name = f"{page.relative_to(ROOT)}:{number}"
                yield pytest.param(" ".join(words[1:]), text, id=name)


def commands() -> Iterator[Any]:
    """Yield each operando command: lines of blocks, and code within sentences."""
    for page in PAGES:
        text = page.read_text("utf-8")
        found = [
            line
            for _, head, block in BLOCK.findall(text)
            if head.split()[:1] in ([], ["console"], ["bash"])
            for line in block.splitlines()
        ]
        found += re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
        for line in found:
            typed = line.strip().removeprefix("$ ")
            if not typed.startswith(("operando ", ".venv/bin/operando ")):
                continue  # a sentence with an apostrophe is no command with a quotation
            words = shlex.split(typed, comments=True)
            if len(words) > 1:
                yield pytest.param(words[1:], id=f"{page.relative_to(ROOT)}:{' '.join(words)}")


@pytest.mark.parametrize("words", list(commands()))
def test_every_command_in_the_documentation_is_one(words: list[str]) -> None:
    assert parsed(words)


def parsed(words: list[str]) -> bool:
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            command_line().parse_args(words)
        except SystemExit as ended:  # also --help ends like this, with status 0
            return not ended.code
    return True


@pytest.mark.parametrize(("kind", "text"), list(blocks("yaml")))
def test_every_file_in_the_documentation_is_valid(kind: str, text: str) -> None:
    TypeAdapter(KINDS[kind]).validate_python(yaml.safe_load(text))


@pytest.mark.parametrize(("kind", "text"), list(blocks("python")))
def test_every_python_block_in_the_documentation_is_python(kind: str, text: str) -> None:
    ast.parse(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text("utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path)
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """Return the anchors that a repository browser gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_pages", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generator_of_pages_writes_none_where_it_is_given_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = generator()
    monkeypatch.setattr(made, "PAGES", {})
    monkeypatch.setattr(sys, "argv", ["docs/generate.py", "metrics.md"])
    with pytest.raises(SystemExit) as refused:
        made.main()
    assert refused.value.code == 2


@pytest.mark.parametrize(
    "name", ["faults.md", "protocol-files.md", "command-line.md", "instruments.md", "metrics.md"]
)
def test_the_reference_is_what_make_docs_writes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("OPERANDO_")]:
        monkeypatch.delenv(variable)
    page = (ROOT / "docs" / "reference" / name).read_text("utf-8")
    assert page == generator().PAGES[name](), "run `make docs` and commit what changed"


def test_the_reader_printed_in_the_reference_reads_journals_as_ours_does(tmp_path: Path) -> None:
    page = (ROOT / "docs/reference/journal.md").read_text("utf-8")
    (program,) = [text for _, _, text in BLOCK.findall(page) if "def read_journal" in text]
    assert len(program.strip().splitlines()) <= 23  # twenty and blank ones
    names: dict[str, Any] = {}
    exec(program, names)  # what a user would copy

    run = compose_run(metadata={"sample": "Zn-07", "nested": {"a": [1, None, 2.5]}})
    columns: dict[str, list[Any]] = {
        "float": [0.1, math.inf, -0.0],
        "integer": [1, -(2**63), 2**63 - 1],
        "huge": [1, 2, 2**64 - 1],
        "mixed": [1, 2.0, None],
        "flag": [True, False, True],
        "text": ["a", "b", ""],
    }
    stream = run.compose_descriptor(
        name="primary",
        data_keys={key: {"source": "test", "dtype": "number", "shape": []} for key in columns},
    )
    stamps = {key: [1.0, 2.0, 3.0] for key in columns} | {"text": [1.0, 2.0, 4.0]}
    pages = stream.compose_event_page(
        data=columns, timestamps=stamps, seq_num=[1, 2, 3], time=[9.0, 9.0, 9.5], validate=False
    )
    event = stream.compose_event(
        data={key: column[0] for key, column in columns.items()},
        timestamps=dict.fromkeys(columns, 5.0),
    )
    with JournalWriter(tmp_path) as writer:
        writer("start", run.start_doc)
        writer("descriptor", stream.descriptor_doc)
        writer("event_page", pages)
        writer("event", event)
        writer("stop", run.compose_stop())
    newer = journal_path(tmp_path, run.start_doc["uid"])
    ours = list(documents(newer))
    assert [doc for name, doc in ours if name == "event_page"] == [pages]
    older = tmp_path / "older.opj"
    with older.open("wb") as file:
        file.write(b"OPJOURNL" + struct.pack("<I", 1))
        for document in ours:
            payload = msgpack.packb(document)
            file.write(struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
    for path in (newer, older):
        read = list(names["read_journal"](path))
        assert repr(read) == repr(ours) == repr(list(documents(path)))
        path.write_bytes(path.read_bytes()[:-1])
        assert list(names["read_journal"](path)) == ours[:-1]
    with pytest.raises(ValueError, match="not a journal"):
        list(names["read_journal"](Path(__file__)))
