"""Which signal knows a poor face: error against discard, limits and templates on LFW's folds 6-10.

Every picture is seen under every protocol, good light included, and every genuine pair of the folds is compared under
every two of them, so that pictures of different quality meet. `aligned` degrades after alignment, as the model was
trained; `photographs` before detection, as `verify` sees them. There a picture without a face is left out: no signal is
needed to refuse it. Limits and the temperature come from the people of folds 1-5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgefr.cli.output import progress
from edgefr.data.collections import open_faces, person_of
from edgefr.data.degradations import PROTOCOLS, degrade
from edgefr.data.lfw_pairs import NamedPair, read_pairs
from edgefr.detection.base import Detector, select_face
from edgefr.detection.registry import open_detector
from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import accuracy_difference
from edgefr.evaluation.error_rates import Comparisons, tar_at_far
from edgefr.evaluation.error_versus_discard import (
    DiscardCurve,
    area_difference,
    discard_curve,
    pair_quality,
    threshold_at_fnmr,
)
from edgefr.evaluation.lfw_protocol import index_pairs
from edgefr.evaluation.pairs import Pairs, similarities
from edgefr.nn.fused_model import FusedModel, load_fused
from edgefr.recognition.alignment import align
from edgefr.recognition.quality import sharpness
from edgefr.recognition.template_fusion import best_only, inverse_variance, weighted_mean
from edgefr.types import Faces, Floats, Image

TRAINING, TEST = range(1, 6), range(6, 11)
BATCH = 64
FNMR = 0.1
"""Where the curves start: the threshold is the one at which so many genuine comparisons fail."""
IMAGES, ROUNDS = 3, 5
"""Images of a template, and how often templates are drawn; one more image of the person is compared with it."""
FAR = 1e-2
TEMPERATURES = (1.0, 2.0, 4.0)

Weigh = Callable[[dict[str, Floats]], Floats | None]


@dataclass(frozen=True)
class Seen:
    """N pictures under P protocols: whether a face was `found` (N, P), unit `embedding` (N, P, K), what each signal
    says (N, P), higher for a better face; the `people` (N,) and their genuine pairs."""

    found: np.ndarray
    embedding: Floats
    signal: dict[str, Floats]
    people: np.ndarray
    pairs: Pairs


def see(data: Path, model: FusedModel, where: str, folds: Sequence[int], share: float) -> Seen:
    """Pictures of the genuine pairs of a `share` of the folds' people."""
    names, pairs = index_pairs(_drawn(read_pairs(data / "lfw-pairs.txt"), folds, share))
    folder = open_faces(data / ("lfw-aligned-112.zip" if where == "aligned" else "lfw-deepfunneled.zip"))
    detector = open_detector(data / "detectors/face_detection_yunet_2023mar.onnx") if where == "photographs" else None
    columns = []
    with progress(f"{where}, folds {folds[0]}-{folds[-1]}", len(names) * len(PROTOCOLS)) as advance:
        for protocol in PROTOCOLS:
            faces = [_face(degrade(folder.read(name), protocol, name), detector, name) for name in names]
            crops = np.stack([crop for crop, _ in faces])
            columns.append({**_said(model, crops, advance), "detector": np.float32([score for _, score in faces])})
    signal = {key: np.stack([column[key] for column in columns], 1) for key in columns[0]}
    embedding, found = signal.pop("embedding"), ~np.isnan(signal["detector"])
    if detector is None:
        del signal["detector"]
    return Seen(found, embedding, signal, np.unique([person_of(name) for name in names], return_inverse=True)[1], pairs)


def _drawn(named: Sequence[NamedPair], folds: Sequence[int], share: float) -> list[NamedPair]:
    genuine = [pair for pair in named if pair.same and pair.fold in folds]
    people = np.random.default_rng(0).permutation(sorted({pair.people[0] for pair in genuine}))
    kept = set(people[: round(share * len(people))].tolist())
    return [pair for pair in genuine if pair.people[0] in kept]


