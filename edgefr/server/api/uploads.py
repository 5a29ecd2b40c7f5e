"""Photographs that clients upload."""

from __future__ import annotations

from fastapi import UploadFile

from edgefr.detection.base import select_faces
from edgefr.io.photo import decode_photograph
from edgefr.recognition.verifier import EmbeddedFace, Verifier
from edgefr.server.api.problems import ProblemError
from edgefr.types import Image

MAX_PHOTO_BYTES = 20 << 20
MAX_PHOTO_PIXELS = 32_000_000
"""As of the page: phones take 12 to 24 megapixels, and each pixel needs three bytes."""
MAX_FACES = 64
"""Faces of one photograph that are embedded or described; the others are only counted."""


def _read(photo: UploadFile) -> bytes:
    """The bytes of a photograph; raises ProblemError if there are too many.

    A worker calls it, so that photographs wait in their temporary files and not in memory.
    """
    data = photo.file.read(MAX_PHOTO_BYTES + 1)
    if len(data) > MAX_PHOTO_BYTES:
        raise ProblemError("too-large", f"A photograph may have {MAX_PHOTO_BYTES >> 20} MiB. Send a smaller one.")
    return data


def decode(photo: UploadFile, source: str) -> Image:
    """The pixels of a photograph, (H, W, 3) uint8 RGB.

    Args:
        photo: The upload.
        source: Its name in messages.

    Raises:
        ProblemError: It has too many bytes.
        UnreadableImageError: It cannot be decoded, or has too many pixels, see `decode_photograph`.
    """
    return decode_photograph(_read(photo), source, MAX_PHOTO_PIXELS)


def embed_all(verifier: Verifier, image: Image, source: str) -> tuple[list[EmbeddedFace], int]:
    """Embed the prominent faces of a picture; returns them, and the number of all faces."""
    faces = verifier.detector.detect(image)
    if not len(faces):
        return [], 0
    chosen = select_faces(faces, (image.shape[0], image.shape[1]), source)[:MAX_FACES]
    return verifier.embed([verifier.found_in(image, face, source, len(faces)) for face in chosen]), len(faces)
