"""INT8 on x86 processors that add products of 8-bit numbers in 16 bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from edgefr.data.sample_faces import astronaut_faces  # noqa: E402
from edgefr.engines.device_profile import read_profile  # noqa: E402
from edgefr.engines.engine_from_onnx import BuildFaces, BuiltEngine, engine_from_onnx  # noqa: E402
from edgefr.engines.precision.int8 import calibrate_graph  # noqa: E402
from edgefr.engines.precision.onnx_graph import read_graph  # noqa: E402
from edgefr.errors import WrongModelError  # noqa: E402
from edgefr.io.onnx_file import ParsedModel  # noqa: E402
from edgefr.io.onnx_tensors import has_full_range  # noqa: E402
from edgefr.manifest import manifest_path, read_manifest  # noqa: E402
from edgefr.models import MINI, shipped_model  # noqa: E402
from edgefr.recognition.recogniser import open_recogniser  # noqa: E402
from edgefr.runtimes import processor as module  # noqa: E402
from edgefr.runtimes.processor import VNNI_FLAGS, X86, Processor, processor  # noqa: E402
from edgefr.types import Faces  # noqa: E402

RUNTIMES = ("onnxruntime", "openvino")


def describe_processor(path: Path, flags: frozenset[str]) -> Path:
    path.write_text(f"model name : {processor().model}\nflags : {' '.join(sorted(flags))}\n")
    return path


@pytest.fixture
def new_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What edgefr reads of the processor: it has VNNI."""
    if processor().machine.lower() not in X86:
        pytest.skip("other processors add in 32 bits")
    monkeypatch.setattr(module, "CPUINFO", describe_processor(tmp_path / "new", processor().flags | {"avx512_vnni"}))


