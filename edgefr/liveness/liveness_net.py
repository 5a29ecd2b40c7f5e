"""One net for presentation attack detection in an ONNX file, of edgefr or of another project."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgefr.catalogue import LivenessConvention, by_digest
from edgefr.detection.base import Face
from edgefr.errors import InvalidArgumentError, WrongModelError
from edgefr.io.files import sha256_of
from edgefr.io.toml_dataclass import read_toml
from edgefr.liveness.face_window import face_window
from edgefr.manifest import model_manifest
from edgefr.runtimes import open_backend
from edgefr.types import LIVE, Floats, Image

CHANNELS = 3
LARGEST_SIDE = 512
"""Pixels. A larger input is none of a net for small windows."""
TOLERANCE = 1e-3
"""By how much the sum of probabilities may differ from 1."""


class LivenessNet:
    """Scores windows around faces. Threads may share it.

    A file of `edgefr export` takes `image` uint8 (B, S, S, 3) RGB and gives `live` (B,). A file of another project
    takes floats (B, 3, S, S) and gives logits or probabilities (B, C); what it expects comes from FILE.toml beside it,
    with the fields of `LivenessConvention`, or from the catalogue by its digest.
    """

    def __init__(self, path: Path) -> None:
        """Open a net.

        Args:
            path: The .onnx file.

        Raises:
            WrongModelError: It is no liveness net, or it is not known what it expects.
            EdgefrError: It cannot be read.
        """
        if path.suffix.lower() in (".pth", ".pt"):
            raise _unusable(path, "a checkpoint of torch", f"run `edgefr export {path} -o {path.stem}.onnx` first")
        if not path.is_file():
            raise _unusable(path, "no file", "check the path")
        self._path, self._convention = path, _convention(path)
        self._backend = open_backend(path, runtime="onnxruntime", spinning=False)
        (self._input, *more), (self._output, *_) = self._backend.describe().inputs, self._backend.describe().outputs
        self._is_ours = self._output.name == LIVE
        shape = self._input.shape
        sides = set(shape[1:3] if self._is_ours else shape[2:])
        side = sides.pop() if len(sides) == 1 else None
        if more or len(shape) != 1 + CHANNELS or not side or side > LARGEST_SIDE:
            raise _unusable(path, f"the input {self._input}", "use another file")
        self._side = side
        score = self._score_window(np.zeros((side, side, CHANNELS), np.uint8))
        if not 0 <= score <= 1:
            raise _unusable(path, f"the score {score:g} for a black window", "use another file")

    def score(self, image: Image, face: Face) -> float:
        """The probability of a living face, 0 to 1, of a face in a picture (H, W, 3) uint8 RGB."""
        return self._score_window(face_window(image, face.box, self._convention.scale, self._side))

    def _score_window(self, window: Image) -> float:
        if self._is_ours:
            return float(self._backend.infer({self._input.name: window[None]})[LIVE][0])
        pixels = window[..., ::-1] if self._convention.colour == "bgr" else window
        values = (pixels.astype(np.float32) - self._convention.mean) / self._convention.std
        found = self._backend.infer({self._input.name: np.ascontiguousarray(values.transpose(2, 0, 1)[None])})
        answer, live = np.asarray(found[self._output.name], np.float32).ravel(), self._convention.live
        if len(answer) < 2:  # softmax would make 1 of any number, and every face a living one
            raise _unusable(self._path, "an answer of one number", "use a net with two classes or more")
        if live >= len(answer):
            raise _unusable(self._path, f"{len(answer)} classes, and none of number {live}", "correct `live`")
        return float(_probabilities(answer)[live])


def _convention(path: Path) -> LivenessConvention:
    beside = path.with_suffix(".toml")
    if beside.is_file():
        return _checked(read_toml(LivenessConvention, beside), beside)
    manifest = model_manifest(path)
    if manifest is not None:
        if manifest.kind != "liveness":
            raise _unusable(path, f"a file of the kind {manifest.kind}", "use another file")
        scale = manifest.spec.get("scale")
        if not isinstance(scale, int | float):
            raise _unusable(path, "a manifest without the scale of its window", "export it again")
        return _checked(LivenessConvention(scale), path)
    entry = by_digest(sha256_of(path))
    if entry is None:
        raise _unusable(
            path,
            "a file that the catalogue does not know",
            f"write what it expects into {beside.name} beside it, as docs/liveness.md shows",
        )
    if entry.liveness is None:
        raise _unusable(path, f"{entry.name}, {entry.architecture}", "use another file")
    return entry.liveness


def _checked(convention: LivenessConvention, source: Path) -> LivenessConvention:
    limits = {"scale": (0.5, 20.0), "mean": (-1e3, 1e3), "std": (1e-3, 1e4), "live": (0, 1000)}
    for name, (low, high) in limits.items():
        if not low <= (value := getattr(convention, name)) <= high:
            raise InvalidArgumentError(f"{name} in {source} from {low:g} to {high:g}", f"{value:g}", "correct it")
    return convention


def _probabilities(answer: Floats) -> Floats:
    """Logits become probabilities by softmax; probabilities stay."""
    if (answer >= 0).all() and abs(float(answer.sum()) - 1) <= TOLERANCE:
        return answer
    powers = np.exp(answer - answer.max())
    return np.asarray(powers / powers.sum(), np.float32)


def _unusable(path: Path, found: str, fix: str) -> WrongModelError:
    return WrongModelError(f"a net for presentation attack detection in {path}", found, fix)
