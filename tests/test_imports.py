"""Who may import whom: the table of CONTRIBUTING.md, and what a device must never load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "edgefr"
GROUND = {"spec", "manifest", "files", "recipe", "errors", "protobuf", "picture_header", "shipped", "lock"}
MAY_IMPORT = {
    "nn": set(),
    "data": set(),
    "backends": {"nn"},
    "evaluate": {"data", "backends"},
    "engines": {"backends", "evaluate"},
    "face": {"backends"},
    "train": {"nn", "data", "evaluate"},
    "export": {"nn", "data", "backends", "engines", "evaluate"},
    "verify": {"face", "backends"},
    "bulk": {"verify", "face"},
    "prepare": {"face", "data"},
    "gallery": {"verify", "bulk", "face", "evaluate"},
    "jobs": {"verify", "bulk", "face", "gallery"},
    "camera": {"verify", "bulk", "gallery", "face", "evaluate"},
    "demo": {"verify", "data"},
    **{ground: set() for ground in GROUND},
}
"""The part of edgefr -> the parts it may import beside itself and the ground floor; `cli` may import all."""

TORCH_PARTS = {"nn", "train", "export"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports, and whether at its top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module), node in top
            if node.module == "edgefr":
                yield from ((f"edgefr.{alias.name}", node in top) for alias in node.names)


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if part_of(path) not in ("cli", "__init__", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_part_may(path: Path) -> None:
    part = part_of(path)
    allowed = MAY_IMPORT[part] | GROUND | {part, "__version__"}
    for module, top in imports(path):
        if module.startswith("edgefr."):
            assert module.split(".")[1] in allowed, f"{part} imports {module}"
        if module.split(".")[0] in ("torch", "safetensors") and part not in TORCH_PARTS:
            assert not top, f"{part} imports torch at its top"


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import edgefr.cli", "cv2 torch onnxruntime openvino rich"),
        (
            "import edgefr.cli, edgefr.jobs.embed, edgefr.jobs.enrol",
            "torch onnx openvino rich matplotlib onnxruntime pyarrow ray",
        ),
        ("import edgefr.cli, edgefr.verify, edgefr.bulk", "torch onnx openvino rich matplotlib onnxruntime"),
        ("import edgefr.gallery.places", "pymilvus milvus_lite psycopg grpc pandas"),
        (
            "from edgefr.backends import available_runtimes, recogniser; available_runtimes()",
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
