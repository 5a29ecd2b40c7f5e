"""Exports the paper's network with random weights, for timing without trained weights."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import torch

from edgefr import nn
from edgefr.data.sample_faces import astronaut_faces
from edgefr.engines.precision.int8 import calibrate_graph
from edgefr.engines.precision.onnx_graph import read_graph
from edgefr.errors import InvalidArgumentError, require_extra
from edgefr.export.onnx_from_checkpoint import onnx_from_checkpoint
from edgefr.io.files import atomic_write
from edgefr.nn.fused_model import FusedModel, save_fused
from edgefr.runtimes.processor import processor
from edgefr.spec import ModelSpec

PAIRS = {
    "r18": ("iresnet18", "ir_18"),
    "r34": ("iresnet34", "ir_34"),
    "r50": ("iresnet50", "ir_50"),
    "r100": ("iresnet100", "ir_101"),
    "r200": ("iresnet200", "ir_101"),
    "mbf": ("mbf", "mobilefacenet"),
}
"""Size -> an ArcFace and an AdaFace backbone. AdaFace has none larger than ir_101."""

CALIBRATION_FACES = 8


def network_digest() -> str:
    """Eight digits that change with the code of the network, so that a stored file always has the current network."""
    sources = sorted(Path(nn.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def onnx_of_random_pair(arch: str, output: Path) -> None:
    """Export two random backbones with the paper's fusion.

    Args:
        arch: A key of `PAIRS`.
        output: The .onnx file to write.

    Raises:
        InvalidArgumentError: There is no such size.
    """
    if arch not in PAIRS:
        raise InvalidArgumentError(f"a size among {', '.join(PAIRS)}", f"{arch!r}", "choose another --arch")
    torch.manual_seed(0)
    model = FusedModel.random(ModelSpec(*PAIRS[arch]))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "pair.safetensors"
        save_fused(model, checkpoint)
        onnx_from_checkpoint(checkpoint, output, astronaut_faces(2))


def int8_of_random_pair(pair: Path, output: Path) -> None:
    """Convert the pair to INT8, to be timed only. Its decisions are not compared, as the weights are random."""
    onnx = require_extra("onnx", "train")
    faces, reduce_range = astronaut_faces(CALIBRATION_FACES), processor().saturates_int8
    model = calibrate_graph(read_graph(pair), faces, symmetric=False, reduce_range=reduce_range).int8()
    with atomic_write(output) as temporary:
        onnx.save(model, temporary)
