"""edgefr doctor"""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib import util
from typing import Any

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json, table
from edgefr.errors import EdgefrError, install_command

EXTRAS = {
    "train": ("torch", "onnx", "onnxscript", "onnxsim", "pnnx", "safetensors", "skimage"),
    "cpu": ("openvino",),
    "ncnn": ("ncnn",),
    "demo": ("skimage", "matplotlib"),
    "camera": ("trackers", "paho"),
    "web": ("trackers", "fastapi", "uvicorn", "multipart"),
    "scale": ("numkong",),
    "triton": ("tritonclient", "grpc"),
    "bulk": ("pyarrow",),
    "ray": ("pyarrow", "ray"),
}
"""Extra -> its modules."""


def doctor(json: JsonOption = False) -> None:
    """Show what this machine can run, what is missing, and how to install it."""
    report = _report()
    print_json(report) if json else print(_text(report))


def _report() -> dict[str, Any]:
    from edgefr.detection.detector_registry import open_detector
    from edgefr.engines.latency import describe_machine
    from edgefr.runtimes import available_runtimes
    from edgefr.runtimes.cuda_probe import find_gpu

    try:
        detector, advice = open_detector(None).name, ""
    except EdgefrError as error:  # whatever is wrong with it is part of the report
        detector, advice = None, str(error)
    model = _model()
    gpu = find_gpu()
    return {
        "machine": describe_machine(),
        "gpu": None if gpu is None else asdict(gpu),
        "runtimes": [
            {
                "name": runtime.name,
                "version": runtime.version,
                "precisions": runtime.precisions if runtime.version else (),
                "install": "" if runtime.version else runtime.install_command(),
            }
            for runtime in available_runtimes()
            if runtime.takes_file
        ],
        "extras": [
            {
                "name": extra,
                "missing": missing,
                "install": install_command(extra) if missing else "",
            }
            for extra, modules in EXTRAS.items()
            for missing in [[module for module in modules if util.find_spec(module) is None]]
        ],
        "detector": {"found": detector, "advice": advice},
        "model": model,
    }


def _model() -> dict[str, str | None]:
    """The default model of the commands, and the threshold in its manifest."""
    from edgefr.manifest import model_manifest

    path = chosen_model(None)
    try:
        manifest = model_manifest(path)
    except EdgefrError as error:  # as above
        return {"found": None, "advice": str(error)}
    limit = None if manifest is None else manifest.threshold_for("fp32")
    advice = "no threshold in its manifest" if limit is None else f"threshold {limit.value:.3f} at FMR {limit.fmr:g}"
    return {"found": str(path), "advice": advice}


def _text(report: dict[str, Any]) -> str:
    here = report["machine"]
    with_bf16 = "with" if here["bf16"] else "without"
    runtimes = [
        [entry["name"], entry["version"] or "missing", ", ".join(entry["precisions"]), entry["install"]]
        for entry in report["runtimes"]
    ]
    extras = [
        [entry["name"], ", ".join(entry["missing"]) or "complete", entry["install"]] for entry in report["extras"]
    ]
    detector, model, gpu = report["detector"], report["model"], report["gpu"]
    return "\n\n".join(
        [
            f"edgefr {here['versions']['edgefr']} on Python {platform.python_version()}, {here['os']}\n"
            f"{here['cpu']}, {here['cores']} cores, {here['memory_gib']} GiB, {with_bf16} native bf16\n"
            + (
                f"{gpu['name']}, compute capability {gpu['capability'] / 10}, {gpu['driver']}"
                if gpu
                else "no NVIDIA GPU"
            ),
            table(["runtime", "version", "precisions", "install with"], runtimes),
            table(["extra", "missing", "install with"], extras),
            f"detector: {detector['found'] or detector['advice']}",
            f"model: {model['found'] + ', ' if model['found'] else ''}{model['advice']}",
        ]
    )
