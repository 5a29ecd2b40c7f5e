"""A backend without a model, for tests and for trying a pipeline: similar pictures get similar embeddings.

It computes in integers up to the last division, so that its results are the same on every machine.
"""

from __future__ import annotations

import numpy as np

from edgefr.runtimes.base import Array, Description, Runtime, TensorInfo, check_inputs, select_precision
from edgefr.types import EMBEDDING, FACE_SIZE, INPUT_NAME, NORM, UNCERTAINTY, Faces

RUNTIME = "fake"
EMBEDDING_DIM = 64
GRID = 8
BLOCK = FACE_SIZE // GRID
LEVEL = 8  # a constant feature besides the centred ones, without which a uniform picture would have none

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
    """A fixed random projection of an 8 x 8 thumbnail of the picture, in FP32."""

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
    """(B, 112, 112, 3) -> (B, 193) int64: means of 14 x 14 blocks minus the mean of the picture, and LEVEL."""
    blocks = faces.reshape(-1, GRID, BLOCK, GRID, BLOCK, 3).astype(np.int64)  # (B, 8, 14, 8, 14, 3)
    means = blocks.sum((2, 4)) // BLOCK**2  # (B, 8, 8, 3)
    flat = means.reshape(len(faces), -1)  # (B, 192)
    centred = flat - flat.mean(1, keepdims=True).astype(np.int64)
    return np.pad(centred, ((0, 0), (0, 1)), constant_values=LEVEL)


RUNTIMES = (
    Runtime(
        RUNTIME,
        open=lambda _path, _name, precision, _threads: FakeBackend(precision),
        install_command=lambda: "comes with edgefr",
        takes_file=False,
    ),
)
