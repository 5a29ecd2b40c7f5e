"""Small generated collections whose people the fake backend tells apart, more or less."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np

from edgefr.data.lfw_pairs import NamedPair
from edgefr.evaluation.model_set import Model, ModelSet, system_from_output
from edgefr.types import Faces, Image


def face(person: int, shot: int, noise: float = 40) -> Image:
    """A pattern of blocks that is the person's, and what is this picture's alone."""
    pattern = np.random.default_rng(person).integers(40, 215, (8, 8, 3))
    shown = pattern + np.random.default_rng((person, shot)).normal(0, noise, (8, 8, 3))
    return np.clip(shown, 0, 255).astype(np.uint8).repeat(14, 0).repeat(14, 1)


def name(person: int, shot: int) -> str:
    return f"P{person}/P{person}_{shot:04d}.jpg"


def collection(people: int, shots: int, noise: float = 40) -> dict[str, Image]:
    """Pictures by name."""
    return {name(person, shot): face(person, shot, noise) for person in range(people) for shot in range(1, shots + 1)}


def named_pairs(people: int, folds: int = 3) -> list[NamedPair]:
    """A genuine pair of everybody, and one with the next person of the fold."""
    pairs = []
    for fold in range(folds):
        members = list(range(fold, people, folds))
        for person, other in zip(members, members[1:] + members[:1], strict=True):
            pairs.append(NamedPair(name(person, 1), name(person, 2), True, fold + 1))
            pairs.append(NamedPair(name(person, 1), name(other, 2), False, fold + 1))
    return pairs


def projection(faces: Faces, seed: int, width: int = 16) -> np.ndarray:
    """A model of its own: a random projection of the blocks' means, (B, width) of any length."""
    means = faces.reshape(-1, 8, 14, 8, 14, 3).astype(np.float32).mean((2, 4)).reshape(len(faces), -1)
    directions = np.random.default_rng(seed).normal(size=(192, width)).astype(np.float32)
    return np.asarray((means - means.mean(1, keepdims=True)) @ directions, np.float32)


def planted(counted: list[int] | None = None) -> ModelSet:
    """A judged model and two backbones; `counted` is told how many faces are embedded."""

    def embed(faces: Faces) -> list:
        if counted is not None:
            counted.append(len(faces))
        sides = [
            system_from_output(side, projection(faces, seed)) for seed, side in enumerate(("backbone A", "backbone B"))
        ]
        whole = system_from_output("fused", projection(faces, 2, 64), projection(faces, 3, 1)[:, 0])
        return [whole, *sides]

    model = Model("fused", "0" * 64, "planted", "fp32", embed, ("backbone A", "backbone B"))
    return ModelSet((model,), model.backbones)


def write_zip(path: Path, pictures: dict[str, Image]) -> Path:
    """PNG data under the pictures' names, so that nothing is lost."""
    with zipfile.ZipFile(path, "w") as archive:
        for key, picture in pictures.items():
            archive.writestr(key, cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    return path


def write_pairs(path: Path, pairs: list[NamedPair], folds: int = 3) -> Path:
    """LFW's pairs file: within a fold the genuine pairs come first."""
    lines = [f"{folds}\t{len(pairs) // folds // 2}"]
    for fold in range(1, folds + 1):
        for same in (True, False):
            for pair in pairs:
                if (pair.fold, pair.same) == (fold, same):
                    (a, i), (b, j) = _parts(pair.first), _parts(pair.second)
                    lines.append(f"{a}\t{i}\t{j}" if same else f"{a}\t{i}\t{b}\t{j}")
    path.write_text("\n".join(lines) + "\n")
    return path


def _parts(picture: str) -> tuple[str, int]:
    person, _, number = picture.rpartition("/")[2].removesuffix(".jpg").rpartition("_")
    return person, int(number)
