"""What the documentation shows works: commands parse, files validate, references agree."""

import ast
import contextlib
import importlib.util
import io
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from instruments.bench_file import BenchFile
from operando.cli import command_line
from techniques import Cell, Protocol, Recording, SafetyLimits, Schedule, Technique

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
# The word after "yaml" at the head of a block says what it is.
KINDS: dict[str, Any] = {
    "protocol": Protocol,
    "cell": Cell,
    "bench": BenchFile,
    "technique": Technique,
    "limits": SafetyLimits,
    "recording": Recording,
    "schedule": Schedule,
}


def blocks(language: str) -> Iterator[Any]:
    for page in PAGES:
        for number, (_, head, text) in enumerate(BLOCK.findall(page.read_text("utf-8")), 1):
            words = head.split() or [""]
            if words[0] == language:
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
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            if len(words) > 1 and words[0] in ("operando", ".venv/bin/operando"):
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


@pytest.mark.parametrize("name", ["protocol-files.md", "command-line.md", "metrics.md"])
def test_the_reference_is_what_make_docs_writes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("OPERANDO_")]:
        monkeypatch.delenv(variable)
    page = (ROOT / "docs" / "reference" / name).read_text("utf-8")
    assert page == generator().PAGES[name](), "run `make docs` and commit what changed"
