"""What may be enrolled: a photograph of one person, near, sharp, turned to the camera; and who looks like whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgefr.detection.base import Face
from edgefr.errors import ImageError, PoorFaceError
from edgefr.gallery.base import Gallery, Hit
from edgefr.gallery.records import FaceSample, check_name, fuse_template, without_duplicates
from edgefr.gallery.threshold import strictest_threshold
from edgefr.io.photo import read_photograph
from edgefr.recognition.alignment import align
from edgefr.recognition.batch import RejectedImage
from edgefr.recognition.quality import sharpness
from edgefr.recognition.verifier import EmbeddedFace, FoundFace, Verifier
from edgefr.types import Image

SMALLEST = 20.0
"""Pixels between the eyes of a face that is about 50 pixels wide: an aligned face enlarges it less than twofold."""
SHARPEST_BLUR = 1.5
"""`face.quality.sharpness` below which a face is blurred: of 250 photographs of LFW, whose faces are about 100 pixels
wide, the least sharp has 1.56, and half of them 1.26 after a Gaussian blur of 2 pixels."""
FARTHEST_TURN = 0.35
"""How far the nose may stand from the middle between the eyes, in eye distances: 0 from in front, beyond 0.5 in half
profile; 4 % of LFW's stand farther."""
NOD = (0.3, 0.8)
"""Where the nose may stand between the line of the eyes (0) and that of the mouth (1); LFW's stand at 0.43 to 0.69."""
BYSTANDER = 0.5
"""A second face is a bystander's while it is at most so many times as wide as the first."""


@dataclass(frozen=True)
class Enrolment:
    """What became of photographs of `name`: how many `images` are enrolled by them, which were `refused` and why, which
    are `unlike` the person's others, and who of another name looks the same; that is None where the model's manifest
    has no threshold to tell by. Of `known` images the same photograph was enrolled before."""

    name: str
    images: int
    refused: tuple[RejectedImage, ...]
    unlike: tuple[str, ...] = ()
    similar: tuple[Hit, ...] | None = None
    known: int = 0

    def warnings(self) -> list[str]:
        """What somebody should look at, in sentences."""
        return [
            *(f"{source} looks unlike the other images of {self.name}" for source in self.unlike),
            *(
                f"{self.name} looks like {hit.name} (similarity {hit.similarity:.3f}): is it one person?"
                for hit in self.similar or ()
            ),
        ]


def enrol(
    gallery: Gallery,
    verifier: Verifier,
    name: str,
    photos: Sequence[Path],
    crops: bool,
    keep: float | None,
    advance: Callable[[int], None],
) -> Enrolment:
    """Enrol `name` with those photographs that are good enough, if any; with aligned crops where `crops` are kept.

    `keep` is as in `Gallery.enrol`; `advance` is told of every photograph.

    Raises:
        EdgefrError: the name is none, or the gallery cannot be written.
    """
    name = check_name(name)
    samples, refused = [], []
    for path in photos:
        try:
            samples.append(sample_from_photograph(verifier, path, crops))
        except ImageError as error:
            refused.append(RejectedImage(str(path), str(error)))
        advance(1)
    return replace(enrol_samples(gallery, verifier, name, samples, keep), refused=tuple(refused))


def enrol_samples(
    gallery: Gallery, verifier: Verifier, name: str, samples: Sequence[FaceSample], keep: float | None
) -> Enrolment:
    """Enrol `name` with what `sample_from_face` gave, if anything; `keep` is as in `Gallery.enrol`.

    What is enrolled already is left out, or it would weigh twice in the template.

    Raises:
        EdgefrError: the name is none, or the gallery cannot be written.
    """
    name = check_name(name)
    if not samples:
        return Enrolment(name, 0, ())
    kept = gallery.samples(name) if name in gallery else []
    fresh = without_duplicates(kept, samples)
    return replace(enrol_beside(gallery, verifier, name, kept, fresh, keep), known=len(samples) - len(fresh))


def enrol_beside(
    gallery: Gallery,
    verifier: Verifier,
    name: str,
    kept: Sequence[FaceSample],
    fresh: Sequence[FaceSample],
    keep: float | None,
) -> Enrolment:
    """Enrol `name` with `fresh` samples beside those that are `kept`; `keep` is as in `Gallery.enrol`.

    Raises:
        EdgefrError: the gallery cannot be written.
    """
    ((unlike, similar),) = enrolment_warnings(gallery, verifier, [(name, kept, fresh)])
    if fresh or keep is not None:  # the person stays longer, with the same images, too
        gallery.enrol(name, fresh, keep)
    return Enrolment(name, len(fresh), (), unlike, similar)


def sample_from_photograph(verifier: Verifier, path: Path, crops: bool) -> FaceSample:
    """A photograph as it is enrolled, with its aligned crop where `crops` are kept.

    Raises:
        EdgefrError: it cannot be read, or is not good enough for the reason said.
    """
    return sample_from_face(verifier, look(verifier, path), crops)


def sample_from_face(verifier: Verifier, found: FoundFace, crops: bool) -> FaceSample:
    """A face that is `crop_for_enrolment` as it is enrolled.

    Raises:
        EdgefrError: the model is not sure of it.
    """
    (face,) = verifier.embed([found])
    check_quality(verifier, face)
    crop = found.crop if crops else None
    return FaceSample(Path(found.source).name, face.embedding, face.norm, face.uncertainty, face.sharpness, crop)


