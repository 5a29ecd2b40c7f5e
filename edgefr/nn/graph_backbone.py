"""A frozen backbone that is only an ONNX graph, run by onnxruntime."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from edgefr.errors import WrongModelError, require_extra
from edgefr.nn.backbone import Backbone, BackboneOutput
from edgefr.types import EMBEDDING, INPUT_NAME, MAP, MAP_SIZE

if TYPE_CHECKING:
    import onnxruntime

GRAPH_ARCH = "onnx"
"""The architecture of such a backbone in a `ModelSpec`."""


class GraphBackbone(Backbone):
    """A backbone whose graph is part of the state dict, so that a checkpoint holds everything."""

    arch = GRAPH_ARCH
    map_name = ""
    """Tensor that is the feature map, with its shape, if the backbone was opened from its file."""
    map_is_normalised = False
    graph: Tensor

    def __init__(self, graph: Tensor) -> None:
        """Open the graph.

        Args:
            graph: (N,) uint8, the bytes of an ONNX model from `image` uint8 (B, 112, 112, 3) RGB to `embedding` (B, D)
                of unit length and `map` (B, C, 7, 7), as `tapped_from_native` makes them.

        Raises:
            WrongModelError: onnxruntime cannot open it, or it has other outputs.
            MissingExtraError: onnxruntime is not installed.
        """
        super().__init__()
        self.register_buffer("graph", graph)
        shapes = {value.name: value.shape for value in self._session.get_outputs()}
        lengths = {name: shape[1] for name, shape in shapes.items() if len(shape) > 1}
        if not all(isinstance(lengths.get(name), int) for name in (MAP, EMBEDDING)):
            raise _unusable(f"the outputs {', '.join(shapes)}")
        if shapes[MAP][2:] != [MAP_SIZE, MAP_SIZE]:
            raise _unusable(f"a map of the shape {shapes[MAP]}")
        inputs = [(value.name, value.type) for value in self._session.get_inputs()]
        if inputs != [(INPUT_NAME, "tensor(uint8)")]:
            raise _unusable(f"the inputs {inputs}")
        self.map_channels, self.embedding_dim = lengths[MAP], lengths[EMBEDDING]

    def forward(self, image: Tensor) -> BackboneOutput:
        """(B, 3, 112, 112) RGB in [-1, 1] -> feature map (B, C, 7, 7) and unit embedding (B, D)."""
        pixels = (image.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
        faces = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        try:
            found = self._session.run([MAP, EMBEDDING], {INPUT_NAME: faces})
        except Exception as error:  # onnxruntime's own types have no common base
            raise _unusable(f"one that fails ({_last_line(error)})") from error
        return BackboneOutput(*(torch.from_numpy(array).to(image.device) for array in found))

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        library: Any = require_extra("onnxruntime", "cpu")
        options = library.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            model = np.ascontiguousarray(self.graph.cpu().numpy()).tobytes()
            return library.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own types have no common base
            raise _unusable(f"one that onnxruntime cannot open ({_last_line(error)})") from error


def _unusable(found: str) -> WrongModelError:
    return WrongModelError(
        "an ONNX graph of a backbone with its feature map",
        found,
        "adopt or export the .onnx file again, or, if it is part of a checkpoint, train that again",
    )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
