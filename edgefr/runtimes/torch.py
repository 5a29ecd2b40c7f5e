"""PyTorch on the processor: the FP32 reference for exported models, and a fused checkpoint with both its backbones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefr.errors import install_command, require_extra
from edgefr.runtimes.base import (
    Array,
    Description,
    Runtime,
    TensorInfo,
    check_inputs,
    check_model_file,
    inference_error,
    select_precision,
)
from edgefr.spec import ModelSpec
from edgefr.types import EMBEDDING, FACE_SIZE, INPUT_NAME, NORM, UNCERTAINTY, Faces, Floats

if TYPE_CHECKING:
    from edgefr.nn.fused_model import FusedModel

RUNTIME = "torch"
SUFFIX = ".safetensors"


class TorchBackend:
    """A fused checkpoint as training writes it."""

    def __init__(self, path: Path, precision: str = "auto") -> None:
        """Open a checkpoint.

        Args:
            path: A .safetensors file.
            precision: "fp32" or "auto".

        Raises:
            WrongModelError: The file is not a fused checkpoint.
            InvalidArgumentError: The precision is another one.
            MissingExtraError: torch is not installed.
        """
        self._precision = select_precision(("fp32",), precision, RUNTIME, "use --precision fp32")
        self._model = _load(path)
        self._torch = require_extra("torch", "train")
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
        image = check_inputs(inputs, self._description)[INPUT_NAME]
        try:
            return self._forward(image)
        except RuntimeError as error:
            raise inference_error(RUNTIME, error) from error

    def _forward(self, image: Array) -> dict[str, Array]:
        with self._torch.inference_mode():
            # A copy, because torch warns about read-only arrays.
            output = self._model(self._torch.tensor(image))
        tensors = {EMBEDDING: output.embedding, NORM: output.norm, UNCERTAINTY: output.uncertainty}
        return {name: tensor.numpy() for name, tensor in tensors.items() if tensor is not None}


@dataclass(frozen=True)
class Parts:
    """The outputs of a fused model and its backbones for B faces, before they are normalised.

    Attributes:
        fused: (B, K) embedding of the fused model.
        uncertainty: (B,) of the fused model; None without a bottleneck.
        a: (B, D_a) embedding of backbone A.
        b: (B, D_b) embedding of backbone B.
    """

    fused: Floats
    uncertainty: Floats | None
    a: Floats
    b: Floats


class FusedPass:
    """A fused checkpoint and both its backbones in one pass, which runs each backbone once."""

    def __init__(self, path: Path, precision: str = "fp32") -> None:
        """Open a checkpoint.

        Args:
            path: A .safetensors file.
            precision: "fp32", or "bf16" by torch's autocast, which takes half the time where the processor has it.

        Raises:
            WrongModelError: The file is not a fused checkpoint.
            InvalidArgumentError: The precision is another one.
            MissingExtraError: torch is not installed.
        """
        self.precision = select_precision(("fp32", "bf16"), precision, RUNTIME, "use --precision fp32")
        self._model = _load(path)
        self._torch = require_extra("torch", "train")

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    def __call__(self, faces: Faces) -> Parts:
        """Embed aligned faces.

        Args:
            faces: (B, 112, 112, 3) uint8 RGB.

        Returns:
            The embeddings of the model and of both backbones.

        Raises:
            EdgefrError: torch fails.
        """
        try:
            return self._forward(faces)
        except RuntimeError as error:
            raise inference_error(RUNTIME, error) from error

    def _forward(self, faces: Faces) -> Parts:
        from edgefr.nn.fused_model import BackboneFeatures, normalise

        torch, model = self._torch, self._model
        unit = torch.nn.functional.normalize
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            image = normalise(torch.tensor(faces)).contiguous(memory_format=torch.channels_last)
            a, b = model.backbone_a(image), model.backbone_b(image)  # `backbone_features` would drop their lengths
            seen = BackboneFeatures(a.map, b.map, torch.cat([unit(a.embedding), unit(b.embedding)], 1))
            mu, logvar = model.encode(seen)
        uncertainty = None if logvar is None else logvar.float().mean(1).numpy()
        return Parts(mu.float().numpy(), uncertainty, a.embedding.float().numpy(), b.embedding.float().numpy())


def _load(path: Path) -> FusedModel:
    check_model_file(path, SUFFIX, RUNTIME)
    require_extra("torch", "train")
    require_extra("safetensors", "train")
    from edgefr.nn.fused_model import load_fused

    return load_fused(path)


RUNTIMES = (
    Runtime(
        RUNTIME,
        open=lambda path, _name, precision, _threads: TorchBackend(path, precision),
        install_command=lambda: install_command("train"),
        modules=("torch",),
        packages=("torch",),
        own_suffix=SUFFIX,
    ),
)