def look(verifier: Verifier, path: Path) -> FoundFace:
    """The face in a photograph that somebody may be enrolled with, not embedded yet.

    Raises:
        EdgefrError: the photograph cannot be read, or has no face, two faces, or one that is not `crop_for_enrolment`.
    """
    photo = read_photograph(path)
    return crop_for_enrolment(str(path), photo, single_face(str(path), verifier.detector.detect(photo)))


def single_face(source: str, faces: Sequence[Face]) -> Face:
    """The one face of a photograph, beside which bystanders may be.

    Raises:
        EdgefrError: there is none, or there are two.
    """
    by_width = sorted(faces, key=lambda face: -face.box[2])
    if not by_width:
        raise _unfit(source, "no face", "give a photograph with a face turned to the camera")
    if len(by_width) > 1:
        check_alone(source, by_width[1].box[2] / by_width[0].box[2])
    return by_width[0]


def crop_for_enrolment(source: str, photo: Image, face: Face) -> FoundFace:
    """A face of a photograph, cut out, if somebody may be enrolled with it.

    Raises:
        EdgefrError: it is too small, turned away or blurred.
    """
    check_pose(source, face)
    crop = align(photo, face.landmarks)
    check_sharpness(source, sharpness(crop))
    return FoundFace(source, face, crop)


def check_alone(source: str, beside: float) -> None:
    """Insist that the widest other face, `beside` times as wide as the first, is a bystander's.

    Raises:
        EdgefrError: it is not.
    """
    if beside > BYSTANDER:
        raise _unfit(source, "two faces", "crop it to one person")


def check_pose(source: str, face: Face) -> None:
    """Insist on a face that is large enough and turned to the camera.

    Raises:
        EdgefrError: it is not.
    """
    eyes = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    if eyes < SMALLEST:
        raise _unfit(
            source, f"a face too small ({eyes:.0f} pixels between the eyes, {SMALLEST:.0f} needed)", "come nearer"
        )
    turned, nod = pose(face)
    if abs(turned) > FARTHEST_TURN or not NOD[0] <= nod <= NOD[1]:
        raise _unfit(source, "a face turned away", "look into the camera")


def check_sharpness(source: str, sharp: float) -> None:
    """Insist on a sharpness that no blurred face has.

    Raises:
        EdgefrError: it is less.
    """
    if sharp < SHARPEST_BLUR:
        raise _unfit(
            source, f"a blurred face (sharpness {sharp:.2f}, {SHARPEST_BLUR} needed)", "hold still in better light"
        )


def check_quality(verifier: Verifier, face: EmbeddedFace) -> None:
    """Insist on a face that the model's limit of quality lets pass, where it has one.

    Raises:
        EdgefrError: it does not.
    """
    for doubt in verifier.quality_warnings([face]) or ():
        raise PoorFaceError("a face that the model is sure of", f"that {doubt}", "give a clearer photograph")


def pose(face: Face) -> tuple[float, float]:
    """How far the nose stands from the middle of the eyes along their line, in eye distances, and how far down between
    eyes and mouth: both from the five landmarks, as a turned head shifts them."""
    left, right, nose, *mouth = face.landmarks.astype(np.float64)
    middle, across = (left + right) / 2, right - left
    distance = max(float(np.linalg.norm(across)), 1e-6)
    down = np.array([-across[1], across[0]]) / distance
    depth = float((np.mean(mouth, axis=0) - middle) @ down)
    return float((nose - middle) @ across) / distance**2, float((nose - middle) @ down) / (depth or 1e-6)


def enrolment_warnings(
    gallery: Gallery, verifier: Verifier, people: Sequence[tuple[str, Sequence[FaceSample], Sequence[FaceSample]]]
) -> list[tuple[tuple[str, ...], tuple[Hit, ...] | None]]:
    """Of people with (name, kept, fresh samples): which of the `fresh` are unlike all others of the person, and who
    of another name looks the same.

    The first by the threshold that `verify` takes. The second by the strictest there is, for the new template is
    compared with everybody.
    """
    strict = strictest_threshold(verifier)
    if strict is None or not people:
        return [((), None) for _ in people]
    near = gallery.search_all(np.stack([fuse_template([*kept, *fresh]) for _, kept, fresh in people]), top=2)
    return [
        (
            _unlike(verifier, kept, fresh),
            tuple(hit for hit in hits if hit.name != name and hit.similarity >= strict.value),
        )
        for (name, kept, fresh), hits in zip(people, near, strict=True)
    ]


def _unlike(verifier: Verifier, kept: Sequence[FaceSample], fresh: Sequence[FaceSample]) -> tuple[str, ...]:
    unlike = []
    for entry in fresh:
        others = [other for other in (*kept, *fresh) if other is not entry]
        if others and float(entry.embedding @ fuse_template(others)) < verifier.threshold().value:
            unlike.append(entry.source)
    return tuple(unlike)


def _unfit(source: str, reason: str, mend: str) -> PoorFaceError:
    return PoorFaceError(f"one face in {source}, near, sharp and turned to the camera", reason, mend)
