"""Films whose frames have any time stamps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from edgefr.types import Image

HEADER, SEGMENT, INFO, TRACKS, CLUSTER = "1a45dfa3", "18538067", "1549a966", "1654ae6b", "1f43b675"


def write_matroska(path: Path, frames: Sequence[tuple[int, Image]]) -> Path:
    """Write a film in Motion JPEG with the time of each frame in milliseconds (RFC 9559)."""
    height, width = frames[0][1].shape[:2]
    video = _element("e0", _number("b0", width) + _number("ba", height))
    track = _number("d7", 1) + _number("73c5", 1) + _number("83", 1) + _element("86", b"V_MJPEG") + video
    clusters = b"".join(
        _element(CLUSTER, _number("e7", at) + _element("a3", b"\x81\0\0\x80" + _jpeg(image))) for at, image in frames
    )
    millisecond = _number("2ad7b1", 1_000_000)
    segment = _element(INFO, millisecond) + _element(TRACKS, _element("ae", track)) + clusters
    path.write_bytes(_element(HEADER, _element("4282", b"matroska")) + _element(SEGMENT, segment))
    return path


def _jpeg(image: Image) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


def _element(name: str, data: bytes) -> bytes:
    return bytes.fromhex(name) + (1 << 56 | len(data)).to_bytes(8, "big") + data


def _number(name: str, value: int) -> bytes:
    return _element(name, value.to_bytes(8, "big"))
