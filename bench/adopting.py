"""The figures of docs/adopting.md that `adopt`, `fuse` and `eval` do not print themselves.

Why conventions are measured on degraded faces, what nets lose that know nobody, how well the disagreement of two fused
nets finds poor faces, and how long they take. Nothing here is chosen on LFW's test folds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from edgefr.cli.face_collection import faces_to_measure_on
from edgefr.evaluation.convention_measurement import ProbeSet, probe_losses, read_probe_set
from edgefr.export.fused_from_recognisers import fused_from_recognisers
from edgefr.export.native_from_published import AdoptionFaces, native_from_published
from edgefr.nn.architectures import build_backbone
from edgefr.nn.fused_model import normalise
from edgefr.recognition.published.convention import IMAGENET_MEAN, IMAGENET_STD, Convention
from edgefr.recognition.recogniser import open_recogniser
from edgefr.types import Faces, Floats

LFW, CELEBA = "lfw-aligned-112.zip", "faces-celeba.zip"
MOBILEFACENET, EDGEFACE = "arcface-mobilefacenet/reference-batch1.onnx", "edgeface-xs/edgeface-xs.onnx"
CONVENTIONS = {"ImageNet": Convention("rgb", IMAGENET_MEAN, IMAGENET_STD), "(x - 127.5) / 127.5": Convention()}
TURNS = 150

Embed = Callable[[Faces], Floats]


def run(data: Path) -> dict[str, Any]:
    """All figures; `data` is the folder of the shared data."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "conventions of MobileFaceNet": _conventions(data, Path(folder)),
            "share of the loss by chance": _shares(data),
            "fused": _fused(data, Path(folder)),
        }


def _faces(path: Path) -> AdoptionFaces:
    return faces_to_measure_on(path, None, None, None, "largest")


def _probes(path: Path) -> ProbeSet:
    faces = _faces(path)
    return read_probe_set(faces.chosen.names, faces.read_crops)


def _conventions(data: Path, folder: Path) -> dict[str, Any]:
    """Losses on clean and degraded probes of LFW with the right convention and with another usual one."""
    probes = _probes(data / LFW)
    _, person = np.unique(probes.people, return_inverse=True)
    losses = {}
    for name, convention in CONVENTIONS.items():
        path = folder / f"{len(losses)}.onnx"
        native_from_published(data / "weights" / MOBILEFACENET, path, None, convention)
        recogniser = open_recogniser(path)
        clean, poor = (recogniser.embed(part).embedding for part in (probes.references, probes.probes))
        losses[name] = {"clean": probe_losses(clean, clean, probes.people)[0]}
        losses[name]["degraded"] = probe_losses(clean, poor, probes.people)[0]
    found: dict[str, Any] = {"people": int(person.max()) + 1}
    right, wrong = (losses[name] for name in CONVENTIONS)
    for kind in ("clean", "degraded"):
        difference = np.bincount(person, wrong[kind] - right[kind]) / np.bincount(person)
        error = difference.std() / len(difference) ** 0.5
        means = {name: round(float(losses[name][kind].mean()), 3) for name in CONVENTIONS}
        found[kind] = means | {"standard errors": round(float(difference.mean() / error), 1)}
    return found


def _shares(data: Path) -> dict[str, Any]:
    """The losses of a trained net, of the same with the wrong scale, and of untrained ones, as shares of that of a net
    that names people by chance, for 150 and 2,400 probes."""
    probes = _probes(data / CELEBA)
    trained = data / "weights/arcface-mobilefacenet/mobilefacenet.pt"
    from edgefr.nn.upstream_checkpoints import backbone_from_checkpoint

    torch.manual_seed(0)
    nets: dict[str, Embed] = {
        "MobileFaceNet": _embed_with(backbone_from_checkpoint(trained), 1.0),
        "pixels 127 times too large": _embed_with(backbone_from_checkpoint(trained), 127.5),
        "untrained MobileFaceNet": _embed_with(build_backbone("mobilefacenet").eval(), 1.0),
        "pixels themselves": lambda faces: faces[:, ::14, ::14].reshape(len(faces), -1).astype(np.float32) - 127.5,
    }
    found: dict[str, Any] = {}
    for name, embed in nets.items():
        clean, poor = (_unit(embed(part)) for part in (probes.references, probes.probes))
        for count in (150, 2400):
            loss = probe_losses(clean[:count], poor[:count], probes.people[:count])[0].mean()
            found.setdefault(name, {})[count] = round(float(loss / np.log(count)), 3)
    return found


def _embed_with(backbone: Any, scale: float) -> Embed:
    def embed(faces: Faces) -> Floats:
        with torch.inference_mode():
            parts = [
                backbone(scale * normalise(torch.from_numpy(faces[start : start + 64]))).embedding
                for start in range(0, len(faces), 64)
            ]
        return torch.cat(parts).numpy()

    return embed


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def _fused(data: Path, folder: Path) -> dict[str, Any]:
    """How well uncertainty and norm of a fused file find degraded faces and rank them, and its time."""
    parts = [folder / "MobileFaceNet.onnx", folder / "EdgeFace-XS.onnx"]
    for part, source in zip(parts, (MOBILEFACENET, EDGEFACE), strict=True):
        native_from_published(data / "weights" / source, part, None)
    door = folder / "door.onnx"
    made = fused_from_recognisers(parts, door, _faces(data / CELEBA))
    probes = _probes(data / LFW)
    recogniser = open_recogniser(door)
    clean, poor = recogniser.embed(probes.references), recogniser.embed(probes.probes)
    assert clean.uncertainty is not None
    assert poor.uncertainty is not None
    loss = probe_losses(clean.embedding, poor.embedding, probes.people)[0]
    is_poor = np.repeat([0, 1], len(probes.people))
    signals = {"disagreement": (clean.uncertainty, poor.uncertainty), "norm": (-clean.norm, -poor.norm)}
    rows = {
        name: {
            "area under the curve, degraded or clean": round(float(roc_auc_score(is_poor, np.concatenate(both))), 3),
            "rank correlation with the loss": round(float(spearmanr(both[1], loss)[0]), 3),
        }
        for name, both in signals.items()
    }
    return {"weights": made.manifest.spec["weights"], "on LFW": rows, "time": _time(door, parts)}


def _time(door: Path, parts: list[Path]) -> dict[str, Any]:
    """Median milliseconds for one face on one core, in turns, and the share of the sum of the parts."""
    recognisers = {path.stem: open_recogniser(path, "onnxruntime", threads=1) for path in (door, *parts)}
    face = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), np.uint8)
    times: dict[str, list[float]] = {name: [] for name in recognisers}
    for _ in range(TURNS):
        for name, recogniser in recognisers.items():
            start = time.perf_counter()
            recogniser.embed(face)
            times[name].append(1e3 * (time.perf_counter() - start))
    p50 = {name: median(values) for name, values in times.items()}
    share = p50[door.stem] / sum(p50[part.stem] for part in parts)
    return {"p50_ms": {name: round(value, 2) for name, value in p50.items()}, "of_the_sum": round(share, 3)}
