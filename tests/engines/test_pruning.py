"""Only engines that this machine cannot load any more are removed, and only files that a build wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgefr.engines import pruning
from edgefr.engines.engine_cache import engine_folder, publish_folder, retire_folder
from edgefr.engines.pruning import build_files, prune_engines
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
    def target(runtime: str, precision: str) -> Target:
        if runtime != HERE.runtime:
            raise EdgefrError("a GPU", "none", "buy one")
        return HERE

    monkeypatch.setattr(pruning, "local_target", target)


def engine(root: Path, key: EngineKey, name: str = "m", model: Path | None = None) -> Path:
    """The folder of an engine as a build leaves it."""
    folder = engine_folder(root, name, key)
    made_from = {} if model is None else {"onnx": file_reference(model)}
    with publish_folder(folder) as temporary:
        for file in ("model.onnx", "engine.blob"):
            (temporary / file).write_bytes(file.encode())
        write_manifest(temporary / "model.onnx", Manifest("onnx int8", "test"))
        blob = temporary / "engine.blob"
        record = EngineRecord(key, sha256_of(blob), blob.stat().st_size)
        write_manifest(blob, Manifest("engine", "test", made_from=made_from, engine=record.to_dict()))
    return folder


def test_only_engines_of_another_version_for_this_device_are_removed(tmp_path: Path) -> None:
    old = engine(tmp_path, replace(KEY, place=OLD))
    elsewhere = replace(OLD, device="another processor")
    kept = [
        engine(tmp_path, key)
        for key in (KEY, replace(KEY, place=elsewhere), replace(KEY, place=Target("tensorrt", "10.3", "a GPU SM87")))
    ]
    held = sum(file.stat().st_size for file in old.iterdir())
    (tmp_path / "timings-0.cache").write_bytes(b"kernels")
    (removed,) = prune_engines(tmp_path)
    assert (removed.folder, removed.bytes) == (old, held)
    assert removed.why == "for openvino's version 2025.1, here is 2026.4"
    assert {path.name for path in tmp_path.iterdir()} == {"timings-0.cache", *(folder.name for folder in kept)}
    assert list(prune_engines(tmp_path)) == []


def test_with_a_model_engines_of_another_file_with_its_name_are_removed(tmp_path: Path) -> None:
    model = shipped_model(MINI)
    other = tmp_path / model.name
    other.write_bytes(b"another model of this name")
    root = tmp_path / "cache"
    stale = engine(root, KEY, model=other)
    namesake = tmp_path / "n.onnx"
    namesake.write_bytes(b"a model of another name")
    kept = engine(root, replace(KEY, precision="bf16"), model=namesake)
    assert list(prune_engines(root)) == []
    assert [(pruned.folder, pruned.why) for pruned in prune_engines(root, model)] == [(stale, "of another mini.onnx")]
    assert kept.is_dir()


def test_folders_with_other_files_stay(tmp_path: Path) -> None:
    key = replace(KEY, place=OLD)
    engine(tmp_path, key).rename(tmp_path / "renamed by the user")
    folder = engine(tmp_path, key)
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "linked").mkdir()
    elsewhere = engine(tmp_path / "linked", replace(key, precision="bf16"))
    (tmp_path / elsewhere.name).symlink_to(elsewhere)
    assert list(prune_engines(tmp_path)) == []
    assert (folder / "notes.txt").read_text() == "mine"
    assert elsewhere.is_dir()


def test_an_unfinished_engine_stays(tmp_path: Path) -> None:
    key = replace(KEY, place=OLD)
    with publish_folder(engine_folder(tmp_path, "m", key)) as temporary:
        built = engine(tmp_path / "other", key)
        for file in built.iterdir():
            (temporary / file.name).write_bytes(file.read_bytes())
        assert list(prune_engines(tmp_path)) == []
    assert len(list(prune_engines(tmp_path))) == 1


def test_removing_a_removed_engine_is_no_error(tmp_path: Path) -> None:
    folder = engine(tmp_path, replace(KEY, place=OLD))
    retire_folder(folder)
    retire_folder(folder)
    assert list(tmp_path.iterdir()) == []
    assert list(prune_engines(tmp_path)) == []


def test_a_missing_folder_has_no_engines(tmp_path: Path) -> None:
    assert list(prune_engines(tmp_path / "none")) == []


def test_the_files_of_a_build_are_known() -> None:
    assert {"model.onnx", "model.onnx.json", "engine.blob", "engine.plan.json"} <= build_files()
