"""Builds an engine for the runtime that is the fastest on this machine, which is measured once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from edgefr.engines.device_profile import Profile
from edgefr.engines.engine_cache import delete_folder
from edgefr.engines.engine_from_onnx import BuildFaces, BuiltEngine, ParityGateError, engine_from_onnx
from edgefr.errors import EdgefrError, MissingExtraError
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.runtimes import available_runtimes
from edgefr.runtimes.measured_choice import (
    BATCH,
    Candidate,
    circumstances,
    read_candidates,
    read_libraries,
    write_candidates,
)
from edgefr.runtimes.processor import processor
from edgefr.types import FACE_SIZE, Faces

RUNTIMES = {
    "fp32": ("onnxruntime", "openvino", "ncnn"),
    "bf16": ("openvino",),
    "fp16": ("openvino", "ncnn"),
    "int8": ("onnxruntime", "openvino", "ncnn"),
}
"""Precision -> the runtimes on a processor that may be the fastest in it. ONNX Runtime is no faster in FP16."""

AS_MODEL = frozenset({"onnxruntime", "openvino"})
"""Runtimes in which an engine in FP32 is as fast as the model itself, so that none is built to measure."""

ROUNDS = 5
ROUND_SECONDS = 0.4
"""Each candidate is measured for so long, in turns with the others: a machine has slow and fast moments."""


def fastest_engine(
    model: Path,
    precision: str,
    profile: Profile,
    faces: BuildFaces,
    root: Path,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[BuiltEngine, tuple[Candidate, ...]]:
    """Measure the candidates, unless that was done before, and build or find the engine of the fastest.

    Args:
        model: The FP32 .onnx file.
        precision: "fp32", "bf16", "fp16" or "int8".
        profile: The device profile, whose runtime is replaced.
        faces: Faces to compare and to calibrate on.
        root: The folder of engines.
        log: Called with a text for each step.

    Returns:
        The engine, and the candidates, the fastest first.

    Raises:
        ParityGateError: Every engine decides differently from the model in FP32.
        EdgefrError: No runtime can build one, or model or profile cannot be used.
    """

    def build(runtime: str, computed: str) -> BuiltEngine:
        return engine_from_onnx(model, computed, runtime, _for_runtime(profile, runtime), faces, root, log)

    libraries = _libraries(precision)
    known = read_candidates(model, precision) if read_libraries(model, precision) == libraries else ()
    if not known:
        before = circumstances(model)
        measured = _measure(model, precision, build, log)
        if circumstances(model) == before:  # else the times are those of a model that is gone
            for name in {entry.precision for entry in measured}:
                entries = [entry for entry in measured if entry.precision == name]
                write_candidates(model, name, entries, _libraries(name))
        known = tuple(entry for entry in measured if entry.precision == precision)
    ranked = tuple(sorted(known, key=lambda entry: entry.image_ms))
    return build(ranked[0].runtime, precision), ranked


def _for_runtime(profile: Profile, runtime: str) -> Profile:
    return replace(profile, runtime=runtime)  # type: ignore[arg-type]


def _libraries(precision: str) -> dict[str, str]:
    """Runtime -> version, of the runtimes that may be the fastest in a precision and are installed here."""
    versions = {entry.name: entry.version for entry in available_runtimes()}
    return {name: version for name in RUNTIMES[precision] if (version := versions.get(name)) is not None}


def _measure(
    model: Path, precision: str, build: Callable[[str, str], BuiltEngine], log: Callable[[str], None]
) -> tuple[Candidate, ...]:
    """Measure all candidates of a precision, and with FP32 also bf16, because "auto" chooses among both.

    All but the model itself are engines, which decide like the model. Those that decide differently are left out.
    """
    opened: dict[Candidate, Recogniser] = {}
    built: dict[str, BuiltEngine] = {}
    errors: list[EdgefrError] = []
    candidates = [(runtime, precision) for runtime in RUNTIMES[precision]]
    if precision == "fp32" and processor().bf16:
        candidates += [(runtime, "bf16") for runtime in RUNTIMES["bf16"]]
    for runtime, computed in candidates:
        version = _libraries(computed).get(runtime)
        if version is None:
            continue
        try:
            engine = None if computed == "fp32" and runtime in AS_MODEL else build(runtime, computed)
            path = model if engine is None else engine.path
            start = perf_counter()
            recogniser = open_recogniser(path, runtime, computed)
            start_ms = 1e3 * (perf_counter() - start)
        except EdgefrError as error:
            log(f"{runtime} in {computed} is left out: {error}")
            errors.append(error)
            continue
        name = "" if engine is None else str(path.resolve())
        if engine is not None:
            built[name] = engine
        opened[Candidate(runtime, version, computed, name, start_ms, 0.0, 0.0)] = recogniser
    if not any(entry.precision == precision for entry in opened):
        raise next((error for error in errors if isinstance(error, ParityGateError)), _first(errors, precision))
    log(f"Timing {', '.join(f'{entry.runtime} {entry.precision}' for entry in opened)} ...")
    singly, together = (time_in_turns(list(opened.values()), batch) for batch in (1, BATCH))
    measured = tuple(
        replace(entry, image_ms=1e3 * single, batch_ms=1e3 * many / BATCH)
        for entry, single, many in zip(opened, singly, together, strict=True)
    )
    fastest = (_fastest(measured), _fastest(entry for entry in measured if entry.precision == precision))
    _delete_slower(built, {entry.engine for entry in fastest})
    return measured


def _first(errors: list[EdgefrError], precision: str) -> EdgefrError:
    if errors:
        return errors[0]
    return MissingExtraError(f"a runtime for engines in {precision}", "none", "see `edgefr doctor`")


def time_in_turns(recognisers: list[Recogniser], batch: int, rounds: int = ROUNDS) -> list[float]:
    """The shortest time of each recogniser for a batch of so many faces, in seconds."""
    faces: Faces = np.random.default_rng(0).integers(0, 256, (batch, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    times = [float("inf")] * len(recognisers)
    for _ in range(rounds):
        for number, recogniser in enumerate(recognisers):
            recogniser.embed(faces, batch)
            end = perf_counter() + ROUND_SECONDS
            while (start := perf_counter()) < end:
                recogniser.embed(faces, batch)
                times[number] = min(times[number], perf_counter() - start)
    return times


def _fastest(measured: Iterable[Candidate]) -> Candidate:
    return min(measured, key=lambda entry: entry.image_ms)


def _delete_slower(built: dict[str, BuiltEngine], kept: set[str]) -> None:
    """Delete the engines that were built only to measure them; those of a large model take gigabytes."""
    for path, engine in built.items():
        if path not in kept and not engine.from_cache:
            with suppress(EdgefrError):
                delete_folder(engine.path.parent)
