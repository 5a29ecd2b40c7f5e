"""edgefr bench"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json, remark, table
from edgefr.errors import InvalidArgumentError, require_extra

if TYPE_CHECKING:
    from edgefr.engines.latency import BenchRow


def bench(
    model: Annotated[
        Path | None, typer.Argument(help="An .onnx file. Default: $EDGEFR_MODEL; see also --arch.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="Time two fused backbones of this size with random weights: r18, r34, r50, r100, r200."),
    ] = None,
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "1,8",
    seconds: Annotated[float, typer.Option(help="Seconds for each measurement.")] = 3.0,
    cache: Annotated[Path, typer.Option(help="Folder of engines.")] = Path("engines/cache"),
    json: JsonOption = False,
) -> None:
    """Measure latency and throughput of every installed runtime.

    Every precision and every engine of the model is compared with ONNX Runtime in FP32.
    """
    from edgefr.engines.latency import ModelCost, describe_machine, measure_latency
    from edgefr.engines.roofline import count_operations, gemm_rate
    from edgefr.io.onnx_tensors import model_size
    from edgefr.recognition.recogniser import open_recogniser

    if not all(size.strip().isdigit() for size in batch.split(",")):
        raise InvalidArgumentError("batch sizes such as 1,8,32", repr(batch), "correct --batch")
    sizes = [int(size) for size in batch.split(",")]
    path = chosen_model(model) if arch is None else _random_pair(arch)
    rows: list[BenchRow] = []
    operations = count_operations(path)
    rates = {precision: gemm_rate(precision) for precision in ("fp32", "bf16", "int8")}
    for file, runtime, precision in _candidates(path, cache) + ([] if arch is None else _int8_candidates(path)):
        remark(f"Timing {runtime} {precision} ...")
        cost = ModelCost(model_size(file), operations, rates.get(precision))
        rows += measure_latency(open_recogniser(file, runtime, precision), sizes, seconds, cost)
    name = path.name if arch is None else f"{arch} pair, random weights"
    if json:
        document = {"model": name, "rows": [asdict(row) for row in rows], "operations": operations, "gemm_rates": rates}
        print_json({**document, "machine": describe_machine()})
    else:
        here = describe_machine()
        print(f"{name} on {here['cpu']}, {here['cores']} cores\n{_text(rows)}")


def _candidates(model: Path, cache: Path) -> list[tuple[Path, str, str]]:
    """File, runtime and precision of all that can be timed: the model in every precision, and engines built from it."""
    from edgefr.engines.engine_cache import usable_engines
    from edgefr.runtimes import available_runtimes

    found = [
        (model, runtime.name, precision)
        for runtime in available_runtimes()
        if runtime.version is not None
        and runtime.name in ("onnxruntime", "onnxruntime-cuda", "openvino")  # torch only runs checkpoints
        for precision in runtime.precisions
    ]
    return found + [engine for engine in usable_engines(model, cache) if _needs_timing(*engine[1:])]


def _needs_timing(runtime: str, precision: str) -> bool:
    """Engines of ONNX Runtime and OpenVINO in FP32 or bf16 are as fast as the model itself. Others run engines only."""
    return precision in ("fp16", "int8") or runtime not in ("onnxruntime", "openvino")


def _random_pair(arch: str) -> Path:
    """Two fused backbones with random weights. The file is kept, because the export takes a minute."""
    from edgefr.io.files import unwritable
    from edgefr.io.user_folders import require_user_folder

    require_extra("torch", "train")
    from edgefr.export.random_weights import network_digest, onnx_of_random_pair

    fix = "set XDG_CACHE_HOME to a folder that you can write"
    folder = require_user_folder("cache", "the exported pair", fix)
    path = folder / f"{arch}-pair-{network_digest()}.onnx"
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, fix) from error

    remark(f"Exporting two fused {arch} backbones with random weights (once) ...")
    onnx_of_random_pair(arch, path)
    return path


def _int8_candidates(pair: Path) -> list[tuple[Path, str, str]]:
    """The pair in INT8, which is kept next to it, for each runtime that reads the file."""
    from edgefr.export.random_weights import int8_of_random_pair
    from edgefr.runtimes import available_runtimes

    path = pair.with_name(f"{pair.stem}-int8.onnx")
    if not path.is_file():
        remark("Converting them to INT8 (once) ...")
        int8_of_random_pair(pair, path)
    installed = [runtime.name for runtime in available_runtimes() if runtime.version is not None]
    return [(path, name, "int8") for name in ("onnxruntime", "openvino") if name in installed]


def _text(rows: list[BenchRow]) -> str:
    baseline = {row.batch: row.p50_ms for row in rows if (row.runtime, row.precision) == ("onnxruntime", "fp32")}
    columns: list[tuple[str, Callable[[BenchRow], str]]] = [
        ("runtime", lambda row: row.runtime),
        ("precision", lambda row: row.precision),
        ("batch", lambda row: str(row.batch)),
        ("p50 ms", lambda row: f"{row.p50_ms:.2f}"),
        ("p95 ms", lambda row: f"{row.p95_ms:.2f}"),
        ("p99 ms", lambda row: f"{row.p99_ms:.2f}"),
        ("images/s", lambda row: f"{row.images_per_second:.1f}"),
        ("of baseline", lambda row: f"{row.p50_ms / baseline[row.batch]:.2f}" if row.batch in baseline else ""),
        ("of GEMM", lambda row: "" if row.of_gemm is None else f"{row.of_gemm:.0%}"),
        ("MB", lambda row: "" if row.bytes is None else f"{row.bytes / 1e6:.1f}"),
        ("MiB", lambda row: "" if row.peak_mib is None else f"{row.peak_mib:.0f}"),
        ("watts", lambda row: "" if row.watts is None else f"{row.watts:.1f}"),
    ]
    return table([title for title, _ in columns], [[cell(row) for _, cell in columns] for row in rows])
