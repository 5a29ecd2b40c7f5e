"""Who may import whom: the table of CONTRIBUTING.md, and what a device must never load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "edgefr"
LAYERS = (
    ("errors", "types", "choices", "telemetry"),
    ("io", "spec"),
    ("catalogue",),
    ("manifest", "models"),
    ("nn", "data", "downloads"),
    ("runtimes",),
    ("detection",),
    ("liveness",),
    ("recognition",),
    ("evaluation",),
    ("gallery", "engines"),
    ("export", "camera", "jobs"),
    ("server", "training", "demo", "door", "service"),
)
"""Parts of the package from the ground up. A part may import the parts below it, and no part beside it."""

BELOW = {
    part: {below for lower in LAYERS[:level] for below in lower} for level, layer in enumerate(LAYERS) for part in layer
}

TORCH_PARTS = {"nn", "training", "export"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    """`edgefr/io/files.py` -> `edgefr.io.files`; a package is named without its `__init__`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, and whether at its top level (and not for type checking only)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((name if name in MODULES else str(node.module), node in top) for name in names)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if part_of(path) not in ("cli", "__init__", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_part_may(path: Path) -> None:
    part = part_of(path)
    for module, top in imports(path):
        if module.startswith("edgefr."):
            assert module.split(".")[1] in BELOW[part] | {part}, f"{part} imports {module}"
        if module.split(".")[0] in ("torch", "safetensors") and part not in TORCH_PARTS:
            assert not top, f"{part} imports torch at its top"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions count, too: they hide a circle, they do not open it."""
    graph = {
        name: {module for module, _ in imports(path) if module in MODULES and not name.startswith(f"{module}.")}
        for name, path in MODULES.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_module_name_is_used_twice() -> None:
    """Verbs of the command line, `base` and `__init__` aside: a file is found by its name."""
    names = Counter(path.name for path in MODULES.values() if part_of(path) != "cli")
    assert {name for name, count in names.items() if count > 1} <= {"__init__.py", "base.py"}


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import edgefr.cli", "cv2 torch onnxruntime openvino rich"),
        (
            "import edgefr.cli, edgefr.jobs.embedding_job, edgefr.jobs.enrolment_job",
            "torch onnx openvino rich matplotlib onnxruntime pyarrow ray",
        ),
        (
            "import edgefr.cli, edgefr.recognition.verifier, edgefr.recognition.batch",
            "torch onnx openvino rich matplotlib onnxruntime",
        ),
        ("import edgefr.gallery.factory", "pymilvus milvus_lite psycopg grpc pandas"),
        (
            "import edgefr.recognition.recogniser, edgefr.runtimes; edgefr.runtimes.available_runtimes()",
            "cv2 torch onnx openvino onnxruntime",
        ),
    ],
    ids=["command line", "bulk jobs", "runtime", "galleries", "list of runtimes"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement: str, heavy: str) -> None:
    """A device that verifies has no torch, and every import is waited for at each start."""
    code = f"import sys\n{statement}\nprint(sorted(set({heavy.split()}) & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
