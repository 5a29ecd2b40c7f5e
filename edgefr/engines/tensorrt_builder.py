"""Builds a TensorRT engine from an ONNX file whose nodes already have their precisions."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefr.engines.compiled_engine import CompiledEngine
from edgefr.engines.device_profile import Profile
from edgefr.engines.tensorrt_settings import BuilderSettings, choose_settings
from edgefr.engines.timing_cache import load_timing_cache, save_timing_cache, timing_cache_file
from edgefr.errors import EdgefrError
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes.cuda_probe import Gpu, find_gpu
from edgefr.runtimes.engine_file import ANY_OF_GPUS, OR_LATER, Target
from edgefr.runtimes.tensorrt.engine_runtime import gpu_target
from edgefr.runtimes.tensorrt.library import make_logger, make_runtime, members, tensorrt_library
from edgefr.types import FACE_SIZE, INPUT_NAME

FORMAT_NAMES = {"fp32": ("FP32", "Float"), "fp16": ("FP16", "Half"), "int8": ("Int8", "INT8")}
HEAVY_LAYERS = ("conv", "gemm", "matmul", "fc")

OLD_OPSET = 17
"""The newest operator set of TensorRT 8.6's parser."""

AMPERE_PLUS = ("SM80", "SM86", "SM89", "SM90", "SM100", "SM103", "SM120")
"""The GPUs of TensorRT's hardware compatibility level of this name: data-centre and desktop GPUs, no Jetson."""


def build_target(runtime: str, profile: Profile) -> Target:
    """The target of an engine: the GPU of this machine, else the compute capabilities of the profile."""
    trt = tensorrt_library(runtime)
    gpu = find_gpu()
    chosen = choose_settings(trt, "fp32", profile, gpu is not None)
    capabilities = AMPERE_PLUS if chosen.hardware else chosen.capabilities
    here = gpu_target(runtime, trt, gpu) if gpu else Target(runtime, trt.__version__, "")
    device = f"{ANY_OF_GPUS}{' '.join(capabilities)}" if capabilities else here.device
    version = f"{here.version}{OR_LATER}" if profile.any_version else here.version
    return replace(here, device=device, version=version)


def max_opset(runtime: str) -> int | None:
    """The newest operator set that the library's parser reads. None if it reads every one that edgefr writes."""
    strong = "STRONGLY_TYPED" in members(tensorrt_library(runtime).NetworkDefinitionCreationFlag)
    return None if strong else OLD_OPSET


def build_tensorrt_engine(
    model: Path, runtime: str, precision: str, profile: Profile, output: Path, timing_folder: Path
) -> CompiledEngine:
    """Build an engine for the GPU of this machine, or without one for the compute capabilities of the profile.

    The timing cache in `timing_folder` saves the next build on this device the measurements.

    Raises:
        MissingExtraError: The library is not installed.
        EdgefrError: It rejects the graph, or cannot build for the profile.
    """
    trt, gpu = tensorrt_library(runtime), find_gpu()
    chosen = choose_settings(trt, precision, profile, gpu is not None)
    log = make_logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_flag_bits(trt.NetworkDefinitionCreationFlag, chosen.network_flags))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.read_bytes()):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)] or log.errors
        raise _build_error(model, runtime, errors)
    config = _config(trt, builder, chosen, profile, gpu)
    timings = timing_cache_file(timing_folder, gpu_target(runtime, trt, gpu)) if gpu else None
    if timings:
        load_timing_cache(config, timings)
    if chosen.weak:
        _set_layer_types(trt, network)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise _build_error(model, runtime, log.errors)
    output.write_bytes(memoryview(serialised))
    if timings:
        save_timing_cache(config, timings)
    return CompiledEngine(output, _count_layers(trt, runtime, output, model, gpu), runs=gpu is not None)


def _config(trt: Any, builder: Any, chosen: BuilderSettings, profile: Profile, gpu: Gpu | None) -> Any:
    config = builder.create_builder_config()
    flags = members(trt.BuilderFlag)
    for name in chosen.builder_flags:
        config.set_flag(flags[name])
    for name in chosen.cleared_flags:
        config.clear_flag(flags[name])
    face = (FACE_SIZE, FACE_SIZE, 3)
    shapes = builder.create_optimization_profile()
    shapes.set_shape(INPUT_NAME, (1, *face), (profile.batch.opt, *face), (profile.batch.max, *face))
    config.add_optimization_profile(shapes)
    workspace = profile.workspace_mib << 20 if profile.workspace_mib else gpu.free // 2 if gpu else None
    if workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    config.max_aux_streams = profile.aux_streams
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector then reports the formats of the layers
    if profile.dla:
        config.default_device_type, config.DLA_core = trt.DeviceType.DLA, 0
    if chosen.hardware:
        config.hardware_compatibility_level = members(trt.HardwareCompatibilityLevel)[chosen.hardware]
    if chosen.capabilities:
        config.num_compute_capabilities = len(chosen.capabilities)
        for index, name in enumerate(chosen.capabilities):
            config.set_compute_capability(members(trt.ComputeCapability)[name], index)
    return config


def _set_layer_types(trt: Any, network: Any) -> None:
    """8.x: make each layer compute in the type that its output has in the ONNX file. TensorRT would choose itself."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kinds = [layer.get_output(at).dtype for at in range(layer.num_outputs)]
        if kinds and all(kind in (trt.DataType.FLOAT, trt.DataType.HALF) for kind in kinds):
            layer.precision = kinds[0]
            for at, kind in enumerate(kinds):
                layer.set_output_type(at, kind)


def _count_layers(trt: Any, runtime: str, engine: Path, model: Path, gpu: Gpu | None) -> dict[str, int] | None:
    """Heavy layers of the engine by number format, or of the ONNX file if the engine cannot be loaded here.

    Without a GPU types are strong, and the engine has those of the file. The result is None if the inspector names no
    heavy layer, because its texts change between versions. The layers of the converted file were counted before, and
    the engine is compared with the model afterwards.
    """
    if gpu is None:
        graph = graph_precision(model)
        return {"fp32": graph.fp32, "fp16": graph.fp16, "int8": graph.int8}
    log = make_logger(trt)
    loader = make_runtime(trt, log)  # outlives the engine
    loaded = loader.deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        raise _build_error(model, runtime, log.errors)
    text = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return dict(count_inspected_layers(text)) or None


def count_inspected_layers(text: str) -> Counter[str]:
    """Count heavy layers by number format in the JSON of TensorRT's engine inspector."""
    found: Counter[str] = Counter()
    for layer in json.loads(text).get("Layers", ()):
        if not isinstance(layer, dict):
            continue  # only a name: the engine was built without details
        name = f"{layer.get('LayerType', '')} {layer.get('Name', '')}".lower()
        inputs = " ".join(str(entry.get("Format/Datatype", "")) for entry in layer.get("Inputs", ()))
        if any(word in name for word in HEAVY_LAYERS):
            kind = next(
                (kind for kind in ("int8", "fp16", "fp32") if any(w in inputs for w in FORMAT_NAMES[kind])), "other"
            )
            found[kind] += 1
    return found


def _flag_bits(enum: Any, names: tuple[str, ...]) -> int:
    """The flags as a number. Their bits differ between versions, so that the enum of the installed one is used."""
    return sum(1 << int(members(enum)[name]) for name in names)


def _build_error(model: Path, runtime: str, errors: list[str]) -> EdgefrError:
    reason = " ".join((errors or ["no reason"])[0].split())[:300]
    return EdgefrError(
        f"{runtime} to compile {model.name}",
        f"an error ({reason})",
        "export the model again with `edgefr export`, or use another --runtime",
    )
