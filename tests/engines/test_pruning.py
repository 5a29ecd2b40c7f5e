"""Only what no build here will want again is removed, and only what a build wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgefr.engines import pruning
from edgefr.engines.engine_cache import engine_folder, published, withdraw
from edgefr.engines.pruning import WRITTEN, prune
from edgefr.errors import EdgefrError
from edgefr.io.files import sha256_of
from edgefr.manifest import Manifest, file_reference, write_manifest
from edgefr.models import MINI, shipped_model
from edgefr.runtimes.engine_file import EngineKey, EngineRecord, Target

HERE = Target("openvino", "2026.4", "a processor")
KEY = EngineKey("0" * 64, "int8", HERE)
OLD = replace(HERE, version="2025.1")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    def place(runtime: str) -> Target:
        if runtime != HERE.runtime:
            raise EdgefrError("a GPU", "none", "buy one")
        return HERE

    monkeypatch.setattr(pruning, "place_here", place)


def engine(root: Path, key: EngineKey, name: str = "m", model: Path | None = None) -> Path:
    """The folder of an engine as a build leaves it."""
    folder = engine_folder(root, name, key)
    made_from = {} if model is None else {"onnx": file_reference(model)}
    with published(folder) as temporary:
        for file in ("model.onnx", "engine.blob"):
            (temporary / file).write_bytes(file.encode())
        write_manifest(temporary / "model.onnx", Manifest("onnx int8", "test"))
        blob = temporary / "engine.blob"
        record = EngineRecord(key, sha256_of(blob), blob.stat().st_size)
        write_manifest(blob, Manifest("engine", "test", made_from=made_from, engine=record.to_dict()))
    return folder


def test_what_another_version_built_for_this_device_goes_and_nothing_else(tmp_path: Path) -> None:
    old = engine(tmp_path, replace(KEY, place=OLD))
    elsewhere = replace(OLD, device="another processor")
    kept = [
        engine(tmp_path, key)
        for key in (KEY, replace(KEY, place=elsewhere), replace(KEY, place=Target("tensorrt", "10.3", "a GPU SM87")))
    ]
    held = sum(file.stat().st_size for file in old.iterdir())
    (tmp_path / "timings-0.cache").write_bytes(b"kernels")
    (removed,) = prune(tmp_path)
    assert (removed.folder, removed.bytes) == (old, held)
    assert removed.why == "for openvino's version 2025.1, here is 2026.4"
    assert {path.name for path in tmp_path.iterdir()} == {"timings-0.cache", *(folder.name for folder in kept)}
    assert list(prune(tmp_path)) == []


def test_with_a_model_those_of_another_file_of_its_name_go(tmp_path: Path) -> None:
    model = shipped_model(MINI)
    other = tmp_path / model.name
    other.write_bytes(b"another model of this name")
    root = tmp_path / "cache"
    stale = engine(root, KEY, model=other)
    namesake = tmp_path / "n.onnx"
    namesake.write_bytes(b"a model of another name")
    kept = engine(root, replace(KEY, precision="bf16"), model=namesake)
    assert list(prune(root)) == []
    assert [(pruned.folder, pruned.why) for pruned in prune(root, model)] == [(stale, "of another mini.onnx")]
    assert kept.is_dir()


def test_what_no_build_wrote_stays(tmp_path: Path) -> None:
    key = replace(KEY, place=OLD)
    engine(tmp_path, key).rename(tmp_path / "renamed by somebody")
    folder = engine(tmp_path, key)
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "linked").mkdir()
    elsewhere = engine(tmp_path / "linked", replace(key, precision="bf16"))
    (tmp_path / elsewhere.name).symlink_to(elsewhere)
    assert list(prune(tmp_path)) == []
    assert (folder / "notes.txt").read_text() == "mine"
    assert elsewhere.is_dir()


def test_an_engine_that_is_being_built_stays(tmp_path: Path) -> None:
    key = replace(KEY, place=OLD)
    with published(engine_folder(tmp_path, "m", key)) as temporary:
        built = engine(tmp_path / "other", key)
        for file in built.iterdir():
            (temporary / file.name).write_bytes(file.read_bytes())
        assert list(prune(tmp_path)) == []
    assert len(list(prune(tmp_path))) == 1


def test_of_two_that_remove_one_is_too_late_and_says_nothing(tmp_path: Path) -> None:
    folder = engine(tmp_path, replace(KEY, place=OLD))
    withdraw(folder)
    withdraw(folder)
    assert list(tmp_path.iterdir()) == []
    assert list(prune(tmp_path)) == []


def test_a_folder_that_is_not_there_has_no_engines(tmp_path: Path) -> None:
    assert list(prune(tmp_path / "none")) == []


def test_a_builds_files_are_known_by_name() -> None:
    assert {"model.onnx", "model.onnx.json", "engine.blob", "engine.plan.json"} <= WRITTEN
