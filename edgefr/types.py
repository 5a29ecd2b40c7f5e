"""Array types, the alignment template and the tensor names that training and runtimes share.

Training and runtimes have only this file, the manifest and the .onnx file in common. Nothing here imports torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""
Faces = npt.NDArray[np.uint8]
"""(B, 112, 112, 3) uint8, RGB, aligned."""
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FACE_SIZE = 112
"""Side of an aligned face in pixels."""

MAP_CHANNELS = 512
MAP_SIZE = 7
"""Published backbones have a feature map of (512, 7, 7) for an aligned face; `mini` has fewer channels."""

TEMPLATE: Floats = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
)
"""Left eye, right eye, nose, left and right mouth corner in an aligned face, (5, 2) as x, y in pixels. "Left" is the
viewer's left. Source: ArcFace (insightface `face_align.py`)."""

INPUT_NAME = "image"
EMBEDDING, NORM, UNCERTAINTY = "embedding", "norm", "uncertainty"
MAP = "map"
"""The feature map (B, C, 7, 7) of a backbone, inside a fused graph."""
CLASSIC_INPUT_NAME, CLASSIC_OUTPUT_NAME = "input.1", "output"
"""Names in the float graph that insightface's `ArcFaceONNX` accepts."""

LIVE = "live"
"""Output of a liveness net: (B,) float32, the probability of a living face."""

SPOT_OUTPUT, SPOT_STRIDE = "faces", 32
"""The output of the detector `spot`, and the number that the sides of its input are multiples of."""

METADATA_KEY = "edgefr"
"""Key of the manifest in an ONNX file's metadata."""
