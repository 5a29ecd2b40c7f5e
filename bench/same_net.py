"""How clearly a gallery tells the same net in another file from other nets: the lowest cosine of any picture.

MobileFaceNet as ONNX is compared with its own `.pt`, with other conventions of input, and with copies whose weights
were changed a little, on the generated pictures that galleries keep the embeddings of, and on faces.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.adopting import CELEBA, MOBILEFACENET
from edgefr.data.collections import open_faces
from edgefr.data.generated_pictures import generated_pictures
from edgefr.engines.parity_gate import row_cosines
from edgefr.export.native_from_published import native_from_published
from edgefr.gallery.embedding_contract import PICTURES
from edgefr.nn.backbone import Backbone
from edgefr.nn.fused_model import normalise
from edgefr.nn.upstream_checkpoints import backbone_from_checkpoint
from edgefr.recognition.published.convention import IMAGENET_MEAN, IMAGENET_STD, Convention
from edgefr.recognition.recogniser import open_recogniser
from edgefr.types import Faces, Floats

CHECKPOINT = "arcface-mobilefacenet/mobilefacenet.pt"
FACES, TRAINING = 512, 32
CONVENTIONS = {
    "ONNX, onnxruntime": Convention("rgb", IMAGENET_MEAN, IMAGENET_STD),
    "BGR": Convention("bgr", IMAGENET_MEAN, IMAGENET_STD),
    "(x - 127.5) / 127.5": Convention(),
    "ImageNet, rounded to integers": Convention("rgb", (124.0, 116.0, 104.0), (58.0, 57.0, 57.0)),
}

Embed = Callable[[Faces], Floats]


def run(data: Path) -> dict[str, Any]:
    """Lowest cosines with the published ONNX file; `data` is the folder of the shared data."""
    weights = data / "weights"
    folder = open_faces(data / CELEBA)
    chosen = np.linspace(0, len(folder.names) - 1, FACES).astype(int)
    faces, others = (
        folder.read_faces([folder.names[index] for index in indices]) for indices in (chosen, chosen[:TRAINING] + 1)
    )
    pictures = {
        f"{PICTURES} generated pictures": generated_pictures(PICTURES),
        f"{FACES} faces of CelebA": faces,
    }
    net = backbone_from_checkpoint(weights / CHECKPOINT).eval()
    with tempfile.TemporaryDirectory() as temporary:
        nets = _files(weights, Path(temporary))
    nets |= {"weights with noise of 0.01 %": _noisy(net, 1e-4), "of 0.1 %": _noisy(net, 1e-3)}
    nets |= {
        "fine-tuned for 5 steps at 1e-5": _tuned(net, others, 1e-5),
        "at 1e-4": _tuned(net, others, 1e-4),
    }
    found: dict[str, Any] = {name: {} for name in nets}
    for title, shown in pictures.items():
        own = nets["ONNX, onnxruntime"](shown)
        for name, embed in nets.items():
            found[name][title] = float(row_cosines(own, embed(shown)).min())
    return found


def _files(weights: Path, folder: Path) -> dict[str, Embed]:
    """The net from its files, and with other conventions."""
    nets: dict[str, Embed] = {}
    for number, (name, convention) in enumerate(CONVENTIONS.items()):
        path = folder / f"{number}.onnx"
        native_from_published(weights / MOBILEFACENET, path, None, convention)
        nets[name] = _embed(path, "onnxruntime")
    nets["ONNX, OpenVINO"] = _embed(folder / "0.onnx", "openvino")
    native_from_published(weights / CHECKPOINT, folder / "checkpoint.onnx", None)
    return nets | {".pt, onnxruntime": _embed(folder / "checkpoint.onnx", "onnxruntime")}


def _embed(path: Path, runtime: str) -> Embed:
    recogniser = open_recogniser(path, runtime, "fp32")
    return lambda faces: recogniser.embed(faces).embedding


def _of_torch(net: Backbone) -> Embed:
    @torch.inference_mode()
    def embed(faces: Faces) -> Floats:
        parts = [net(normalise(torch.from_numpy(part))).embedding for part in np.array_split(faces, len(faces) // 8)]
        unit: Floats = torch.nn.functional.normalize(torch.cat(parts)).numpy()
        return unit

    return embed


def _noisy(net: Backbone, share: float) -> Embed:
    """Weights with noise of this share of their standard deviation."""
    torch.manual_seed(0)
    changed = copy.deepcopy(net)
    with torch.no_grad():
        for weights in changed.parameters():
            weights.add_(share * weights.std() * torch.randn_like(weights))
    return _of_torch(changed)


def _tuned(net: Backbone, faces: Faces, rate: float) -> Embed:
    """Trained for five steps to tell faces apart, with fixed statistics of the batch normalisation."""
    torch.manual_seed(0)
    changed = copy.deepcopy(net).requires_grad_(True)
    pictures = normalise(torch.from_numpy(faces))
    head = torch.nn.functional.normalize(torch.randn(len(pictures), changed.embedding_dim))
    optimizer = torch.optim.SGD(changed.parameters(), lr=rate, momentum=0.9)
    for _ in range(5):
        cosines = torch.nn.functional.normalize(changed(pictures).embedding) @ head.T
        loss = torch.nn.functional.cross_entropy(32 * cosines, torch.arange(len(pictures)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return _of_torch(changed.eval())
