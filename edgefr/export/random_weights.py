"""The paper's network with random weights as an ONNX file, for timing where no trained weights are at hand."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import torch

from edgefr import nn
from edgefr.data.sample_faces import astronaut_faces
from edgefr.engines.precision.int8 import calibrated
from edgefr.engines.precision.onnx_graph import read_graph
from edgefr.errors import EdgefrError, require_extra
from edgefr.export.onnx_from_checkpoint import onnx_from_checkpoint
from edgefr.io.files import atomic_write
from edgefr.nn.fused_model import FusedModel, save_fused
from edgefr.spec import ModelSpec

PAIRS = {
    "r18": ("iresnet18", "ir_18"),
    "r34": ("iresnet34", "ir_34"),
    "r50": ("iresnet50", "ir_50"),
    "r100": ("iresnet100", "ir_101"),
    "r200": ("iresnet200", "ir_101"),
    "mbf": ("mbf", "mobilefacenet"),
}
"""An ArcFace and an AdaFace trunk of one size; AdaFace has none beyond ir_101."""

CALIBRATION_FACES = 8


def network_digest() -> str:
    """Eight digits that change with the network's code, so that a kept file is never timed for another."""
    sources = sorted(Path(nn.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def onnx_of_random_pair(arch: str, output: Path) -> None:
    """Export two random backbones of size `arch` with the paper's fusion.

    Raises:
        EdgefrError: no such size.
    """
    if arch not in PAIRS:
        raise EdgefrError(f"a size among {', '.join(PAIRS)}", f"{arch!r}", "choose another --arch")
    torch.manual_seed(0)
    model = FusedModel.random(ModelSpec(*PAIRS[arch]))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "pair.safetensors"
        save_fused(model, checkpoint)
        onnx_from_checkpoint(checkpoint, output, astronaut_faces(2))


def int8_of_random_pair(pair: Path, output: Path) -> None:
    """Write the pair in INT8, which takes as long as a trained one; what random weights decide is not compared."""
    onnx = require_extra("onnx", "train")
    model = calibrated(read_graph(pair), astronaut_faces(CALIBRATION_FACES), symmetric=False).int8()
    with atomic_write(output) as temporary:
        onnx.save(model, temporary)