def _face(picture: Image, detector: Detector | None, name: str) -> tuple[Image, float]:
    """The aligned face and the detector's score: 1 where the picture is aligned, NaN and black where none is found."""
    if detector is None:
        return picture, 1.0
    try:
        face = select_face(detector.detect(picture), picture.shape[:2], "largest", name)
        return align(picture, face.landmarks), face.score
    except EdgefrError:
        return np.zeros((112, 112, 3), np.uint8), float("nan")


def _said(model: FusedModel, faces: Faces, advance: Callable[[int], None]) -> dict[str, Floats]:
    """What model and picture say of (N, 112, 112, 3). AdaFace's proxy is a backbone's norm, which a hook catches."""
    rows: dict[str, list[Floats]] = {}
    norms: dict[str, torch.Tensor] = {}
    backbones = {"norm of a": model.backbone_a, "norm of b": model.backbone_b}
    hooks = [
        net.register_forward_hook(lambda _net, _input, out, key=key: norms.update({key: out.embedding.norm(dim=1)}))
        for key, net in backbones.items()
    ]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(faces), BATCH):
            told = model(torch.from_numpy(faces[start : start + BATCH]))
            unit = torch.nn.functional.normalize(told.embedding.float())
            found = {"embedding": unit, "certainty": -told.uncertainty, "norm of mu": told.norm, **norms}
            for key, value in found.items():
                rows.setdefault(key, []).append(value.float().numpy())
            advance(len(unit))
    for hook in hooks:
        hook.remove()
    shown = np.float32([sharpness(face) for face in faces])
    return {**{key: np.concatenate(parts) for key, parts in rows.items()}, "sharpness": shown}


