"""Opens the file of a backbone: a checkpoint of torch, or a recogniser that is only an ONNX graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgefr.errors import WrongModelError
from edgefr.nn.backbone import Backbone
from edgefr.nn.graph_backbone import GraphBackbone
from edgefr.nn.upstream_checkpoints import Colour, backbone_from_checkpoint
from edgefr.recognition.published.adopted_files import is_published
from edgefr.recognition.published.feature_map import tapped_from_native


def open_backbone(
    path: Path, arch: str | None = None, colour: Colour | None = None, tap: str | None = None
) -> Backbone:
    """Open a backbone.

    Args:
        path: A checkpoint of torch, or an .onnx file with edgefr's input.
        arch: Architecture of a checkpoint; found from the file if not given.
        colour: Colour order of the weights of a checkpoint; found from the file if not given.
        tap: Tensor of an .onnx file that is its feature map; found by rule if not given.

    Returns:
        The frozen backbone in eval mode, which takes RGB in [-1, 1].

    Raises:
        EdgefrError: The file is missing, damaged or no such backbone, or has no usable feature map.
    """
    if path.suffix.lower() != ".onnx":
        return backbone_from_checkpoint(path, arch, colour)
    if is_published(path):
        raise WrongModelError(
            f"an adopted recogniser in {path}",
            "a net whose input convention is not known",
            f"run: edgefr adopt {path} --faces FACES. The same path then stands for the adopted copy",
        )
    graph, found = tapped_from_native(path, tap)
    backbone = GraphBackbone(torch.from_numpy(np.frombuffer(graph.SerializeToString(), np.uint8).copy())).eval()
    backbone.map_name = str(found)
    return backbone
