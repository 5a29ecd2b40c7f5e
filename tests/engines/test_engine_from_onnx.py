"""An engine has its precision and decides like its model, or it is not built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import numpy_helper  # noqa: E402

from edgefr.engines import engine_from_onnx as module  # noqa: E402
from edgefr.engines.device_profile import Profile, read_profile  # noqa: E402
from edgefr.engines.engine_cache import usable_engines  # noqa: E402
from edgefr.engines.engine_from_onnx import BuildFaces, BuiltEngine, ParityGateError, engine_from_onnx  # noqa: E402
from edgefr.engines.precision.conversion import Conversion  # noqa: E402
from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.evaluation.pairs import Pairs  # noqa: E402
from edgefr.io.files import sha256_of  # noqa: E402
from edgefr.manifest import Manifest, Threshold, manifest_path, model_digest, model_manifest, write_model_manifest  # noqa: E402
from edgefr.recognition.recogniser import open_recogniser  # noqa: E402
from edgefr.runtimes import open_backend  # noqa: E402
from edgefr.runtimes.openvino import openvino_core  # noqa: E402

Build = Callable[..., BuiltEngine]


@pytest.fixture
def sample(faces) -> BuildFaces:
    pairs = Pairs(np.array([0, 1, 2]), np.array([3, 4, 2]), np.array([False, False, True]))
    return BuildFaces(faces, pairs, faces)


@pytest.fixture
def build(model: Path, sample: BuildFaces, tmp_path: Path) -> Build:
    def run(precision: str, runtime: str, profile: Profile | None = None, source: Path = model) -> BuiltEngine:
        chosen = profile or read_profile(None, runtime)
        return engine_from_onnx(source, precision, runtime, chosen, sample, tmp_path / "cache")

    return run


def offered(runtime: str, precision: str) -> bool:
    if runtime != "openvino" or precision != "bf16":
        return True
    native = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in native


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [
        ("onnxruntime", "fp32"),
        ("onnxruntime", "fp16"),
        ("onnxruntime", "int8"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
        ("openvino", "int8"),
        ("ncnn", "fp32"),
        ("ncnn", "int8"),
    ],
)
def test_an_engine_has_its_precision_and_the_outputs_of_its_model(
    runtime: str, precision: str, build: Build, model: Path, faces
) -> None:
    pytest.importorskip(runtime)
    if not offered(runtime, precision):
        pytest.skip("this processor has no native bf16")
    built = build(precision, runtime)
    engine = open_recogniser(built.path, runtime)
    assert (engine.description.runtime, engine.description.precision) == (runtime, precision)
    wanted = open_recogniser(model, "onnxruntime").embed(faces).embedding
    assert (engine.embed(faces).embedding * wanted).sum(1).min() > 0.98

    entry = built.manifest.engine
    assert entry["key"]["onnx"] == model_digest(model)
    assert built.manifest.made_from["onnx"]["sha256"] == sha256_of(model)
    assert entry["sha256"] == sha256_of(built.path)
    assert entry["layers"][precision] >= sum(entry["layers"].values()) / 2
    assert entry["parity"]["images"] == 7
    assert len(entry["parity"]["decisions"]) == 1
    beside = built.path.with_name("model.onnx")
    inside = model_manifest(beside)
    assert inside is not None
    assert inside.kind == f"onnx {'fp32' if runtime == 'ncnn' else precision}"


def test_a_second_build_returns_the_first_engine(build: Build, tmp_path: Path) -> None:
    first, second = build("fp32", "onnxruntime"), build("fp32", "onnxruntime")
    assert (first.from_cache, second.from_cache, first.path) == (False, True, second.path)
    assert build("fp32", "onnxruntime", replace(read_profile(None, "onnxruntime"), aux_streams=2)).path != first.path


def test_calibration_keeps_existing_engines_and_the_next_one_is_compared_at_the_new_threshold(
    build: Build, model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source.onnx"
    source.write_bytes(model.read_bytes())
    before = build("fp32", "onnxruntime", source=source)
    measured = Threshold(1e-3, 0.25, (0.2, 0.3), "some", "fp32")
    write_model_manifest(source, Manifest("onnx", "source", thresholds=(measured,)))
    assert [found[0] for found in usable_engines(source, tmp_path / "cache")] == [before.path]
    after = build("fp32", "onnxruntime", source=source)
    assert not after.from_cache
    assert after.manifest.thresholds == (measured,)
    assert [at["threshold"] for at in after.manifest.engine["parity"]["decisions"]] == [0.25]


@pytest.mark.parametrize("changed", ["faces", "calibration", "pairs", "bounds"])
def test_other_faces_pairs_or_bounds_give_another_engine(
    changed: str, build: Build, sample: BuildFaces, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build("fp32", "onnxruntime")
    other = {
        "faces": replace(sample, faces=sample.faces[::-1]),
        "calibration": replace(sample, calibration=sample.calibration[:3]),
        "pairs": replace(sample, pairs=None),
        "bounds": sample,
    }[changed]
    if changed == "bounds":
        monkeypatch.setitem(module.BOUNDS, "fp32", replace(module.BOUNDS["fp32"], cosine_min=0.5))
    profile = read_profile(None, "onnxruntime")
    again = engine_from_onnx(model, "fp32", "onnxruntime", profile, other, tmp_path / "cache")
    assert (first.from_cache, again.from_cache) == (False, False)


def test_a_damaged_engine_is_refused_and_built_again(build: Build) -> None:
    built = build("fp32", "openvino")
    built.path.write_bytes(built.path.read_bytes()[:-1])
    with pytest.raises(EdgefrError, match=r"expected an engine of .* bytes"):
        open_backend(built.path)
    manifest_path(built.path).unlink()
    with pytest.raises(EdgefrError, match="no manifest next to it"):
        open_backend(built.path)
    again = build("fp32", "openvino")
    assert (again.path, again.from_cache) == (built.path, False)
    assert open_backend(again.path).describe().runtime == "openvino"


def change_one_weight(path: Path) -> None:
    """Change one bit of the file, in the middle of its largest weight."""
    largest = max(onnx.load(path).graph.initializer, key=lambda weight: len(weight.raw_data)).raw_data
    content = bytearray(path.read_bytes())
    content[bytes(content).index(largest) + len(largest) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_engine_of_onnxruntime_with_one_changed_bit_is_refused(runtime: str, precision: str, build: Build) -> None:
    pytest.importorskip(runtime)
    built = build(precision, "onnxruntime")
    open_recogniser(built.path, runtime)
    change_one_weight(built.path)
    with pytest.raises(
        EdgefrError, match=r"expected the engine that the manifest of .*model\.onnx names, found another"
    ):
        open_recogniser(built.path, runtime)


def test_an_engine_of_another_onnxruntime_is_refused_with_the_command(build: Build) -> None:
    built = build("fp32", "onnxruntime")
    path = manifest_path(built.path)
    version = built.manifest.engine["key"]["place"]["version"]
    path.write_text(path.read_text().replace(f'"version": "{version}"', '"version": "1.0"'))
    with pytest.raises(EdgefrError, match=r"expected an engine for the version .* Build it again with .*--fp32"):
        open_recogniser(built.path, "onnxruntime")


def test_external_data_is_part_of_the_key_and_of_the_origin(build: Build, model: Path, tmp_path: Path) -> None:
    source = tmp_path / "source" / "m.onnx"
    source.parent.mkdir()
    onnx.save(onnx.load(model), source, save_as_external_data=True, location="m.data", size_threshold=1024)
    data = source.with_name("m.data")
    first = build("fp32", "onnxruntime", source=source)
    assert first.manifest.made_from["onnx data m.data"] == {"file": "m.data", "sha256": sha256_of(data)}
    assert 0.5 < first.manifest.engine["size_ratio"] < 2
    weights = np.frombuffer(data.read_bytes(), np.float32).copy()
    weights[100] *= 1.5
    data.write_bytes(weights.tobytes())
    second = build("fp32", "onnxruntime", source=source)
    assert second.path != first.path
    assert second.manifest.made_from["onnx"] == first.manifest.made_from["onnx"]


@pytest.mark.parametrize("damage", ["engine gone", "engine altered", "manifest gone", "manifest cut off"])
def test_any_damage_leads_to_a_new_build(damage: str, build: Build) -> None:
    built = build("fp32", "onnxruntime")
    what = manifest_path(built.path) if damage.startswith("manifest") else built.path
    what.unlink() if damage.endswith("gone") else what.write_bytes(what.read_bytes()[:-9])
    assert not build("fp32", "onnxruntime").from_cache
    assert build("fp32", "onnxruntime").from_cache


def test_a_runtime_that_does_not_report_layers_is_logged(
    model: Path, sample: BuildFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_it = module.compile_engine
    monkeypatch.setattr(module, "compile_engine", lambda *arguments: replace(compile_it(*arguments), layers=None))
    messages: list[str] = []
    profile = read_profile(None, "onnxruntime")
    built = engine_from_onnx(model, "fp32", "onnxruntime", profile, sample, tmp_path, messages.append)
    assert built.manifest.engine["layers"] is None
    assert any("does not report the number formats of the layers" in text for text in messages)


def plant_error(monkeypatch: pytest.MonkeyPatch, change: Callable[[onnx.ModelProto], None]) -> None:
    """Make the conversion wrong."""
    right = module.convert_precision

    def wrong(*arguments: object) -> Conversion:
        conversion = right(*arguments)  # type: ignore[arg-type]
        change(conversion.model)
        return conversion

    monkeypatch.setattr(module, "convert_precision", wrong)


def test_a_swapped_channel_is_caught_and_nothing_is_written(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap(graph: onnx.ModelProto) -> None:
        weight = next(tensor for tensor in graph.graph.initializer if tensor.name.startswith("conv"))
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[:, [2, 1, 0]], weight.name))

    plant_error(monkeypatch, swap)
    for precision in ("fp32", "fp16"):
        with pytest.raises(ParityGateError, match=r"decides like .*, found differences \(expected every face's cosine"):
            build(precision, "onnxruntime")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_an_fp32_engine_with_another_name_is_refused(
    precision: str, build: Build, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_error(monkeypatch, lambda graph: graph.CopyFrom(onnx.load(model)))
    with pytest.raises(
        EdgefrError, match=rf"expected at least 50% of 2 heavy layers in {precision}, found 0 \(2 in fp32"
    ):
        build(precision, "onnxruntime")
    assert list((tmp_path / "cache").iterdir()) == []


def test_fp16_is_refused_on_a_processor_that_computes_it_in_fp32(build: Build, tmp_path: Path) -> None:
    native = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "FP16" in native:
        pytest.skip("this processor computes in FP16")
    with pytest.raises(
        EdgefrError,
        match=r"expected a processor that computes in FP16 .*found one that would run it in FP32.*--bf16` or --int8",
    ):
        build("fp16", "openvino")
    assert list((tmp_path / "cache").iterdir()) == []


def test_auto_opens_an_fp16_file_with_onnxruntime(build: Build) -> None:
    assert open_backend(build("fp16", "onnxruntime").path).describe().runtime == "onnxruntime"


def test_engines_are_built_from_fp32_models_only(build: Build) -> None:
    half = build("fp16", "onnxruntime").path
    with pytest.raises(EdgefrError, match=r"expected an FP32 model to build from, found .* in fp16"):
        build("int8", "onnxruntime", source=half)


def test_tensorrt_rtx_compiles_without_a_gpu(build: Build) -> None:
    """With its real parser and compiler."""
    pytest.importorskip("tensorrt_rtx_bindings")
    from edgefr.runtimes.cuda_probe import find_gpu

    if find_gpu() is not None:
        pytest.skip("this machine has a GPU: see `make gpu`")
    profile = replace(read_profile("rtx"), compute_capabilities=(86,))
    sizes = {}
    for precision in ("fp32", "fp16", "int8"):
        built = build(precision, "tensorrt-rtx", profile)
        assert built.manifest.engine["compared"] == "model.onnx"  # because the engine cannot run
        assert "SM86" in built.manifest.engine["key"]["place"]["device"]
        sizes[precision] = built.path.stat().st_size
    assert min(sizes.values()) > 1000
