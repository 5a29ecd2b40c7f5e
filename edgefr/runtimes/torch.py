"""PyTorch on the processor: in FP32 the reference that exported models are compared with, and for evaluation a fused
checkpoint beside both its backbones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefr.errors import require_extra
from edgefr.runtimes.base import Array, Description, TensorInfo, check_inputs, failed, model_file, select_precision
from edgefr.spec import ModelSpec
from edgefr.types import EMBEDDING, FACE_SIZE, INPUT_NAME, NORM, UNCERTAINTY, Faces, Floats

if TYPE_CHECKING:
    from edgefr.nn.fused_model import FusedModel

RUNTIME = "torch"


class TorchBackend:
    """A fused checkpoint, as training wrote it.

    Raises:
        EdgefrError: torch is missing, the file is not a fused checkpoint, or `precision` is not fp32.
    """

    def __init__(self, path: Path, precision: str = "auto") -> None:
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
            raise failed(RUNTIME, error) from error

    def _forward(self, image: Array) -> dict[str, Array]:
        with self._torch.inference_mode():
            # A copy: torch warns of arrays that it may not write to.
            found = self._model(self._torch.tensor(image))
        outputs = {EMBEDDING: found.embedding, NORM: found.norm, UNCERTAINTY: found.uncertainty}
        return {name: tensor.numpy() for name, tensor in outputs.items() if tensor is not None}


@dataclass(frozen=True)
class Parts:
    """What a fused model and its backbones say of B faces, before it is made unit: `fused` (B, K), `a` (B, D_a) and
    `b` (B, D_b); `uncertainty` (B,) is the fused model's, None without a bottleneck."""

    fused: Floats
    uncertainty: Floats | None
    a: Floats
    b: Floats


class FusedPass:
    """A fused checkpoint and both its backbones in one pass, each of which is run once.

    bf16 is torch's autocast. It takes half the time where the processor has it.

    Raises:
        EdgefrError: torch is missing, the file is not a fused checkpoint, or `precision` is neither fp32 nor bf16.
    """

    def __init__(self, path: Path, precision: str = "fp32") -> None:
        self.precision = select_precision(("fp32", "bf16"), precision, RUNTIME, "use --precision fp32")
        self._model = _load(path)
        self._torch = require_extra("torch", "train")

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    def __call__(self, faces: Faces) -> Parts:
        """(B, 112, 112, 3) uint8 RGB aligned faces -> what the parts say.

        Raises:
            EdgefrError: torch fails.
        """
        try:
            return self._forward(faces)
        except RuntimeError as error:
            raise failed(RUNTIME, error) from error

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
    model_file(path, ".safetensors", RUNTIME)
    require_extra("torch", "train")
    require_extra("safetensors", "train")
    from edgefr.nn.fused_model import load_fused

    return load_fused(path)
