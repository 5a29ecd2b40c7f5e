"""The detector's ONNX file from its checkpoint, compared with torch on photographs before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from edgefr.errors import EdgefrError, require_extra
from edgefr.export.onnx_from_torch import write_onnx
from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, file_reference, package_versions, read_manifest, write_manifest
from edgefr.nn.spot_network import SpotContract, load_spot
from edgefr.runtimes import open_backend
from edgefr.types import INPUT_NAME, SPOT_OUTPUT, SPOT_STRIDE, Floats, Image

SIDES = ((64, 96), (512, 512), (192, 320))
"""Height and width of the photographs that file and net are compared on: every size must work, whatever the example."""

PIXELS, SHARE, SCORE = 0.05, 1e-3, 1e-3
"""Largest differences of a place's box and points, in pixels and as a part of them, and of its score."""


@dataclass(frozen=True)
class ExportedSpot:
    """What was written."""

    path: Path
    manifest: Manifest


def onnx_from_spot(checkpoint: Path, output: Path) -> ExportedSpot:
    """Export a detector's checkpoint, its manifest inside and beside it.

    The graph takes `image` uint8 (1, H, W, 3) RGB, sides multiples of 32, and gives `faces` float32 (P, 15): for each
    of its places x, y, width, height, five points as x, y, all in pixels, and a score from 0 to 1.

    Raises:
        EdgefrError: the checkpoint is none of a detector, the output cannot be written, or the graph's answers differ
            from torch's; nothing is written then.
    """
    if output.suffix.lower() != ".onnx":
        raise EdgefrError("an output that ends in .onnx", str(output), "choose another name")
    graph = SpotContract(load_spot(checkpoint)).eval()
    known = read_manifest(checkpoint) or Manifest("detector", checkpoint.stem)
    manifest = replace(
        known,
        made_from=known.made_from | {"checkpoint": file_reference(checkpoint)},
        versions=known.versions | package_versions("torch", "onnx", "onnxscript", "onnxsim"),
    )
    sides = {axis: SPOT_STRIDE * torch.export.Dim(name, min=1, max=512) for axis, name in ((1, "rows"), (2, "columns"))}
    axes = {INPUT_NAME: {1: "height", 2: "width"}, SPOT_OUTPUT: {0: "places"}}
    with atomic_write(output) as temporary:
        write_onnx(graph, torch.zeros(1, 64, 96, 3, dtype=torch.uint8), sides, axes, manifest, temporary)
        _compare(graph, temporary)
    write_manifest(output, manifest)
    return ExportedSpot(output, manifest)


def _compare(graph: SpotContract, path: Path) -> None:
    backend = open_backend(path, "onnxruntime", "fp32")
    for photograph in _photographs():
        with torch.inference_mode():
            expected = graph(torch.from_numpy(photograph[None])).numpy()
        found = backend.infer({INPUT_NAME: photograph[None]})[SPOT_OUTPUT]
        if found.shape != expected.shape or not _alike(found, expected):
            raise EdgefrError(
                (
                    "the exported graph to answer as torch does on a photograph of "
                    f"{photograph.shape[1]}x{photograph.shape[0]}"
                ),
                "that it does not",
                "nothing was written; report the versions that `edgefr doctor` prints",
            )


def _alike(found: Floats, expected: Floats) -> bool:
    """Rows (P, 15)."""
    places = np.allclose(found[:, :14], expected[:, :14], rtol=SHARE, atol=PIXELS)
    return bool(places and np.allclose(found[:, 14], expected[:, 14], rtol=0, atol=SCORE))


def _photographs() -> list[Image]:
    """Parts of scikit-image's astronaut, some of them with her face."""
    require_extra("skimage", "train")
    from skimage import data

    picture = data.astronaut()
    return [np.ascontiguousarray(picture[:height, 512 - width :]) for height, width in SIDES]
