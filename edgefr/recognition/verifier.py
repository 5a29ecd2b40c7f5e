"""The verifier: photograph -> face -> embedding -> decision.

verifier = Verifier.open()
print(verifier.verify(Path("a.jpg"), Path("b.jpg")).same)
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from edgefr.detection.base import Detector, Face, FacePolicy, select_face
from edgefr.detection.registry import open_detector
from edgefr.errors import EdgefrError
from edgefr.io.photo import read_photograph
from edgefr.manifest import Manifest, QualityLimit, Signal, Threshold, model_digest, model_manifest
from edgefr.models import MINI, model_file
from edgefr.recognition.alignment import align
from edgefr.recognition.quality import sharpness
from edgefr.recognition.recogniser import Embeddings, Recogniser, open_recogniser
from edgefr.runtimes import FAKE
from edgefr.types import Floats, Image


@dataclass(frozen=True)
class FoundFace:
    """A face in a photograph and its aligned crop, (112, 112, 3) uint8 RGB."""

    path: Path
    face: Face
    crop: Image


@dataclass(frozen=True)
class EmbeddedFace:
    """A face with its embedding (K,) of unit length, the norm before that, uncertainty where the model gives one,
    and the sharpness of its crop."""

    path: Path
    face: Face
    embedding: Floats
    norm: float
    uncertainty: float | None
    sharpness: float

    def quality(self, signal: Signal) -> float:
        """What `signal` says of this face, higher for a better one.

        Raises:
            EdgefrError: certainty is asked for, and the model gives no uncertainty.
        """
        if signal == "norm":
            return self.norm
        if signal == "detector":
            return self.face.score
        if signal == "sharpness":
            return self.sharpness
        if self.uncertainty is None:
            raise EdgefrError(
                "uncertainty beside the embedding, as the quality limit in the model's manifest needs",
                "a model that gives none",
                "measure the limit again with `edgefr calibrate`",
            )
        return -self.uncertainty


@dataclass(frozen=True)
class VerificationResult:
    """Whether two photographs show the same person: cosine `similarity` against `threshold`.

    `quality_warnings` has a sentence for each photograph that is too poor to be judged. It is None if the manifest of
    the model has no quality limit. `time_ms` is the time for both photographs without opening the models.
    """

    same: bool
    similarity: float
    threshold: Threshold
    faces: tuple[EmbeddedFace, EmbeddedFace]
    quality_warnings: tuple[str, ...] | None
    time_ms: float


class Verifier:
    """A detector, a recogniser and the threshold that its manifest carries."""

    def __init__(
        self, detector: Detector, recogniser: Future[Recogniser], manifest: Manifest | None, model: Path
    ) -> None:
        self.detector = detector
        self._opening = recogniser
        self.manifest = manifest
        self.model = model

    @classmethod
    def open(
        cls,
        model: Path = MINI,
        detector: Path | None = None,
        runtime: str = "auto",
        precision: str = "auto",
        images: int | None = None,
        threads: int | None = None,
    ) -> Verifier:
        """Open the files, by default those that come with edgefr; `images` is how many to expect, for the choice of
        the runtime, and `threads` how many each of detector and recogniser may keep busy, by default as many as there
        are cores.

        Raises:
            EdgefrError: a file is missing or is not what it should be (a model that its runtime refuses shows
                when it is first used).
        """
        if model == MINI:
            model = model_file(MINI)
        manifest = model_manifest(model)
        # Getting a model ready takes longer than finding two faces: both at once make a cold start shorter.
        opening = ThreadPoolExecutor(1).submit(open_recogniser, model, runtime, precision, images, threads)
        return cls(open_detector(detector, threads), opening, manifest, model)

    @property
    def recogniser(self) -> Recogniser:
        """The recogniser, once it is ready.

        Raises:
            EdgefrError: it cannot be opened.
        """
        return self._opening.result()

    def find(self, path: Path, policy: FacePolicy = "largest") -> FoundFace:
        """The face that is meant in a photograph, cut out and aligned.

        Raises:
            EdgefrError: the photograph cannot be read or has no (or, with `only`, more than one) face.
        """
        return self.find_in(read_photograph(path), path, policy)

    def find_in(self, photo: Image, path: Path, policy: FacePolicy = "largest") -> FoundFace:
        """As `find`, of a photograph (H, W, 3) uint8 RGB that is in memory; `path` names it.

        Raises:
            EdgefrError: it has no (or, with `only`, more than one) face.
        """
        height, width = photo.shape[:2]
        face = select_face(self.detector.detect(photo), (height, width), policy, str(path))
        return FoundFace(path, face, align(photo, face.landmarks))

    def embed(self, found: list[FoundFace], batch: int = 32) -> list[EmbeddedFace]:
        """Embeddings of faces that were found."""
        crops = np.stack([entry.crop for entry in found])
        return embedded(found, self.recogniser.embed(crops, batch))

    def verify(
        self,
        first: Path,
        second: Path,
        policy: FacePolicy = "largest",
        threshold: float | None = None,
        fmr: float | None = None,
    ) -> VerificationResult:
        """Decide whether two photographs show the same person.

        `threshold` replaces the one of the model's manifest; `fmr` chooses among those by their false match rate.

        Raises:
            EdgefrError: a photograph has no usable face, or neither manifest nor caller gives a threshold.
        """
        start = perf_counter()
        found = self.find(first, policy), self.find(second, policy)
        seconds = perf_counter() - start
        verdict = self.decide(*found, threshold, fmr)
        return replace(verdict, time_ms=verdict.time_ms + 1e3 * seconds)

    def decide(
        self, first: FoundFace, second: FoundFace, threshold: float | None = None, fmr: float | None = None
    ) -> VerificationResult:
        """Whether two faces that were found are of the same person, as `verify` decides.

        Raises:
            EdgefrError: neither manifest nor caller gives a threshold.
        """
        limit = self.threshold(threshold, fmr)  # waits for the recogniser, which is not counted
        start = perf_counter()
        a, b = self.embed([first, second])
        milliseconds = 1e3 * (perf_counter() - start)
        similarity = float(a.embedding @ b.embedding)
        return VerificationResult(
            similarity >= limit.value, similarity, limit, (a, b), self.quality_warnings([a, b]), milliseconds
        )

    def quality_warnings(self, faces: list[EmbeddedFace]) -> tuple[str, ...] | None:
        """Why these faces are too poor to be judged, a sentence for each that is; None without a limit to tell by.

        Raises:
            EdgefrError: the limit is one of certainty, and the model gives no uncertainty; or one of another
                detector's score.
        """
        limit = None if self.manifest is None else self.manifest.quality
        if limit is None:
            return None
        if limit.detector not in (None, self.detector.name):
            raise EdgefrError(
                f"the detector {limit.detector}, whose score the quality limit in the model's manifest is of",
                str(self.detector.name),
                "give that one, or measure the limit again with `edgefr calibrate`",
            )
        return tuple(_doubt(face, limit) for face in faces if face.quality(limit.signal) < limit.limit)

    def threshold(self, given: float | None = None, fmr: float | None = None) -> Threshold:
        """The threshold to decide by: the given one, or the manifest's for this precision, else for FP32.

        Of the manifest's it is the one measured at `fmr`, by default at 1e-3, or the first where that is not there.

        Raises:
            EdgefrError: there is none.
        """
        precision = self.recogniser.description.precision
        if given is not None:
            return Threshold(None, given, (given, given), "the command line", "any")
        manifest = self.manifest or Manifest("", "")
        known = manifest.threshold_for(precision, fmr)
        if known is not None:
            return known
        wanted, option = ("", "") if fmr is None else (f" at an FMR of {fmr:g}", f" --fmr {fmr:g}")
        rates = ", ".join(f"{entry.fmr:g} ({entry.precision})" for entry in manifest.thresholds if entry.fmr)
        raise EdgefrError(
            f"a threshold{wanted} for {precision} in the manifest of {self.model}",
            str(rates or "none"),
            (
                f"measure it with `edgefr calibrate {self.model} FACES{option} --precision {precision}`, or give "
                "one with --threshold"
            ),
        )

    def digest(self) -> str | None:
        """SHA-256 of the model, which calibrating leaves as it is; None for the fake backend, which has no file."""
        return None if self.model == FAKE else model_digest(self.model)

    def made_from(self) -> dict[str, str]:
        """SHA-256 of what the model was made from, by its role, as its manifest says."""
        return {} if self.manifest is None else {role: of["sha256"] for role, of in self.manifest.made_from.items()}


MEANING: dict[Signal, str] = {
    "certainty": "how sure the model is of the face",
    "norm": "the length of its embedding",
    "detector": "how sure the detector is of the face",
    "sharpness": "the sharpness of the face",
}


def _doubt(face: EmbeddedFace, limit: QualityLimit) -> str:
    return (
        f"{face.path} is too poor to be judged: {MEANING[limit.signal]}, {face.quality(limit.signal):.2f}, lies below "
        f"{limit.limit:.2f} ({limit.measured_on})"
    )


def embedded(found: list[FoundFace], embeddings: Embeddings) -> list[EmbeddedFace]:
    """Faces and their rows of `embeddings`, joined."""
    return [
        EmbeddedFace(
            entry.path,
            entry.face,
            embeddings.embedding[index],
            float(embeddings.norm[index]),
            None if embeddings.uncertainty is None else float(embeddings.uncertainty[index]),
            sharpness(entry.crop),
        )
        for index, entry in enumerate(found)
    ]
