"""Somebody enrols before a camera: several good views, some time apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing

from edgefr.camera.base import Frame, Source
from edgefr.camera.latest_frame import LatestFrameReader
from edgefr.camera.watcher import detect_faces
from edgefr.errors import EdgefrError, ImageError, UnavailableError
from edgefr.gallery.enrolment import crop_for_enrolment, sample_from_face, single_face
from edgefr.gallery.records import FaceSample
from edgefr.recognition.verifier import Verifier

VIEWS = 5
APART = 0.5
"""Seconds between two views: sooner they would be the same one."""
LONGEST = 30.0
"""Seconds of the source's time after which who is not in view is not waited for."""


def samples_from_camera(
    source: Source, verifier: Verifier, crops: bool, say: Callable[[str], None], advance: Callable[[int], None]
) -> list[FaceSample]:
    """VIEWS good views of the one person before a camera, or as many as came in time; with crops where they are kept.

    `say` is told what is wrong with a view when that changes, and of the source's troubles; `advance` of every view.

    Raises:
        EdgefrError: there was none, for the reason that was found most often.
    """
    views: list[FaceSample] = []
    reasons: Counter[str] = Counter()
    errors: dict[str, EdgefrError] = {}
    begun = last = None
    with closing(_frames(source, say)) as frames:
        for frame in frames:
            begun = frame.at if begun is None else begun
            if len(views) == VIEWS or frame.at - begun > LONGEST:
                break
            if last is not None and frame.at - last < APART:
                continue
            try:
                face = single_face(source.name, detect_faces(verifier.detector, frame.image))
                views.append(sample_from_face(verifier, crop_for_enrolment(source.name, frame.image, face), crops))
            except ImageError as error:
                if str(error) not in reasons:
                    say(str(error))
                reasons[str(error)] += 1
                errors[str(error)] = error
                continue
            last = frame.at
            advance(1)
    if not views:
        raise (
            errors[reasons.most_common(1)[0][0]]
            if reasons
            else UnavailableError(
                f"frames of {source.name}", "none", "check that the camera is plugged in and that the film plays"
            )
        )
    return views


def _frames(source: Source, say: Callable[[str], None]) -> Generator[Frame, None, None]:
    if not source.live:
        yield from source.frames()
        return
    newest = LatestFrameReader(source, lambda condition, reason: say(f"{source.name} is {condition}: {reason}"))
    try:
        yield from newest
    finally:
        newest.stop()
