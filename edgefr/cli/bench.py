"""edgefr bench"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json, remark, table
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.engines.latency import BenchRow


def bench(
    model: Annotated[Path | None, typer.Argument(help="An .onnx file; else $EDGEFR_MODEL, or see --arch.")] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="Time two random-weight backbones of this size, fused: r18, r34, r50, r100, r200."),
    ] = None,
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "1,8",
    seconds: Annotated[float, typer.Option(help="Seconds a measurement.")] = 3.0,
    cache: Annotated[Path, typer.Option(help="The folder of engines.")] = Path("engines/cache"),
    json: JsonOption = False,
) -> None:
    """Latency and throughput of every runtime present.

    Each precision, and each engine of the model, stands beside ONNX Runtime in FP32.
    """
    from edgefr.engines.latency import Known, machine, measure
    from edgefr.engines.roofline import gemm_rate, operations
    from edgefr.recognition.recogniser import open_recogniser

    if not all(size.strip().isdigit() for size in batch.split(",")):
        raise EdgefrError("batch sizes such as 1,8,32", f"{batch!r}", "correct --batch")
    sizes = [int(size) for size in batch.split(",")]
    path = chosen_model(model) if arch is None else _random_pair(arch)
    rows: list[BenchRow] = []
    needed = operations(path)
    rates = {precision: gemm_rate(precision) for precision in ("fp32", "bf16", "int8")}
    present = _present(path, cache) + ([] if arch is None else _in_int8(path))
    for file, runtime, precision in present:
        remark(f"Timing {runtime} {precision} ...")
        known = Known(file.stat().st_size, needed, rates.get(precision))
        rows += measure(open_recogniser(file, runtime, precision), sizes, seconds, known=known)
    name = path.name if arch is None else f"{arch} pair, random weights"
    if json:
        document = {"model": name, "rows": [asdict(row) for row in rows], "operations": needed, "gemm_rates": rates}
        print_json({**document, "machine": machine()})
    else:
        here = machine()
        print(f"{name} on {here['cpu']}, {here['cores']} cores\n{_text(rows)}")


def _present(model: Path, cache: Path) -> list[tuple[Path, str, str]]:
    """What can be timed: the model in every runtime and precision present, and the engines built from it."""
    from edgefr.engines.engine_cache import engines_of
    from edgefr.runtimes import available_runtimes

    found = [
        (model, runtime.name, precision)
        for runtime in available_runtimes()
        if runtime.version is not None
        and runtime.name in ("onnxruntime", "onnxruntime-cuda", "openvino")  # torch is the reference
        for precision in reversed(runtime.precisions)  # FP32, which all have, first
    ]
    return found + [engine for engine in engines_of(model, cache) if _differs(*engine[1:])]


def _differs(runtime: str, precision: str) -> bool:
    """For a processor an FP32 or bf16 engine is the model itself, compiled before; no other runs on the GPU."""
    return precision in ("fp16", "int8") or runtime.startswith("tensorrt")


def _random_pair(arch: str) -> Path:
    """Two random-weight backbones of a size, fused and exported; kept, for the export takes a minute."""
    import platformdirs

    from edgefr.errors import require_extra

    require_extra("torch", "train")
    from edgefr.export.random_weights import network_digest, onnx_of_random_pair

    path = Path(platformdirs.user_cache_dir("edgefr")) / f"{arch}-pair-{network_digest()}.onnx"
    if path.is_file():
        return path

    remark(f"Exporting two random {arch} backbones, fused, once ...")
    onnx_of_random_pair(arch, path)
    return path


def _in_int8(pair: Path) -> list[tuple[Path, str, str]]:
    """The pair in INT8, kept beside it, in the runtimes that read it as it is."""
    from edgefr.export.random_weights import int8_of_random_pair
    from edgefr.runtimes import available_runtimes

    path = pair.with_name(f"{pair.stem}-int8.onnx")
    if not path.is_file():
        remark("Converting them to INT8, once ...")
        int8_of_random_pair(pair, path)
    present = [runtime.name for runtime in available_runtimes() if runtime.version is not None]
    return [(path, name, "int8") for name in ("onnxruntime", "openvino") if name in present]


def _text(rows: list[BenchRow]) -> str:
    baseline = {row.batch: row.p50_ms for row in rows if (row.runtime, row.precision) == ("onnxruntime", "fp32")}
    header = [
        "runtime",
        "precision",
        "batch",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "images/s",
        "of baseline",
        "of GEMM",
        "MB",
        "MiB",
        "watts",
    ]
    cells = [
        [
            row.runtime,
            row.precision,
            str(row.batch),
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.images_per_second:.1f}",
            f"{row.p50_ms / baseline[row.batch]:.2f}" if row.batch in baseline else "",
            "" if row.of_gemm is None else f"{row.of_gemm:.0%}",
            "" if row.bytes is None else f"{row.bytes / 1e6:.1f}",
            "" if row.peak_mib is None else f"{row.peak_mib:.0f}",
            "" if row.watts is None else f"{row.watts:.1f}",
        ]
        for row in rows
    ]
    return table(header, cells)