def compared(seen: Seen) -> tuple[Comparisons, dict[str, Floats]]:
    """Every genuine pair under every two protocols in which both faces were found, and each signal's quality of it."""
    count, protocols = seen.found.shape
    index = np.arange(count * protocols).reshape(count, protocols)
    flat = seen.embedding.reshape(len(index) * protocols, -1)
    first = np.repeat(index[seen.pairs.first], protocols, 1).ravel()
    second = np.tile(index[seen.pairs.second], (1, protocols)).ravel()
    both = seen.found.ravel()[first] & seen.found.ravel()[second]
    pairs = Pairs(first[both], second[both], np.ones(int(both.sum()), bool))
    people = seen.people[np.stack([pairs.first, pairs.second], 1) // protocols].astype(np.int64)
    quality = {key: pair_quality(value.ravel(), pairs) for key, value in seen.signal.items()}
    return Comparisons(similarities(flat, pairs), pairs.same, people), quality


def discarded(seen: Seen) -> tuple[dict[str, Any], dict[str, DiscardCurve]]:
    """Every signal's curve, and its area less that of certainty: below zero where it is the better signal."""
    comparisons, quality = compared(seen)
    threshold = threshold_at_fnmr(comparisons, FNMR)
    curves = {key: discard_curve(comparisons, value, threshold) for key, value in quality.items()}
    rows = {
        key: {
            "area": asdict(curve.area),
            "relative": asdict(curve.relative),
            "area_less_certainty": asdict(area_difference(comparisons, quality[key], quality["certainty"], threshold)),
        }
        for key, curve in curves.items()
    }
    not_found = dict(zip(PROTOCOLS, (~seen.found).sum(0).tolist(), strict=True))
    figures = {"comparisons": len(comparisons.same), "threshold": threshold, "not_found": not_found}
    return {**figures, "signals": rows}, curves


def refused(test: Seen, training: Seen) -> dict[str, Any]:
    """Faces in % that each signal's limit refuses, by protocol, when 99 % of the training people's clean ones pass."""
    rows = {}
    for key, value in test.signal.items():
        # Fewer faces than `limit_at` asks for: good enough to compare signals, not for a manifest.
        limit = float(np.quantile(training.signal[key][:, 0], 0.01))
        poor = np.where(test.found, value < limit, np.nan)
        rows[key] = dict(zip(PROTOCOLS, np.round(100 * np.nanmean(poor, 0), 1).tolist(), strict=True)) | {
            "limit": limit
        }
    return rows


def fused(seen: Seen, weigh: Weigh) -> Comparisons:
    """Templates of IMAGES pictures, each under a protocol of its own, against another picture of everyone."""
    rounds = [_round(seen, weigh, np.random.default_rng(number)) for number in range(ROUNDS)]
    people = np.concatenate([people for _, people in rounds])
    return Comparisons(np.concatenate([similarity for similarity, _ in rounds]), people[:, 0] == people[:, 1], people)


def _round(seen: Seen, weigh: Weigh, rng: np.random.Generator) -> tuple[Floats, np.ndarray]:
    protocol = rng.integers(0, len(PROTOCOLS), len(seen.people))
    usable = seen.found[np.arange(len(protocol)), protocol]
    shuffled = [rng.permutation(np.flatnonzero(usable & (seen.people == who))) for who in np.unique(seen.people)]
    chosen = np.array([index[: IMAGES + 1] for index in shuffled if len(index) > IMAGES])  # (people, IMAGES + 1)
    templates = []
    for index in chosen[:, :IMAGES]:
        at = index, protocol[index]
        templates.append(weighted_mean(seen.embedding[at], weigh({key: told[at] for key, told in seen.signal.items()})))
    probe = chosen[:, IMAGES]
    who = seen.people[probe].astype(np.int64)
    similarity = np.stack(templates) @ seen.embedding[probe, protocol[probe]].T  # (people, people)
    return similarity.ravel(), np.stack(np.meshgrid(who, who, indexing="ij"), -1).reshape(-1, 2)


def templates(test: Seen, training: Seen) -> dict[str, Any]:
    """TAR of every way to weigh, and its gain in points over the plain mean, each at its own threshold."""

    def by_variance(temperature: float) -> Weigh:
        return lambda told: inverse_variance(-told["certainty"], temperature)

    best = max(TEMPERATURES, key=lambda value: tar_at_far(fused(training, by_variance(value)), FAR).tar.value)
    ways: dict[str, Weigh] = {
        "plain mean": lambda _told: None,
        "raw sum": lambda told: told["norm of mu"],
        "inverse variance": by_variance(1.0),
        f"inverse variance, temperature {best:g}": by_variance(best),
        **{f"by {key}": (lambda told, key=key: told[key]) for key in ("norm of a", "norm of b")},
        **{f"best by {key}": (lambda told, key=key: best_only(told[key])) for key in test.signal},
        "one image": lambda told: best_only(np.zeros_like(told["certainty"])),
    }
    rows, accepted = {}, {}
    for name, weigh in ways.items():
        comparisons = fused(test, weigh)
        found = tar_at_far(comparisons, FAR)
        accepted[name] = (comparisons.similarity >= found.threshold)[comparisons.same]
        gain = accuracy_difference(accepted[name], accepted["plain mean"], comparisons.people[comparisons.same])
        rows[name] = {"tar": asdict(found.tar), "gain_over_plain_mean": asdict(gain)}
    return {"far": FAR, "images": IMAGES, "comparisons": len(accepted["plain mean"]), "ways": rows}


def draw(curves: dict[str, dict[str, DiscardCurve]], path: Path) -> None:
    """The curves of every condition side by side, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(curves), 4), layout="constrained")
    for axes, (where, signals) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for key, curve in signals.items():
            axes.plot(100 * curve.discarded, 100 * curve.fnmr, label=key)
        axes.plot(100 * curve.discarded, 100 * curve.ideal, "k:", label="ideal")
        axes.set(title=where, xlabel="discarded, %", ylabel="FNMR of the others, %")
        axes.legend()
    figure.savefig(path, dpi=120)


def run(data: Path, checkpoint: Path, share: float = 1.0, plot: Path | None = None) -> dict[str, Any]:
    """Every figure of both conditions, on a `share` of the people."""
    model = load_fused(checkpoint)
    rows, curves = {}, {}
    for where in ("aligned", "photographs"):
        training, test = (see(data, model, where, folds, share) for folds in (TRAINING, TEST))
        found, curves[where] = discarded(test)
        rows[where] = {"discard": found, "refused": refused(test, training), "templates": templates(test, training)}
    if plot is not None:
        draw(curves, plot)
    return {"fnmr_at_start": FNMR, "share_of_people": share, **rows}
