"""Enrol a person from a camera or a recording: several good views, some time apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing

from edgefr.camera.base import Frame, Source
from edgefr.camera.frame_detector import FrameDetector
from edgefr.camera.latest_frame import LatestFrameReader
from edgefr.errors import EdgefrError, ImageError, PoorFaceError, UnavailableError
from edgefr.gallery.enrolment import sample_from_face
from edgefr.gallery.enrolment_checks import crop_for_enrolment, single_face
from edgefr.gallery.records import FaceSample
from edgefr.recognition.verifier import Verifier

VIEWS = 5
"""Number of views to take."""
MIN_INTERVAL_S = 0.5
"""Seconds between two views, so that they differ."""
MAX_DURATION_S = 30.0
"""Seconds, in the time of the source, after which the views so far are enough."""


def samples_from_camera(
    source: Source,
    verifier: Verifier,
    keep_crops: bool,
    log: Callable[[str], None],
    advance: Callable[[int], None],
    rotation: int | None = None,
) -> list[FaceSample]:
    """Take up to VIEWS good views of the one person in front of a camera.

    Args:
        source: Camera, stream or recording.
        verifier: Detector and recogniser.
        keep_crops: Whether the samples hold their aligned crops.
        log: Called with a sentence when a view is rejected for a new reason, and when the source is disconnected.
        advance: Called with 1 after every view.
        rotation: Degrees clockwise by which frames are turned, see `FrameDetector`.

    Returns:
        At least one sample.

    Raises:
        ImageError: There is no good view; the error is the most frequent reason.
        UnavailableError: The source gives no frames.
    """
    samples: list[FaceSample] = []
    rejections: Counter[str] = Counter()
    errors: dict[str, EdgefrError] = {}
    detector = FrameDetector(verifier.detector, rotation)
    start = last = None
    with closing(_frames(source, log)) as frames:
        for frame in frames:
            start = frame.at if start is None else start
            if len(samples) == VIEWS or frame.at - start > MAX_DURATION_S:
                break
            if last is not None and frame.at - last < MIN_INTERVAL_S:
                continue
            detected = detector.detect(frame)
            try:
                face = single_face(source.name, detected.faces)
                if detector.suspects_turn:
                    raise _turned_error(source.name)
                if frame.at - detected.upright_at > MIN_INTERVAL_S:
                    continue  # until the next check of the orientation
                found = crop_for_enrolment(source.name, detected.frame.image, face)
                samples.append(sample_from_face(verifier, found, keep_crops))
            except ImageError as error:
                reason = str(error)
                if reason not in errors:
                    log(reason)
                rejections[reason] += 1
                errors[reason] = error
                continue
            last = frame.at
            advance(1)
    if samples:
        return samples
    if rejections:
        raise errors[rejections.most_common(1)[0][0]]
    raise UnavailableError(f"frames from {source.name}", "none", "check that the camera works or the film plays")


def _frames(source: Source, log: Callable[[str], None]) -> Generator[Frame, None, None]:
    if not source.live:
        yield from source.frames()
        return
    reader = LatestFrameReader(
        source, lambda condition, reason: log(f"{source.name} is {condition}: {reason}"), reconnect=False
    )
    try:
        yield from reader
    finally:
        reader.stop()


def _turned_error(source: str) -> PoorFaceError:
    return PoorFaceError(f"an upright face in {source}", "one that seems to be turned", "show it for longer")
