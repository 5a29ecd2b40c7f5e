"""PyTorch on the processor, in FP32: the reference that exported models are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgefr.backends.base import Array, Description, TensorInfo, checked, failed, model_file, only
from edgefr.errors import need
from edgefr.spec import EMBEDDING, FACE_SIZE, INPUT_NAME, NORM, UNCERTAINTY

RUNTIME = "torch"


class TorchBackend:
    """A fused checkpoint, as training wrote it.

    Raises:
        EdgefrError: torch is missing, the file is not a fused checkpoint, or `precision` is not fp32.
    """

    def __init__(self, path: Path, precision: str = "auto") -> None:
        self._precision = only(("fp32",), precision, RUNTIME, "use --precision fp32")
        model_file(path, ".safetensors", RUNTIME)
        self._torch = need("torch", "train")
        need("safetensors", "train")
        from edgefr.nn.fused import load_fused

        self._model = load_fused(path)
        face = (FACE_SIZE, FACE_SIZE, 3)
        self._description = Description(
            RUNTIME,
            self._precision,
            (TensorInfo(INPUT_NAME, "uint8", (None, *face)),),
            # The first dimension of every output is the batch.
            tuple(
                TensorInfo(name, array.dtype.name, (None, *array.shape[1:]))
                for name, array in self._forward(np.zeros((1, *face), np.uint8)).items()
            ),
        )

    def describe(self) -> Description:
        return self._description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        image = checked(inputs, self._description)[INPUT_NAME]
        try:
            return self._forward(image)
        except RuntimeError as error:
            raise failed(RUNTIME, error) from error

    def _forward(self, image: Array) -> dict[str, Array]:
        with self._torch.inference_mode():
            # A copy: torch warns of arrays that it may not write to.
            found = self._model(self._torch.tensor(image))
        outputs = {EMBEDDING: found.embedding, NORM: found.norm, UNCERTAINTY: found.uncertainty}
        return {name: tensor.numpy() for name, tensor in outputs.items() if tensor is not None}
