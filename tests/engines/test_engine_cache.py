"""Engines appear whole or not at all, and only those that belong here are loaded."""

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
from edgefr.engines.engine_cache import discard, engine_folder, engines_of, published
from edgefr.errors import EdgefrError
from edgefr.io.files import sha256_of
from edgefr.manifest import Manifest, manifest_path, write_manifest
from edgefr.runtimes.engine_file import EngineKey, EngineRecord, Target, check_engine

HERE = Target("openvino", "2026.4", "a processor", "")
KEY = EngineKey("0" * 64, "int8", HERE)


def written(folder: Path, place: Target = HERE) -> Path:
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
def test_everything_an_engine_depends_on_gives_it_another_folder(other: EngineKey, tmp_path: Path) -> None:
    folders = {engine_folder(tmp_path, "m", key) for key in (KEY, other)}
    assert len(folders) == 2
    assert engine_folder(tmp_path, "m", KEY) in folders


@pytest.mark.parametrize(
    ("made", "here", "told"),
    [
        (("10.3.0", "GPUs of SM80 SM89", "CUDA 12.6"), ("10.3.0", "a card SM89", "CUDA 13.0"), None),
        (("10.3.0", "GPUs of SM80 SM89", "CUDA 12.6"), ("10.3.0", "a card SM87", "CUDA 12.6"), "device"),
        (("10.3.0+", "a card SM89", "CUDA 12.6"), ("10.16.1", "a card SM89", "CUDA 13.0"), None),
        (("10.3.0+", "a card SM89", "CUDA 12.6"), ("10.2.1", "a card SM89", "CUDA 12.6"), "version"),
        (("10.3.0+", "a card SM89", "CUDA 12.6"), ("11.4.0", "a card SM89", "CUDA 12.6"), "version"),
        (("10.3.0+", "a card SM89", "CUDA 12.6"), ("10.16.1", "a card SM86", "CUDA 12.6"), "device"),
        (("10.3.0", "a card SM89", "CUDA 12.6"), ("10.3.0", "a card SM89", "CUDA 13.0"), "driver"),
    ],
)
def test_an_engine_loads_where_it_was_made_for_and_nowhere_else(
    made: tuple[str, ...], here: tuple[str, ...], told: str | None, tmp_path: Path
) -> None:
    path = written(tmp_path, Target("tensorrt", *made))
    if told is None:
        assert check_engine(path, Target("tensorrt", *here)).key.place.version == made[0]
    else:
        with pytest.raises(EdgefrError, match=f"expected an engine for the {told} .*: build it again"):
            check_engine(path, Target("tensorrt", *here))


def test_names_cannot_leave_the_cache(tmp_path: Path) -> None:
    assert engine_folder(tmp_path, "../../etc/x y", KEY).parent == tmp_path


