"""The settings for the recorded enums of four versions of TensorRT, none of which has to be installed."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgefr.engines import tensorrt_builder
from edgefr.engines.compilation import check_layers
from edgefr.engines.device_profile import Profile
from edgefr.engines.tensorrt_builder import _flag_bits, _set_layer_types, count_inspected_layers
from edgefr.engines.tensorrt_settings import choose_settings
from edgefr.errors import EdgefrError
from edgefr.runtimes.cuda_probe import Gpu
from tests.conftest import REPOSITORY

SURFACES = json.loads((REPOSITORY / "tests/golden" / "tensorrt_api.json").read_text())
OLD, *STRONG = "8.6.0", "10.3.0", "10.16.1.11", "11.4.0.106"
PROFILE = Profile("test", "tensorrt", ("fp16",))


def surface(version: str, **more: object) -> Any:
    enums = {name: IntEnum(name, members) for name, members in SURFACES[version].items() if members}
    return SimpleNamespace(__version__=version, **enums, **more)


def test_all_versions_are_recorded() -> None:
    assert set(SURFACES) == {OLD, *STRONG}


@pytest.mark.parametrize("version", STRONG)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_strong_types_need_no_precision_flag(version: str, precision: str) -> None:
    chosen = choose_settings(surface(version), precision, PROFILE, gpu=True)
    assert (chosen.network_flags, chosen.builder_flags, chosen.weak) == (("STRONGLY_TYPED",), (), False)


@pytest.mark.parametrize(
    ("precision", "flags"),
    [
        ("fp32", ()),
        ("fp16", ("FP16", "OBEY_PRECISION_CONSTRAINTS")),
        ("int8", ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS")),
    ],
)
def test_weak_types_need_precision_flags(precision: str, flags: tuple[str, ...]) -> None:
    chosen = choose_settings(surface(OLD), precision, PROFILE, gpu=True)
    assert (chosen.network_flags, chosen.builder_flags, chosen.weak) == (("EXPLICIT_BATCH",), flags, True)


def test_bits_of_flags_are_those_of_the_installed_version() -> None:
    """STRONGLY_TYPED moved from bit 1 to bit 0 between 10.16 and 11.4."""
    bits = {}
    for version in (OLD, *STRONG):
        trt = surface(version)
        bits[version] = _flag_bits(
            trt.NetworkDefinitionCreationFlag, choose_settings(trt, "fp16", PROFILE, gpu=True).network_flags
        )
    assert bits == {OLD: 1, "10.3.0": 2, "10.16.1.11": 2, "11.4.0.106": 1}


@pytest.mark.parametrize("version", [OLD, *STRONG])
def test_fp32_is_not_rounded_to_tf32(version: str) -> None:
    assert choose_settings(surface(version), "fp32", PROFILE, gpu=True).cleared_flags == ("TF32",)
    assert choose_settings(surface(version), "fp16", PROFILE, gpu=True).cleared_flags == ()


@pytest.mark.parametrize("version", [OLD, *STRONG])
def test_options_of_the_profile_become_flags(version: str) -> None:
    assert (
        "GPU_FALLBACK" in choose_settings(surface(version), "fp32", replace(PROFILE, dla=True), gpu=True).builder_flags
    )


@pytest.mark.parametrize("version", [OLD, *STRONG])
def test_engines_for_other_gpus_and_later_versions_need_flags(version: str) -> None:
    levels = IntEnum("HardwareCompatibilityLevel", {"NONE": 0, "AMPERE_PLUS": 1})
    wide = replace(PROFILE, any_gpu=True, any_version=True)
    chosen = choose_settings(surface(version, HardwareCompatibilityLevel=levels), "fp32", wide, gpu=True)
    assert "VERSION_COMPATIBLE" in chosen.builder_flags
    assert chosen.hardware == "AMPERE_PLUS"
    with pytest.raises(EdgefrError, match="expected a TensorRT with AMPERE_PLUS for the profile test"):
        choose_settings(surface(version), "fp32", wide, gpu=True)


def test_missing_flags_are_named() -> None:
    trt = surface(OLD)
    with pytest.raises(EdgefrError, match="found bf16\\. Use --fp16"):
        choose_settings(trt, "bf16", PROFILE, gpu=True)
    trt.BuilderFlag = IntEnum("BuilderFlag", {"TF32": 0})
    with pytest.raises(EdgefrError, match="expected a TensorRT with FP16, OBEY_PRECISION_CONSTRAINTS"):
        choose_settings(trt, "fp16", PROFILE, gpu=True)


@pytest.mark.parametrize("version", [OLD, *STRONG])
def test_classic_tensorrt_needs_a_gpu(version: str) -> None:
    with pytest.raises(EdgefrError, match="expected an NVIDIA GPU to build"):
        choose_settings(surface(version), "fp16", PROFILE, gpu=False)


def test_tensorrt_rtx_compiles_for_its_compute_capabilities() -> None:
    known = IntEnum("ComputeCapability", {"NONE": 0, "CURRENT": 1, "SM75": 2, "SM86": 3, "SM120": 4})
    trt = surface("11.4.0.106", ComputeCapability=known)
    rtx = replace(PROFILE, compute_capabilities=(75, 120))
    assert choose_settings(trt, "fp16", rtx, gpu=False).capabilities == ("SM75", "SM120")
    assert choose_settings(trt, "fp16", rtx, gpu=True).capabilities == ()
    for capabilities, found in (((75, 87), "75, 87"), ((), "none")):
        with pytest.raises(EdgefrError, match=f"among 75, 86, 120 .*, found {found} in the profile test"):
            choose_settings(trt, "fp16", replace(PROFILE, compute_capabilities=capabilities), gpu=False)


def test_with_weak_types_every_layer_gets_the_type_of_the_file() -> None:
    kinds = SimpleNamespace(FLOAT="float", HALF="half", INT32="int32")

    class Layer:
        def __init__(self, *outputs: str) -> None:
            self.outputs, self.precision, self.types = outputs, None, {}
            self.num_outputs = len(outputs)

        def get_output(self, index: int) -> Any:
            return SimpleNamespace(dtype=self.outputs[index])

        def set_output_type(self, index: int, kind: str) -> None:
            self.types[index] = kind

    layers = [Layer("half"), Layer("float", "float"), Layer("int32"), Layer()]
    _set_layer_types(
        SimpleNamespace(DataType=kinds), SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    )
    assert [layer.precision for layer in layers] == ["half", "float", None, None]
    assert [layer.types for layer in layers] == [{0: "half"}, {0: "float", 1: "float"}, {}, {}]


class Library:
    """A TensorRT whose inspector prints `text`, or that cannot load the engine."""

    LayerInformationFormat = SimpleNamespace(JSON="json")

    def __init__(self, text: str | None) -> None:
        inspector = SimpleNamespace(get_engine_information=lambda kind: text)
        self.engine = None if text is None else SimpleNamespace(create_engine_inspector=lambda: inspector)

    def Runtime(self, log: object) -> Any:  # noqa: N802 - TensorRT's name
        return SimpleNamespace(deserialize_cuda_engine=lambda data: self.engine)


def test_an_inspector_without_details_gives_no_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_builder, "make_logger", lambda trt: SimpleNamespace(errors=["its reason"]))
    engine, gpu = tmp_path / "engine.plan", Gpu("a GPU", 89, "CUDA 13.0", 1 << 34)
    engine.write_bytes(b"machine code")
    named = {"Name": "Conv_1", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Row major FP16"}]}
    details = json.dumps({"Layers": [named]})
    for text, counts in ((details, {"fp16": 1}), ('{"Layers": ["Conv_1"]}', None), ("{}", None)):
        assert tensorrt_builder._count_layers(Library(text), "tensorrt", engine, Path("m.onnx"), gpu) == counts
    with pytest.raises(EdgefrError, match=r"expected tensorrt to compile m.onnx, found an error \(its reason\)"):
        tensorrt_builder._count_layers(Library(None), "tensorrt", engine, Path("m.onnx"), gpu)


@pytest.mark.parametrize("layers", [{}, {"fp16": 0, "fp32": 0}, {"fp16": 1, "fp32": 2}])
def test_a_model_without_enough_fp16_layers_is_refused(layers: dict[str, int]) -> None:
    with pytest.raises(EdgefrError, match="heavy layers in fp16, found"):
        check_layers(layers, "fp16")
    check_layers(None, "fp16")  # unknown


def test_layers_are_counted_by_number_format() -> None:
    def layer(kind: str, name: str = "Conv_1") -> dict[str, object]:
        return {"Name": name, "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": kind}]}

    half, full = "Channel major FP16 format where channel % 8 == 0", "Row major linear FP32"
    text = json.dumps({"Layers": [layer(half), layer(full), layer(full), layer("Int8", "Conv_9"), "a name alone"]})
    assert count_inspected_layers(text) == {"fp16": 1, "fp32": 2, "int8": 1}
