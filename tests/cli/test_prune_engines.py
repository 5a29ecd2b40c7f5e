"""edgefr prune-engines as scripts use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.engines.engine_cache import engine_folder
from edgefr.manifest import read_manifest, write_manifest
from edgefr.runtimes.engine_file import EngineRecord

pytest.importorskip("onnx")


def test_an_engine_of_an_older_runtime_is_removed_and_reported(edgefr, tmp_path: Path) -> None:
    build = ("build-engine", "mini", "--fp32", "--runtime", "onnxruntime", "--cache", tmp_path, "--json")
    built = Path(edgefr(*build).json["engine"])
    assert edgefr("prune-engines", "mini", "--cache", tmp_path, "--json").json == {"removed": []}
    older = _of_an_older_runtime(built)
    told = edgefr("prune-engines", "--cache", tmp_path, "--json").json
    assert [Path(entry["folder"]) for entry in told["removed"]] == [older]
    assert "version 1.0" in told["removed"][0]["why"]
    assert not older.exists()
    assert "0 removed" in edgefr("prune-engines", "--cache", tmp_path).out


def _of_an_older_runtime(built: Path) -> Path:
    """Turn an engine into one that an older onnxruntime built, and return its folder."""
    manifest = read_manifest(built)
    assert manifest is not None
    manifest.engine["key"]["place"]["version"] = "1.0"
    write_manifest(built, manifest)
    record = EngineRecord.from_manifest(manifest, built)
    return built.parent.rename(engine_folder(built.parent.parent, "mini", record.key))
