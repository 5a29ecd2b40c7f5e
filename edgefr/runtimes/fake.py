"""A backend without a model, for tests and for trying a pipeline: similar pictures get similar embeddings.

It computes in whole numbers up to the last division, so that its answers are the same everywhere.
"""

from __future__ import annotations

import numpy as np

from edgefr.runtimes.base import Array, Description, TensorInfo, check_inputs, select_precision
from edgefr.types import EMBEDDING, FACE_SIZE, INPUT_NAME, NORM, UNCERTAINTY, Faces

RUNTIME = "fake"
EMBEDDING_DIM = 64
GRID = 8
BLOCK = FACE_SIZE // GRID
LEVEL = 8  # a constant feature beside the centred ones, lest an even picture have none

DESCRIPTION = Description(
    RUNTIME,
    "fp32",
    (TensorInfo(INPUT_NAME, "uint8", (None, FACE_SIZE, FACE_SIZE, 3)),),
    (
        TensorInfo(EMBEDDING, "float32", (None, EMBEDDING_DIM)),
        TensorInfo(NORM, "float32", (None,)),
        TensorInfo(UNCERTAINTY, "float32", (None,)),
    ),
)


class FakeBackend:
    """A fixed random projection of an 8 x 8 miniature of the picture.

    Raises:
        EdgefrError: `precision` is not fp32.
    """

    def __init__(self, precision: str = "auto") -> None:
        select_precision((DESCRIPTION.precision,), precision, RUNTIME, "use --precision fp32")
        # RandomState, whose numbers numpy promises never to change.
        signs = np.random.RandomState(0).randint(0, 2, (GRID * GRID * 3 + 1, EMBEDDING_DIM))
        self._projection = (2 * signs - 1).astype(np.int64)

    def describe(self) -> Description:
        return DESCRIPTION

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        code = _features(check_inputs(inputs, DESCRIPTION)[INPUT_NAME]) @ self._projection  # (B, K)
        norm = np.sqrt((code**2).sum(1).astype(np.float64))  # (B,)
        return {
            EMBEDDING: (code / norm[:, None]).astype(np.float32),
            NORM: norm.astype(np.float32),
            UNCERTAINTY: (1 / (1 + norm)).astype(np.float32),
        }


def _features(faces: Faces) -> Array:
    """Means of the blocks of 14 x 14 pixels less the picture's mean, and LEVEL: (B, 193) int64."""
    blocks = faces.reshape(-1, GRID, BLOCK, GRID, BLOCK, 3).astype(np.int64)  # (B, 8, 14, 8, 14, 3)
    means = blocks.sum((2, 4)) // BLOCK**2  # (B, 8, 8, 3)
    flat = means.reshape(len(faces), -1)  # (B, 192)
    centred = flat - flat.mean(1, keepdims=True).astype(np.int64)
    return np.pad(centred, ((0, 0), (0, 1)), constant_values=LEVEL)
