"""Documents: links and the map of the code resolve, examples run, and commands have the options that they show."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from edgefr.cli import app
from tests.album import make_album
from tests.conftest import REPOSITORY

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "train/*.md", "export/*.md", "engines/*.md", "edgefr/assets/*.md")
    for path in REPOSITORY.glob(pattern)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_links_resolve(path: Path) -> None:
    for link in LINK.findall(FENCE.sub("", text_of(path))):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{link} is missing"
        if anchor:
            assert anchor in anchors(target), f"{link} has no such heading"


def commands_in(text: str) -> Iterator[list[str]]:
    """The arguments of every edgefr command in the examples and in inline code."""
    lines = [
        line
        for language, block in FENCE.findall(text)
        if language in ("", "sh", "console")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    for line in [*lines, *CODE.findall(FENCE.sub("", text))]:
        for part in re.split(r"&&|;|\||\bdo\b", line.removeprefix("$ ")):
            if part.strip().startswith("edgefr "):
                arguments = shlex.split(part, comments=True)[1:]
                if arguments[:2] == ["service", "install"] and "--" in arguments:  # options of another command follow
                    end = arguments.index("--")
                    yield [arguments[2], *arguments[end + 1 :]]
                    arguments = arguments[:end]
                yield arguments


@each_document
def test_commands_have_the_options_that_they_are_shown_with(path: Path) -> None:
    if path.name == "cli.md":
        return  # made from --help
    for arguments in commands_in(text_of(path)):
        command: click.Command = typer.main.get_command(app)
        words = [word for word in arguments if not word.startswith("-")]
        while isinstance(command, typer.core.TyperGroup) and words:
            name = words.pop(0)
            assert name in command.commands, f"edgefr {' '.join(arguments)}: there is no command {name}"
            command = command.commands[name]
        known = {"-h", "--help"} | {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        options = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
        assert options <= known, f"edgefr {' '.join(arguments)}"


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGEFR_DETECTOR", raising=False)
    monkeypatch.chdir(make_album(tmp_path))
    return tmp_path


def test_the_python_examples_of_the_readme_run(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [block for language, block in FENCE.findall(text_of(REPOSITORY / "README.md")) if language == "python"]
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102 - our own document
    assert capsys.readouterr().out == "True\nAda\n"


def test_the_readme_is_short() -> None:
    assert len(text_of(REPOSITORY / "README.md").splitlines()) <= 120


def symbols_in(path: Path) -> set[str]:
    """Functions, classes, constants and methods (as Class.method) that a file defines."""
    defined: set[str] = set()
    for node in ast.parse(text_of(path)).body:
        if isinstance(node, ast.ClassDef):
            defined |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return defined


def rows_of_the_map() -> list[list[str]]:
    section = text_of(REPOSITORY / "CONTRIBUTING.md").split("## Where is ...?")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")
    ][1:]


QUESTIONS = (
    "threshold of a gallery",
    "EXIF",
    "INT8",
    "template encrypted",
    "token",
    "stream reconnected",
    "track ended",
    "add a detector",
    "add a store",
    "add a margin head",
    "add a runtime",
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_map_answers(question: str) -> None:
    assert any(question in row[0] for row in rows_of_the_map())


@pytest.mark.parametrize("row", rows_of_the_map(), ids=lambda row: row[0])
def test_the_map_of_the_code_is_right(row: list[str]) -> None:
    """Each row names a file and symbols in it, and may name more files with symbols."""
    _, *cells = row
    names = CODE.findall(" ".join(cells))
    assert (REPOSITORY / names[0]).is_file()
    assert len(names) > 1, "a row names at least one symbol"
    path = REPOSITORY
    for name in names:
        if "/" in name:
            path = REPOSITORY / name
            assert path.is_file(), f"{name} is missing"
        else:
            assert name in symbols_in(path), f"{path.relative_to(REPOSITORY)} does not define {name}"
