"""Exports a detector's checkpoint to an ONNX file, and compares it with torch on photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from edgefr.errors import EdgefrError, InvalidArgumentError, require_extra
from edgefr.export.onnx_from_torch import write_onnx
from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, file_reference, package_versions, read_manifest, write_manifest
from edgefr.nn.spot_network import SpotContract, load_spot
from edgefr.runtimes import open_backend
from edgefr.types import INPUT_NAME, SPOT_OUTPUT, SPOT_STRIDE, Floats, Image

SIDES = ((64, 96), (512, 512), (192, 320))
"""Heights and widths of the photographs to compare on. The graph must work at any size, not only at the example's."""

PIXELS, SHARE, SCORE = 0.05, 1e-3, 1e-3
"""Largest differences: of boxes and points in pixels plus a share of their value, and of scores."""


@dataclass(frozen=True)
class ExportedDetector:
    """An exported file and its manifest."""

    path: Path
    manifest: Manifest


def onnx_from_spot(checkpoint: Path, output: Path) -> ExportedDetector:
    """Export a detector's checkpoint, with its manifest inside the file and next to it.

    The graph maps `image` uint8 (1, H, W, 3) RGB, with sides that are multiples of 32, to `faces` float32 (P, 15): for
    each anchor point x, y, width and height of a box, five landmarks as x, y, all in pixels, and a score from 0 to 1.

    Args:
        checkpoint: The checkpoint of a detector.
        output: The .onnx file to write.

    Raises:
        InvalidArgumentError: The output does not end in .onnx.
        EdgefrError: The checkpoint is not that of a detector, the output cannot be written, or its outputs differ from
            torch's. Nothing is written.
    """
    if output.suffix.lower() != ".onnx":
        raise InvalidArgumentError("an output that ends in .onnx", str(output), "choose another name")
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
        write_onnx(graph, (torch.zeros(1, 64, 96, 3, dtype=torch.uint8),), sides, axes, manifest, temporary)
        _compare(graph, temporary)
    write_manifest(output, manifest)
    return ExportedDetector(output, manifest)


def _compare(graph: SpotContract, path: Path) -> None:
    backend = open_backend(path, "onnxruntime", "fp32")
    for photograph in _photographs():
        with torch.inference_mode():
            expected = graph(torch.from_numpy(photograph[None])).numpy()
        found = backend.infer({INPUT_NAME: photograph[None]})[SPOT_OUTPUT]
        if found.shape != expected.shape or not _are_close(found, expected):
            raise EdgefrError(
                f"the outputs of torch on a photograph of {photograph.shape[1]}x{photograph.shape[0]}",
                "other outputs of the exported graph",
                "report this with the versions that `edgefr doctor` prints. Nothing was written",
            )


def _are_close(found: Floats, expected: Floats) -> bool:
    """Compare rows (P, 15)."""
    places = np.allclose(found[:, :14], expected[:, :14], rtol=SHARE, atol=PIXELS)
    return bool(places and np.allclose(found[:, 14], expected[:, 14], rtol=0, atol=SCORE))


def _photographs() -> list[Image]:
    """Crops of scikit-image's astronaut, some of them with her face."""
    require_extra("skimage", "train")
    from skimage import data

    picture = data.astronaut()
    return [np.ascontiguousarray(picture[:height, 512 - width :]) for height, width in SIDES]