def test_an_engine_appears_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    with published(folder) as temporary:
        (temporary / "a").write_bytes(b"1")
        assert not folder.exists()
    assert (folder / "a").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def fill_and_fail(folder: Path, error: Exception) -> None:
    with published(folder) as temporary:
        (temporary / "a").write_bytes(b"1")
        raise error


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match="the gate"):
        fill_and_fail(tmp_path / "engine", EdgefrError("the gate"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match=r"No space left.*choose another --cache or make room"):
        fill_and_fail(tmp_path / "engine", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EdgefrError, match="expected to write an engine to"), published(tmp_path / "file" / "engine"):
        pass


def _race(folder: Path, number: int, ready: multiprocessing.Barrier) -> None:  # type: ignore[valid-type]
    with published(folder) as temporary:
        for name in ("model.onnx", "engine.blob"):
            (temporary / name).write_bytes(bytes([number]) * 100_000)
        ready.wait(30)  # type: ignore[attr-defined]


def test_of_two_that_build_at_once_one_engine_stays_whole(tmp_path: Path) -> None:
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


def test_a_kill_leaves_no_engine_and_the_next_build_clears_up(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    code = (
        "import sys, time; from pathlib import Path; from edgefr.engines.engine_cache import published\n"
        "with published(Path(sys.argv[1])) as temporary:\n"
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
    with published(folder) as temporary:
        (temporary / "engine.blob").write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_a_running_build_is_not_cleared_up(tmp_path: Path) -> None:
    with published(tmp_path / "engine") as first, published(tmp_path / "engine") as second:
        assert first.is_dir()
        (second / "a").write_bytes(b"1")
    assert (tmp_path / "engine" / "a").read_bytes() == b"1"


def test_an_engine_of_here_is_loaded(tmp_path: Path) -> None:
    assert check_engine(written(tmp_path), HERE).key.precision == "int8"


@pytest.mark.parametrize(
    ("name", "found"), [("version", "2025.1"), ("device", "another processor"), ("driver", "CUDA 11.4")]
)
def test_an_engine_of_elsewhere_is_refused_with_the_command_that_rebuilds_it(
    name: str, found: str, tmp_path: Path
) -> None:
    path = written(tmp_path, replace(HERE, **{name: found}))
    sentence = rf"engine for the {name} .*built for {found}: build it again with `edgefr build-engine` --int8 --runtime"
    with pytest.raises(EdgefrError, match=sentence):
        check_engine(path, HERE)


GPU = Target("tensorrt-rtx", "1.7.1", "NVIDIA RTX 4090 SM89", "CUDA 13.0")


def test_an_engine_that_was_compiled_ahead_runs_on_every_gpu_of_its_kinds(tmp_path: Path) -> None:
    path = written(tmp_path, Target("tensorrt-rtx", "1.7.1", "GPUs of SM75 SM89"))
    assert check_engine(path, GPU).key.precision == "int8"
    for other in (replace(GPU, device="NVIDIA RTX 3090 SM86"), replace(GPU, device="a GPU of SM8")):
        with pytest.raises(EdgefrError, match=r"engine for the device .* built for GPUs of SM75 SM89"):
            check_engine(path, other)
    with pytest.raises(EdgefrError, match=r"engine for the version 1\.8"):
        check_engine(path, replace(GPU, version="1.8"))


def test_what_is_being_built_is_no_engine_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "place_here", lambda runtime: HERE)
    monkeypatch.setattr(cache, "model_digest", lambda model: KEY.onnx)
    with published(tmp_path / "engine") as temporary:
        written(temporary)
        assert engines_of(Path("m.onnx"), tmp_path) == []
    assert [found[0].name for found in engines_of(Path("m.onnx"), tmp_path)] == ["engine.blob"]


def test_a_damaged_engine_that_cannot_be_removed_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    discard(tmp_path / "gone")  # another process was faster
    monkeypatch.setattr(cache.shutil, "rmtree", refuse)
    with pytest.raises(EdgefrError, match="Permission denied"):
        discard(tmp_path)


def test_a_truncated_an_altered_and_a_stray_engine_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(b"machine")
    with pytest.raises(EdgefrError, match=r"expected an engine of 12 bytes .*, found 7"):
        check_engine(path, HERE)
    path.write_bytes(b"machine cod3")
    with pytest.raises(EdgefrError, match="found another file"):
        check_engine(path, HERE)
    manifest_path(path).unlink()
    with pytest.raises(EdgefrError, match="found no manifest beside it"):
        check_engine(path, HERE)
    with pytest.raises(EdgefrError, match="found none: build it again"):
        check_engine(tmp_path / "gone.blob", HERE)


@pytest.mark.parametrize("broken", [{}, {"key": 1}, {"key": {"place": []}}, {"key": None, "sha256": "", "bytes": "x"}])
def test_a_manifest_of_something_else_is_refused(broken: dict[str, object], tmp_path: Path) -> None:
    path = written(tmp_path)
    raw = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps({**raw, "engine": broken}))
    with pytest.raises(EdgefrError, match="expected an engine's manifest"):
        check_engine(path, HERE)


def test_an_engine_beyond_four_gibibytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.runtimes.engine_file.LARGEST_ENGINE", 4)
    with pytest.raises(EdgefrError, match="expected an engine of"):
        check_engine(written(tmp_path), HERE)


def test_another_users_process_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: int, sign: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert cache._runs(1)
