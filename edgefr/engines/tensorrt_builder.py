"""A TensorRT engine from an ONNX file whose nodes already have their precisions."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefr.engines.compiled_engine import CompiledEngine
from edgefr.engines.device_profile import Profile
from edgefr.engines.tensorrt_settings import Plan, plan
from edgefr.engines.timing_cache import keep_timings, timings_file, use_timings
from edgefr.errors import EdgefrError
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes.cuda_probe import Gpu, find_gpu
from edgefr.runtimes.engine_file import AHEAD, LATER, Target
from edgefr.runtimes.tensorrt.engine_runtime import place
from edgefr.runtimes.tensorrt.library import logger, members, runtime_of, tensorrt_library
from edgefr.types import FACE_SIZE, INPUT_NAME

WORDS = {"fp32": ("FP32", "Float"), "fp16": ("FP16", "Half"), "int8": ("Int8", "INT8")}
HEAVY_WORDS = ("conv", "gemm", "matmul", "fc")

OLD_OPSET = 17
"""The newest operator set of TensorRT 8.6's parser."""

AMPERE_PLUS = ("SM80", "SM86", "SM89", "SM90", "SM100", "SM103", "SM120")
"""What TensorRT's hardware compatibility level of that name spans: data-centre and desktop GPUs, no Jetson."""


def target(runtime: str, profile: Profile) -> Target:
    """What an engine would be bound to: the GPU that is here, else the compute capabilities of the profile.

    Raises:
        EdgefrError: the library is missing, or there is no GPU and it cannot do without.
    """
    trt = tensorrt_library(runtime)
    gpu = find_gpu()
    chosen = plan(trt, "fp32", profile, gpu is not None)
    wanted = AMPERE_PLUS if chosen.hardware else chosen.capabilities
    here = place(runtime, trt, gpu) if gpu else Target(runtime, trt.__version__, "")
    device = f"{AHEAD}{' '.join(wanted)}" if wanted else here.device
    version = f"{here.version}{LATER}" if profile.any_version else here.version
    return replace(here, device=device, version=version)


def newest_opset(runtime: str) -> int | None:
    """The newest operator set that the library's parser knows, None where it knows all that edgefr writes.

    Raises:
        EdgefrError: the library is missing.
    """
    strong = "STRONGLY_TYPED" in members(tensorrt_library(runtime).NetworkDefinitionCreationFlag)
    return None if strong else OLD_OPSET


def build(model: Path, runtime: str, precision: str, profile: Profile, output: Path, timings: Path) -> CompiledEngine:
    """Compile `model` to `output`.

    Without a GPU, and where the library can, for the compute capabilities of the profile. What TensorRT measured of its
    kernels is kept in the folder `timings`, so that the next build on this device does not measure it again.

    Raises:
        EdgefrError: the library is missing, refuses the graph, or cannot build for what is asked.
    """
    trt, gpu = tensorrt_library(runtime), find_gpu()
    chosen = plan(trt, precision, profile, gpu is not None)
    log = logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_bits(trt.NetworkDefinitionCreationFlag, chosen.network_flags))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.read_bytes()):
        told = [parser.get_error(index).desc() for index in range(parser.num_errors)] or log.errors
        raise _refused(model, runtime, told)
    config = _config(trt, builder, chosen, profile, gpu)
    measured = timings_file(timings, place(runtime, trt, gpu)) if gpu else None
    if measured:
        use_timings(config, measured)
    if chosen.weak:
        _impose_types(trt, network)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise _refused(model, runtime, log.errors)
    output.write_bytes(memoryview(serialised))
    if measured:
        keep_timings(config, measured)
    return CompiledEngine(output, _layers(trt, runtime, output, model, gpu), runs=gpu is not None)


def _config(trt: Any, builder: Any, chosen: Plan, profile: Profile, gpu: Gpu | None) -> Any:
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
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector then tells the layers' formats
    if profile.dla:
        config.default_device_type, config.DLA_core = trt.DeviceType.DLA, 0
    if chosen.hardware:
        config.hardware_compatibility_level = members(trt.HardwareCompatibilityLevel)[chosen.hardware]
    if chosen.capabilities:
        config.num_compute_capabilities = len(chosen.capabilities)
        for index, name in enumerate(chosen.capabilities):
            config.set_compute_capability(members(trt.ComputeCapability)[name], index)
    return config


def _impose_types(trt: Any, network: Any) -> None:
    """8.x: each layer computes in the type that the ONNX file gave its output; it would choose for itself."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kinds = [layer.get_output(at).dtype for at in range(layer.num_outputs)]
        if kinds and all(kind in (trt.DataType.FLOAT, trt.DataType.HALF) for kind in kinds):
            layer.precision = kinds[0]
            for at, kind in enumerate(kinds):
                layer.set_output_type(at, kind)


def _layers(trt: Any, runtime: str, engine: Path, model: Path, gpu: Gpu | None) -> dict[str, int] | None:
    """Of the engine itself where it can be loaded, else of the ONNX file: strong types leave nothing to choose.

    None where the inspector names no heavy layer. That is no refusal: its words change between versions, the layers of
    the converted file have been counted, and the engine is compared with the model all the same.

    Raises:
        EdgefrError: the library does not load what it has just built.
    """
    if gpu is None:
        graph = graph_precision(model)
        return {"fp32": graph.fp32, "fp16": graph.fp16, "int8": graph.int8}
    log = logger(trt)
    loader = runtime_of(trt, log)  # outlives the engine
    loaded = loader.deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        raise _refused(model, runtime, log.errors)
    text = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return dict(inspected(text)) or None


def inspected(text: str) -> Counter[str]:
    """Heavy layers by number format, from the JSON that TensorRT's engine inspector writes."""
    found: Counter[str] = Counter()
    for layer in json.loads(text).get("Layers", ()):
        if not isinstance(layer, dict):
            continue  # names only: the engine was built without details
        name = f"{layer.get('LayerType', '')} {layer.get('Name', '')}".lower()
        inputs = " ".join(str(entry.get("Format/Datatype", "")) for entry in layer.get("Inputs", ()))
        if any(word in name for word in HEAVY_WORDS):
            kind = next((kind for kind in ("int8", "fp16", "fp32") if any(w in inputs for w in WORDS[kind])), "other")
            found[kind] += 1
    return found


def _bits(enum: Any, names: tuple[str, ...]) -> int:
    """Flags moved their bits between versions: the enum of the installed one knows."""
    return sum(1 << int(members(enum)[name]) for name in names)


def _refused(model: Path, runtime: str, told: list[str]) -> EdgefrError:
    reason = " ".join((told or ["without a reason"])[0].split())[:300]
    return EdgefrError(
        f"{runtime} to compile {model.name}",
        f"that it refuses ({reason})",
        "export the model again with `edgefr export`, or use another --runtime",
    )
