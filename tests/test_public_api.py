"""The public API: what `import edgefr` offers is documented, typed, tested by its examples, and loaded late."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgefr
from tests.album import make_album
from tests.conftest import REPOSITORY

NAMES = [name for name in edgefr.__all__ if name != "__version__"]
CLASSES = [name for name in NAMES if inspect.isclass(getattr(edgefr, name))]


def section(docstring: str, title: str) -> str:
    """The body of a section of a Google style docstring; empty if there is none."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    return found[1] if found else ""


def functions() -> list[tuple[str, Callable[..., Any]]]:
    """Public functions and public methods of public classes that edgefr defines."""
    found = [(name, getattr(edgefr, name)) for name in NAMES if inspect.isfunction(getattr(edgefr, name))]
    for name in CLASSES:
        for method, value in vars(getattr(edgefr, name)).items():
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            generated = dataclasses.is_dataclass(getattr(edgefr, name)) and method == "__init__"
            if inspect.isfunction(function) and not generated and (method == "__init__" or not method.startswith("_")):
                found.append((f"{name}.{method}", function))
    return found


def test_names_are_sorted_and_exist() -> None:
    assert edgefr.__all__ == sorted(edgefr.__all__)
    assert dir(edgefr) == edgefr.__all__
    for name in edgefr.__all__:
        assert getattr(edgefr, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'verify'"):
        edgefr.verify  # noqa: B018


def test_the_package_is_typed() -> None:
    assert (REPOSITORY / "edgefr/py.typed").is_file()


@pytest.mark.parametrize(("name", "function"), functions(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_function_is_documented_and_typed(name: str, function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    parameters = [entry for entry in signature.parameters if entry not in ("self", "cls")]
    docstring = inspect.getdoc(edgefr.EdgefrError if name == "EdgefrError.__init__" else function) or ""
    assert docstring, f"{name} has no docstring"
    described = section(docstring, "Args")
    for parameter in parameters:
        assert re.search(rf"^    {parameter}: ", described, re.MULTILINE), f"{name}: {parameter} is not described"
        assert signature.parameters[parameter].annotation is not inspect.Parameter.empty
    assert signature.return_annotation is not inspect.Signature.empty
    if parameters and signature.return_annotation not in ("None", None):
        assert section(docstring, "Returns"), f"{name} does not describe what it returns"


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_documented(name: str) -> None:
    documented = getattr(edgefr, name)
    assert inspect.cleandoc(documented.__doc__ or "").split("\n")[0].endswith((".", ":")), name
    if dataclasses.is_dataclass(documented):
        described = section(documented.__doc__ or "", "Attributes")
        for field in dataclasses.fields(documented):
            assert re.search(rf"^    {field.name}: ", described, re.MULTILINE), f"{name}.{field.name} is not described"


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, edgefr; print(sorted({'numpy', 'cv2', 'onnxruntime', 'cryptography', 'typer'} & set(sys.modules)))"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout == "[]\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_album(tmp_path_factory.mktemp("album"))


@pytest.mark.parametrize("name", ["Verifier", "Identifier", "open_gallery"])
def test_the_example_in_a_docstring_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("EDGEFR_DETECTOR", raising=False)
    names = {public: getattr(edgefr, public) for public in NAMES}
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(edgefr, name), name, globs=names)
    assert example.examples, f"{name} has no example"
    report: list[str] = []
    assert doctest.DocTestRunner().run(example, out=report.append).failed == 0, "".join(report)
