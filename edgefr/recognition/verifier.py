"""1:1 verification: photograph -> face -> embedding -> decision."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from edgefr.choices import FacePolicy, Signal
from edgefr.detection.base import Detector, Face, select_face, select_faces
from edgefr.detection.detector_registry import open_detector
from edgefr.detection.orientation import UprightDetector
from edgefr.errors import WrongModelError
from edgefr.io.photo import read_photograph
from edgefr.manifest import Manifest, QualityLimit, Threshold, model_digest, model_manifest
from edgefr.models import MINI, find_model
from edgefr.recognition.alignment import align
from edgefr.recognition.published.adopted_files import native_copy
from edgefr.recognition.quality import sharpness
from edgefr.recognition.recogniser import Embeddings, Recogniser, open_in_background
from edgefr.recognition.threshold_curve import check_similarity, interpolate_threshold
from edgefr.runtimes import FAKE
from edgefr.types import Floats, Image

if TYPE_CHECKING:
    from edgefr.liveness.liveness_check import Liveness, LivenessCheck


@dataclass(frozen=True)
class FoundFace:
    """A detected face and its aligned crop.

    Attributes:
        source: The file or stream the face comes from, for messages.
        face: Box, landmarks and score.
        crop: The aligned face, (112, 112, 3) uint8 RGB.
        faces_found: Number of faces in the same picture, this one included.
        liveness: Whether it is a living face; None if that was not checked.
    """

    source: str
    face: Face
    crop: Image
    faces_found: int = 1
    liveness: Liveness | None = None


@dataclass(frozen=True)
class EmbeddedFace:
    """A face with its embedding.

    Attributes:
        source: The file or stream the face comes from, for messages.
        face: Box, landmarks and score.
        embedding: (K,) float32 of unit length.
        norm: Length of the embedding before it was normalised.
        uncertainty: Mean log-variance of the embedding, or None if the model gives none.
        sharpness: Sharpness of the crop, see `quality.sharpness`.
        faces_found: Number of faces in the same picture, this one included.
        liveness: Whether it is a living face; None if that was not checked.
    """

    source: str
    face: Face
    embedding: Floats
    norm: float
    uncertainty: float | None
    sharpness: float
    faces_found: int = 1
    liveness: Liveness | None = None

    @property
    def may_be_attack(self) -> bool:
        """Whether liveness was checked, and the face is not a living one."""
        return self.liveness is not None and not self.liveness.live

    def quality(self, signal: Signal) -> float:
        """The value of a quality signal; higher is better.

        Raises:
            WrongModelError: The signal is certainty and the model gives no uncertainty.
        """
        if signal == "norm":
            return self.norm
        if signal == "detector":
            return self.face.score
        if signal == "sharpness":
            return self.sharpness
        if self.uncertainty is None:
            raise WrongModelError(
                "a model with an uncertainty output, which its quality limit needs",
                "one without",
                "measure the limit again with `edgefr calibrate`",
            )
        return -self.uncertainty


@dataclass(frozen=True)
class VerificationResult:
    """Whether two photographs show the same person.

    Attributes:
        same: Whether the similarity reaches the threshold, and both faces are living ones if that was checked.
        similarity: Cosine similarity of the two embeddings, -1 to 1.
        threshold: The threshold that decided, with its false match rate.
        faces: The two faces that were compared.
        quality_warnings: A sentence for each face of poor quality; None if the model has no quality limit for this
            detector.
        time_ms: Time for both photographs in milliseconds, without opening the models.
    """

    same: bool
    similarity: float
    threshold: Threshold
    faces: tuple[EmbeddedFace, EmbeddedFace]
    quality_warnings: tuple[str, ...] | None
    time_ms: float

    @property
    def attacks(self) -> tuple[str, ...]:
        """A sentence for each face that is not a living one."""
        return tuple(f"{face.source} is {face.liveness}" for face in self.faces if face.may_be_attack)


class Verifier:
    """Compares the faces of two photographs.

    Example:
        >>> verifier = Verifier.open()
        >>> verifier.verify("a.jpg", "b.jpg").same
        True
    """

    def __init__(
        self,
        detector: Detector,
        recogniser: Recogniser | Future[Recogniser],
        manifest: Manifest | None = None,
        model: Path = FAKE,
        threads: int | None = None,
        liveness: LivenessCheck | None = None,
    ) -> None:
        """Use models that are already open; `Verifier.open` opens them.

        Args:
            detector: Finds the faces. It serves one thread at a time.
            recogniser: Computes the embeddings. A future is waited for when the first embedding is needed.
            manifest: Thresholds and quality limit of the recogniser, if known.
            model: File of the recogniser.
            threads: Number of threads that they may use. None means all cores.
            liveness: Checks every face for presentation attacks.
        """
        self.detector = detector
        self.liveness = liveness
        self._recogniser = recogniser
        self.manifest = manifest
        self.model = model
        self.threads = threads

    @classmethod
    def open(
        cls,
        model: str | Path = MINI,
        detector: str | Path | None = None,
        runtime: str = "auto",
        precision: str = "auto",
        images: int | None = None,
        threads: int | None = None,
        opening: Future[Recogniser] | None = None,
        liveness: LivenessCheck | None = None,
    ) -> Verifier:
        """Open a recogniser and a detector.

        Args:
            model: Name of a shipped recogniser or one that `edgefr models` lists, or an .onnx, engine or .safetensors
                file.
            detector: Name of a shipped detector or one that `edgefr models` lists, or an .onnx file. None takes
                $EDGEFR_DETECTOR, then the first file in the user's folder of detectors, then `spot`.
            runtime: Name of the runtime, or "auto".
            precision: "fp32", "bf16", "fp16", "int8" or "auto".
            images: Number of images to expect, which decides the runtime of "auto". None means many.
            threads: Number of threads that detector and recogniser may use each. None means all cores.
            opening: The recogniser of this model, if it is being opened already.
            liveness: Checks every face for presentation attacks. Without it, a printed photograph is a face like any.

        Returns:
            The verifier. The recogniser may still be loading; its errors are raised by the first use.

        Raises:
            EdgefrError: A file is missing or is not a model of the expected kind.
        """
        path = native_copy(find_model(model))
        manifest = model_manifest(path)
        if opening is None:
            opening = open_in_background(path, runtime, precision, images, threads)
        opened = open_detector(None if detector is None else Path(detector), threads)
        return cls(opened, opening, manifest, path, threads, liveness)

    def with_other_detector(self, threads: int) -> Verifier | None:
        """A verifier for another thread, with the same recogniser and a detector of its own.

        Args:
            threads: Number of threads of the detector.

        Returns:
            The verifier, or None if the detector cannot be opened again.
        """
        copy = self.detector.copy(threads) if isinstance(self.detector, UprightDetector) else None
        if copy is None:
            return None
        return Verifier(copy, self._recogniser, self.manifest, self.model, threads, self.liveness)

    @property
    def recogniser(self) -> Recogniser:
        """The recogniser, once it is loaded.

        Raises:
            EdgefrError: It cannot be opened.
        """
        if isinstance(self._recogniser, Future):
            self._recogniser = self._recogniser.result()
        return self._recogniser

    def find(self, photograph: str | Path, policy: FacePolicy = "largest") -> FoundFace:
        """Detect, select and align the face of a photograph.

        Args:
            photograph: Path of the picture.
            policy: Which of several faces to take.

        Returns:
            The face and its aligned crop.

        Raises:
            UnreadableImageError: The file cannot be read.
            NoFaceError: It shows no face.
            SeveralFacesError: It shows several faces and the policy is "only".
        """
        return self.find_in(read_photograph(Path(photograph)), str(photograph), policy)

    def find_in(self, photo: Image, source: str, policy: FacePolicy = "largest") -> FoundFace:
        """Detect, select and align the face of a picture in memory.

        Args:
            photo: (H, W, 3) uint8 RGB.
            source: Name of the picture for messages.
            policy: Which of several faces to take.

        Returns:
            The face and its aligned crop.

        Raises:
            NoFaceError: The picture shows no face.
            SeveralFacesError: It shows several faces and the policy is "only".
        """
        height, width = photo.shape[:2]
        faces = self.detector.detect(photo)
        face = select_face(faces, (height, width), policy, source)
        return self.found_in(photo, face, source, len(faces))

    def find_all(self, photograph: str | Path) -> list[FoundFace]:
        """Detect and align all faces of a photograph that are large enough, see `select_faces`.

        Args:
            photograph: Path of the picture.

        Returns:
            At least one face, the most prominent first.

        Raises:
            UnreadableImageError: The file cannot be read.
            NoFaceError: It shows no face.
        """
        photo, source = read_photograph(Path(photograph)), str(photograph)
        height, width = photo.shape[:2]
        faces = self.detector.detect(photo)
        chosen = select_faces(faces, (height, width), source)
        return [self.found_in(photo, face, source, len(faces)) for face in chosen]

    def found_in(self, photo: Image, face: Face, source: str, faces_found: int = 1) -> FoundFace:
        """Align a face that is detected already, and check its liveness.

        Args:
            photo: (H, W, 3) uint8 RGB.
            face: A face in it.
            source: Name of the picture for messages.
            faces_found: Number of faces in the picture.

        Returns:
            The face and its aligned crop.
        """
        liveness = None if self.liveness is None else self.liveness.check(photo, face)
        return FoundFace(source, face, align(photo, face.landmarks), faces_found, liveness)

    def embed(self, found: list[FoundFace], batch: int = 32) -> list[EmbeddedFace]:
        """Compute the embeddings of detected faces.

        Args:
            found: At least one face.
            batch: Number of faces per call of the model, 1 to 1024.

        Returns:
            The faces in the same order, with their embeddings.

        Raises:
            EdgefrError: The model cannot be opened or fails.
        """
        crops = np.stack([entry.crop for entry in found])
        return _with_embeddings(found, self.recogniser.embed(crops, batch))

    def verify(
        self,
        first: str | Path,
        second: str | Path,
        policy: FacePolicy = "largest",
        threshold: float | None = None,
        fmr: float | None = None,
    ) -> VerificationResult:
        """Decide whether two photographs show the same person.

        Args:
            first: Path of a photograph.
            second: Path of another photograph.
            policy: Which of several faces to take.
            threshold: Similarity to decide by, instead of the threshold of the model.
            fmr: False match rate whose threshold decides, see `threshold`. None means 1e-3.

        Returns:
            The decision with similarity, threshold and faces.

        Raises:
            ImageError: A photograph cannot be read or has no usable face.
            EdgefrError: The model has no such threshold, or it fails.
        """
        start = perf_counter()
        found = self.find(first, policy), self.find(second, policy)
        seconds = perf_counter() - start
        result = self.decide(*found, threshold, fmr)
        return replace(result, time_ms=result.time_ms + 1e3 * seconds)

    def decide(
        self, first: FoundFace, second: FoundFace, threshold: float | None = None, fmr: float | None = None
    ) -> VerificationResult:
        """Decide whether two detected faces are of the same person.

        Args:
            first: A face.
            second: Another face.
            threshold: As in `verify`.
            fmr: As in `verify`.

        Returns:
            The decision with similarity, threshold and faces.

        Raises:
            EdgefrError: The model has no such threshold, or it fails.
        """
        decisive = self.threshold(threshold, fmr)  # waits for the recogniser, which is not timed
        start = perf_counter()
        a, b = self.embed([first, second])
        milliseconds = 1e3 * (perf_counter() - start)
        similarity = float(a.embedding @ b.embedding)
        same = similarity >= decisive.value and not (a.may_be_attack or b.may_be_attack)
        return VerificationResult(same, similarity, decisive, (a, b), self.quality_warnings([a, b]), milliseconds)

    def quality_warnings(self, faces: list[EmbeddedFace]) -> tuple[str, ...] | None:
        """Warn about faces below the quality limit of the model.

        Args:
            faces: The faces to check.

        Returns:
            A sentence for each face of poor quality, or None if the model has no quality limit, or one of the score of
            another detector, see `unchecked_quality`.

        Raises:
            WrongModelError: The limit needs an uncertainty that the model does not give.
        """
        limit = self.quality_limit
        if limit is None or self.unchecked_quality() is not None:
            return None
        return tuple(_quality_warning(face, limit) for face in faces if face.quality(limit.signal) < limit.limit)

    @property
    def quality_limit(self) -> QualityLimit | None:
        """The quality limit of the model, whatever detector it was measured with; None if it has none."""
        return None if self.manifest is None else self.manifest.quality

    def unchecked_quality(self) -> str | None:
        """A sentence if the quality of faces is not checked although the model has a limit, else None.

        The scores of different detectors cannot be compared, so a limit of the score holds for one detector.
        """
        limit = self.quality_limit
        if limit is None or limit.detector in (None, self.detector.name):
            return None
        return (
            f"the quality of the faces is not checked: the limit of {self.model.name} is one of the score of the "
            f"detector {limit.detector}, and {self.detector.name} is used"
        )

    def threshold(self, given: float | None = None, fmr: float | None = None) -> Threshold:
        """The threshold to decide by.

        Args:
            given: A similarity that replaces the thresholds of the model.
            fmr: False match rate. Between calibrated rates, the threshold is interpolated. None means 1e-3, or the
                first calibrated rate if 1e-3 is not calibrated.

        Returns:
            The threshold for the precision in use, else the one for FP32.

        Raises:
            InvalidArgumentError: The given threshold is not a number between -1 and 1.
            WrongModelError: The model has no threshold at this rate, and none at a lower and a higher one.
        """
        if given is not None:
            check_similarity(given)
            return Threshold(None, given, (given, given), "the command line", "any")
        precision = self.recogniser.description.precision
        manifest = self.manifest or Manifest("", "")
        chosen = manifest.threshold_for(precision, fmr)
        for measured in (precision, "fp32"):
            if chosen is None and fmr is not None:
                chosen = interpolate_threshold(manifest.thresholds_for(measured), fmr)
        if chosen is not None:
            return chosen
        rate, option = ("", "") if fmr is None else (f" at an FMR of {fmr:g}", f" --fmr {fmr:g}")
        rates = ", ".join(f"{entry.fmr:g} ({entry.precision})" for entry in manifest.thresholds if entry.fmr)
        raise WrongModelError(
            f"a threshold{rate} for {precision} in the manifest of {self.model}",
            rates or "none",
            f"measure one with `edgefr calibrate {self.model} FACES{option} --precision {precision}`, or give one with "
            "--threshold",
        )

    def digest(self) -> str | None:
        """SHA-256 of the model without its manifest; None for the fake model, which has no file."""
        return None if self.model == FAKE else model_digest(self.model)

    def made_from(self) -> dict[str, str]:
        """Role -> SHA-256 of the files that the model was made from, as its manifest lists them."""
        made_from = {} if self.manifest is None else self.manifest.made_from
        return {role: reference["sha256"] for role, reference in made_from.items()}


SIGNAL_NAMES: dict[Signal, str] = {
    "certainty": "the certainty of the model",
    "norm": "the length of its embedding",
    "detector": "the score of the detector",
    "sharpness": "the sharpness of the face",
}


def _quality_warning(face: EmbeddedFace, limit: QualityLimit) -> str:
    x, y = (round(value) for value in face.face.box[:2])
    where = face.source if face.faces_found == 1 else f"{face.source}, face at {x},{y},"
    return (
        f"{where} is of poor quality: {SIGNAL_NAMES[limit.signal]} is {face.quality(limit.signal):.2f}, below "
        f"the limit {limit.limit:.2f} ({limit.measured_on})"
    )


def _with_embeddings(found: list[FoundFace], embeddings: Embeddings) -> list[EmbeddedFace]:
    return [
        EmbeddedFace(
            entry.source,
            entry.face,
            embeddings.embedding[index],
            float(embeddings.norm[index]),
            None if embeddings.uncertainty is None else float(embeddings.uncertainty[index]),
            sharpness(entry.crop),
            entry.faces_found,
            entry.liveness,
        )
        for index, entry in enumerate(found)
    ]
