"""Exports a MiniFASNet to an ONNX file, and compares it with torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgefr.errors import EdgefrError, InvalidArgumentError
from edgefr.export.onnx_from_torch import write_onnx
from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, file_reference, package_versions, write_manifest
from edgefr.nn.minifasnet import FACE_SIDE, LIVE_CLASS, MiniFASNet, load_minifasnet
from edgefr.runtimes import open_backend
from edgefr.types import INPUT_NAME, LIVE, Faces

SCALES = {False: 2.7, True: 4.0}
"""Size of the window as a multiple of the face, without and with squeeze-and-excitation: MiniFASNetV2 and V1SE."""

TOLERANCE = 1e-3
"""Largest difference between the probabilities of the graph and of torch."""


class LivenessContract(nn.Module):
    """`image` uint8 (B, 80, 80, 3) RGB -> `live` (B,), the probability of a living face."""

    def __init__(self, net: MiniFASNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """Reorder the channels, because the net takes BGR, and select the class."""
        probabilities: Tensor = self.net(image.flip(3).permute(0, 3, 1, 2).float())
        return probabilities[:, LIVE_CLASS]


def onnx_from_minifasnet(checkpoint: Path, state: Mapping[str, Tensor], output: Path, faces: Faces) -> float:
    """Export a published net, with a manifest inside the file and next to it.

    Args:
        checkpoint: The published file.
        state: Its content.
        output: The .onnx file to write.
        faces: (N, 112, 112, 3) uint8 RGB pictures to compare with torch on.

    Returns:
        The largest difference to torch's probabilities.

    Raises:
        InvalidArgumentError: The output does not end in .onnx.
        EdgefrError: The weights do not fit together, the output cannot be written, or its answers differ from torch's.
            Nothing is written.
    """
    if output.suffix.lower() != ".onnx":
        raise InvalidArgumentError("an output that ends in .onnx", str(output), "choose another name")
    graph = LivenessContract(load_minifasnet(state)).eval()
    scale = SCALES[any("se_module" in name for name in state)]
    manifest = Manifest(
        "liveness",
        output.stem,
        spec={"scale": scale},
        made_from={"checkpoint": file_reference(checkpoint)},
        versions=package_versions("torch", "onnx", "onnxscript", "onnxsim"),
    )
    example = torch.zeros(2, FACE_SIDE, FACE_SIDE, 3, dtype=torch.uint8)
    with atomic_write(output) as temporary:
        axes = {INPUT_NAME: {0: "batch"}, LIVE: {0: "batch"}}
        write_onnx(graph, (example,), {0: torch.export.Dim("batch", min=1)}, axes, manifest, temporary)
        difference = _compare(graph, temporary, faces[:, :FACE_SIDE, :FACE_SIDE])
    write_manifest(output, manifest)
    return difference


def _compare(graph: LivenessContract, path: Path, windows: Faces) -> float:
    with torch.inference_mode():
        expected = graph(torch.from_numpy(np.ascontiguousarray(windows))).numpy()
    found = open_backend(path, "onnxruntime", "fp32").infer({INPUT_NAME: np.ascontiguousarray(windows)})[LIVE]
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise EdgefrError(
            f"the probabilities of torch, within {TOLERANCE:g}",
            f"a difference of {difference:.3g}",
            "report this with the versions that `edgefr doctor` prints. Nothing was written",
        )
    return difference
