"""Engines are published whole or not at all, and only those for this device are loaded."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgefr.engines import engine_cache as cache
from edgefr.engines.engine_cache import delete_folder, engine_folder, publish_folder, usable_engines
from edgefr.errors import EdgefrError
from edgefr.io.files import sha256_of
from edgefr.manifest import Manifest, manifest_path, write_manifest
from edgefr.runtimes.engine_file import EngineKey, EngineRecord, Target, check_engine

HERE = Target("openvino", "2026.4", "a processor", "")
KEY = EngineKey("0" * 64, "int8", HERE)


def write_engine(folder: Path, place: Target = HERE) -> Path:
    """An engine with its manifest."""
    path = folder / "engine.blob"
    path.write_bytes(b"machine code")
    record = EngineRecord(replace(KEY, place=place), sha256_of(path), path.stat().st_size)
    write_manifest(path, Manifest("engine", "test", engine=record.to_dict()))
    return path


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, onnx="1" * 64),
        replace(KEY, precision="fp16"),
        replace(KEY, settings="another profile"),
        *(replace(KEY, place=replace(HERE, **{name: "x"})) for name in ("runtime", "version", "device", "driver")),
    ],
)
def test_every_field_of_the_key_changes_the_folder(other: EngineKey, tmp_path: Path) -> None:
    folders = {engine_folder(tmp_path, "m", key) for key in (KEY, other)}
    assert len(folders) == 2
    assert engine_folder(tmp_path, "m", KEY) in folders


@pytest.mark.parametrize(
    ("built_for", "here", "differs"),
    [
        (("10.3.0", "GPUs of SM80 SM89", "CUDA 12.6"), ("10.3.0", "a card SM89", "CUDA 13.0"), None),
        (("10.3.0", "GPUs of SM80 SM89", "CUDA 12.6"), ("10.3.0", "a card SM87", "CUDA 12.6"), "device"),
        (("1.7.1", "GPUs of SM75 SM89", ""), ("1.7.1", "a card SM8", "CUDA 13.0"), "device"),
        (("1.7.1", "GPUs of SM75 SM89", ""), ("1.8", "a card SM89", "CUDA 13.0"), "version"),
        (("10.3.0+", "a card SM89", "CUDA 12.6"), ("10.16.1", "a card SM89", "CUDA 13.0"), None),
        (("10.3.0+", "a card SM89", "CUDA 12.6"), ("10.2.1", "a card SM89", "CUDA 12.6"), "version"),
        (("10.3.0+", "a card SM89", "CUDA 12.6"), ("11.4.0", "a card SM89", "CUDA 12.6"), "version"),
        (("10.3.0+", "a card SM89", "CUDA 12.6"), ("10.16.1", "a card SM86", "CUDA 12.6"), "device"),
        (("10.3.0", "a card SM89", "CUDA 12.6"), ("10.3.0", "a card SM89", "CUDA 13.0"), "driver"),
        (("10.3.0", "a card SM89", "CUDA 12.6"), ("10.3.0", "a card SM89", "CUDA 12.6"), None),
    ],
)
def test_an_engine_loads_on_its_target_only(
    built_for: tuple[str, ...], here: tuple[str, ...], differs: str | None, tmp_path: Path
) -> None:
    path = write_engine(tmp_path, Target("tensorrt", *built_for))
    if differs is None:
        assert check_engine(path, Target("tensorrt", *here)).key.place.version == built_for[0]
    else:
        with pytest.raises(EdgefrError, match=f"expected an engine for the {differs} .*\\. Build it again"):
            check_engine(path, Target("tensorrt", *here))


def test_a_name_cannot_leave_the_folder_of_engines(tmp_path: Path) -> None:
    assert engine_folder(tmp_path, "../../etc/x y", KEY).parent == tmp_path


def test_an_engine_appears_when_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    with publish_folder(folder) as temporary:
        (temporary / "a").write_bytes(b"1")
        assert not folder.exists()
    assert (folder / "a").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def fill_and_fail(folder: Path, error: Exception) -> None:
    with publish_folder(folder) as temporary:
        (temporary / "a").write_bytes(b"1")
        raise error


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match="found the cause"):
        fill_and_fail(tmp_path / "engine", EdgefrError("nothing", "the cause", "no fix"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match=r"No space left.*Choose another --cache or make room"):
        fill_and_fail(tmp_path / "engine", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(EdgefrError, match=r"expected to write .*/file/engine, found an error of the system"),
        publish_folder(tmp_path / "file" / "engine"),
    ):
        pass


def _race(folder: Path, number: int, ready: multiprocessing.Barrier) -> None:  # type: ignore[valid-type]
    with publish_folder(folder) as temporary:
        for name in ("model.onnx", "engine.blob"):
            (temporary / name).write_bytes(bytes([number]) * 100_000)
        ready.wait(30)  # type: ignore[attr-defined]


def test_of_two_simultaneous_builds_one_engine_is_kept_whole(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(2)
    builders = [context.Process(target=_race, args=(tmp_path / "engine", number, ready)) for number in (1, 2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
    assert [builder.exitcode for builder in builders] == [0, 0]
    found = {path.name: set(path.read_bytes()) for path in (tmp_path / "engine").iterdir()}
    assert found["model.onnx"] == found["engine.blob"]
    assert len(found["model.onnx"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_a_killed_build_leaves_no_engine_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    code = (
        "import sys, time; from pathlib import Path; from edgefr.engines.engine_cache import publish_folder\n"
        "with publish_folder(Path(sys.argv[1])) as temporary:\n"
        "    (temporary / 'engine.blob').write_bytes(b'half'); print('writing', flush=True); time.sleep(60)"
    )
    builder = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert builder.stdout is not None
    with builder.stdout:
        assert builder.stdout.readline() == "writing\n"
        builder.send_signal(signal.SIGKILL)
        builder.wait(30)
    assert not folder.exists()
    assert len(list(tmp_path.iterdir())) == 1
    with publish_folder(folder) as temporary:
        (temporary / "engine.blob").write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_the_folder_of_a_running_build_is_kept(tmp_path: Path) -> None:
    with publish_folder(tmp_path / "engine") as first, publish_folder(tmp_path / "engine") as second:
        assert first.is_dir()
        (second / "a").write_bytes(b"1")
    assert (tmp_path / "engine" / "a").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("name", "found"), [("version", "2025.1"), ("device", "another processor"), ("driver", "CUDA 11.4")]
)
def test_an_engine_for_another_device_is_refused_with_the_command_that_rebuilds_it(
    name: str, found: str, tmp_path: Path
) -> None:
    path = write_engine(tmp_path, replace(HERE, **{name: found}))
    sentence = (
        rf"engine for the {name} .*built for {found}\. Build it again with `edgefr build-engine` --int8 --runtime"
    )
    with pytest.raises(EdgefrError, match=sentence):
        check_engine(path, HERE)


def test_an_unfinished_engine_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "local_target", lambda runtime, precision: HERE)
    monkeypatch.setattr(cache, "model_digest", lambda model: KEY.onnx)
    with publish_folder(tmp_path / "engine") as temporary:
        write_engine(temporary)
        assert usable_engines(Path("m.onnx"), tmp_path) == []
    assert [found[0].name for found in usable_engines(Path("m.onnx"), tmp_path)] == ["engine.blob"]


def test_a_damaged_engine_that_cannot_be_deleted_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    delete_folder(tmp_path / "gone")  # another process was faster
    monkeypatch.setattr(cache.shutil, "rmtree", refuse)
    with pytest.raises(EdgefrError, match="Permission denied"):
        delete_folder(tmp_path)


def test_truncated_and_changed_engines_and_those_without_a_manifest_are_refused(tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    path.write_bytes(b"machine")
    with pytest.raises(EdgefrError, match=r"expected an engine of 12 bytes .*, found 7"):
        check_engine(path, HERE)
    path.write_bytes(b"machine cod3")
    with pytest.raises(EdgefrError, match="found another file"):
        check_engine(path, HERE)
    manifest_path(path).unlink()
    with pytest.raises(EdgefrError, match="found no manifest next to it"):
        check_engine(path, HERE)
    with pytest.raises(EdgefrError, match="found none\\. Build it again"):
        check_engine(tmp_path / "gone.blob", HERE)


@pytest.mark.parametrize("broken", [{}, {"key": 1}, {"key": {"place": []}}, {"key": None, "sha256": "", "bytes": "x"}])
def test_a_manifest_of_another_kind_is_refused(broken: dict[str, object], tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    raw = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps({**raw, "engine": broken}))
    with pytest.raises(EdgefrError, match="expected the manifest of an engine next to"):
        check_engine(path, HERE)


@pytest.mark.parametrize("has_manifest", [True, False])
def test_a_model_in_place_of_an_engine_is_told_to_be_built(has_manifest: bool, tmp_path: Path) -> None:
    path = tmp_path / "fused.onnx"
    path.write_bytes(b"a model")
    if has_manifest:
        write_manifest(path, Manifest("onnx", "fused"))
    with pytest.raises(EdgefrError, match=r"expected an engine that .*, found the model .*fused\.onnx\. Build"):
        check_engine(path, HERE)


def test_an_engine_larger_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.runtimes.engine_file.MAX_ENGINE_BYTES", 4)
    with pytest.raises(EdgefrError, match="expected an engine of"):
        check_engine(write_engine(tmp_path), HERE)


def test_the_process_of_another_user_counts_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: int, sign: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert cache._is_running(1)