@pytest.fixture
def old_processor(new_processor: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What edgefr reads of the processor: it lacks VNNI."""
    monkeypatch.setattr(module, "CPUINFO", describe_processor(tmp_path / "old", processor().flags - VNNI_FLAGS))


def build(model: Path, runtime: str, faces: Faces, root: Path) -> BuiltEngine:
    profile = read_profile(None, runtime)
    return engine_from_onnx(model, "int8", runtime, profile, BuildFaces(faces, None, faces), root)


@pytest.mark.parametrize(
    ("machine", "flags", "saturates"),
    [
        ("x86_64", {"avx2"}, True),
        ("x86_64", {"avx2", "avx512bw"}, True),
        ("x86_64", {"avx2", "avx_vnni"}, False),
        ("x86_64", {"avx512bw", "avx512_vnni"}, False),
        ("AMD64", {"amx_int8"}, False),
        ("x86_64", set(), True),
        ("aarch64", {"asimd"}, False),
    ],
)
def test_processors_that_saturate(machine: str, flags: set[str], saturates: bool) -> None:
    assert Processor("a processor", 2, frozenset(flags), machine).saturates_int8 is saturates


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_weights_have_seven_bits_without_vnni(
    runtime: str, model: Path, faces: Faces, tmp_path: Path, old_processor: None
) -> None:
    pytest.importorskip(runtime)
    built = build(model, runtime, faces, tmp_path / "cache")
    assert not has_full_range(ParsedModel.read(built.path.with_name("model.onnx")))
    assert built.manifest.engine["key"]["settings"].endswith(" 7-bit weights")
    reference = open_recogniser(model, "onnxruntime").embed(faces).embedding
    assert (open_recogniser(built.path, runtime).embed(faces).embedding * reference).sum(1).min() > 0.98


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_weights_have_eight_bits_with_vnni(
    runtime: str, model: Path, faces: Faces, tmp_path: Path, new_processor: None
) -> None:
    pytest.importorskip(runtime)
    built = build(model, runtime, faces, tmp_path / "cache")
    assert has_full_range(ParsedModel.read(built.path.with_name("model.onnx")))
    assert "7-bit" not in built.manifest.engine["key"]["settings"]


def test_engines_in_other_precisions_are_the_same_on_both(
    model: Path, faces: Faces, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    profile, sample = read_profile(None, "onnxruntime"), BuildFaces(faces, None, faces)
    request.getfixturevalue("new_processor")
    first = engine_from_onnx(model, "fp32", "onnxruntime", profile, sample, tmp_path)
    request.getfixturevalue("old_processor")
    assert engine_from_onnx(model, "fp32", "onnxruntime", profile, sample, tmp_path).from_cache
    assert open_recogniser(first.path, "onnxruntime").description.precision == "fp32"


def test_an_engine_of_a_processor_with_vnni_is_refused_without(
    model: Path, faces: Faces, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The engine by its target, and the bare file, which lacks one, by its weights."""
    request.getfixturevalue("new_processor")
    built = build(model, "onnxruntime", faces, tmp_path / "cache")
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(built.path.read_bytes())
    open_recogniser(bare, "onnxruntime")
    request.getfixturevalue("old_processor")
    with pytest.raises(WrongModelError, match=r"for the device x86 without VNNI, found .*Build it again .*--int8"):
        open_recogniser(built.path, "onnxruntime")
    for runtime in RUNTIMES:
        pytest.importorskip(runtime)
        with pytest.raises(WrongModelError, match=r"expected INT8 weights of 7 bits in .*bare\.onnx .*build-engine"):
            open_recogniser(bare, runtime)
    again = build(model, "onnxruntime", faces, tmp_path / "cache")
    assert again.path != built.path
    assert not again.from_cache


def test_the_reduced_range_prevents_the_overflow(model: Path, faces: Faces) -> None:
    """The arithmetic of `pmaddubsw` on the largest activations and on the weights of the converted file."""
    for reduced in (False, True):
        proto = calibrate_graph(read_graph(model), faces, symmetric=False, reduce_range=reduced).int8()
        weights = [onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer if tensor.data_type == 3]
        largest = max(int(np.abs(weight.astype(np.int32)).max()) for weight in weights if weight.ndim == 4)
        assert (2 * 255 * largest <= np.iinfo(np.int16).max) is reduced


def test_an_export_to_triton_warns_of_weights_with_eight_bits(
    model: Path, faces: Faces, tmp_path: Path, new_processor: None, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgefr.cli import main

    built = build(model, "onnxruntime", faces, tmp_path / "cache")
    assert json.loads(manifest_path(built.path).read_text())["kind"] == "engine"
    assert read_manifest(built.path) is not None
    command = ["edgefr", "export", str(built.path), "--triton", str(tmp_path / "repository"), "--triton-name", "m"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (0, None)
    assert "lacks VNNI" in capsys.readouterr().err


COMPARE = """
import sys
import edgefr, numpy as np, openvino
core, faces = openvino.Core(), np.load(sys.argv[1])
unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)
fp32, *int8 = (
    unit(core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"image": faces})["embedding"])
    for path in sys.argv[2:]
)
print(*((fp32 * embedding).sum(1).min() for embedding in int8))
"""


def test_the_reduced_range_keeps_the_embeddings_of_mini_on_an_older_processor(tmp_path: Path) -> None:
    """OpenVINO restricted to AVX2, which has no VNNI, really saturates."""
    pytest.importorskip("openvino")
    if processor().machine.lower() not in X86:
        pytest.skip("other processors add in 32 bits")
    faces = astronaut_faces(32)
    np.save(tmp_path / "faces.npy", faces)
    for name, reduced in (("full", False), ("reduced", True)):
        graph = calibrate_graph(read_graph(shipped_model(MINI)), faces, symmetric=False, reduce_range=reduced)
        onnx.save(graph.int8(), tmp_path / f"{name}.onnx")
    models = [shipped_model(MINI), tmp_path / "full.onnx", tmp_path / "reduced.onnx"]
    result = subprocess.run(
        [sys.executable, "-c", COMPARE, tmp_path / "faces.npy", *models],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    )
    full, reduced_range = map(float, result.stdout.split())
    assert reduced_range > 0.98
    assert full < reduced_range
