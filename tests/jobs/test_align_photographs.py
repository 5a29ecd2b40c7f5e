"""Photographs become aligned faces of the same names, in a zip that is written completely or not at all."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.data.collections import open_faces
from edgefr.data.sample_faces import ASTRONAUT_LANDMARKS
from edgefr.detection.base import Detections, Face
from edgefr.errors import EdgefrError
from edgefr.jobs.align_photographs import align_faces
from edgefr.types import TEMPLATE, Image

BLUE = 0, 0, 255


class CornerDetector:
    """Finds the same face, the template shifted by (30, 20), wherever the top left pixel is not blue."""

    name = "corner"

    def detect(self, image: Image) -> Detections:
        if tuple(image[0, 0]) == BLUE:
            return Detections.from_faces([])
        landmarks = TEMPLATE + np.array([30, 20], np.float32)
        if tuple(image[0, 0]) == (255, 255, 255):
            landmarks = np.zeros((5, 2), np.float32)
        return Detections.from_faces([Face((30, 20, 112, 112), landmarks, 0.9)])


def photo(seed: int, corner: tuple[int, int, int] = (0, 0, 0)) -> Image:
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    image = cv2.resize(rough, (200, 180), interpolation=cv2.INTER_CUBIC)
    image[:9, :9] = corner
    return image


def write(root: Path, photos: dict[str, Image | bytes]) -> Path:
    for name, content in photos.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        encoded = content if isinstance(content, bytes) else cv2.imencode(".png", content[..., ::-1])[1].tobytes()
        (root / name).write_bytes(encoded)
    return root


def test_faces_keep_their_names_and_photographs_without_a_face_are_reported(tmp_path: Path) -> None:
    photos: dict[str, Image | bytes] = {
        "Ann/1.jpg": photo(1),
        "Bea/2.png": photo(2),
        "Bea/blue.jpg": photo(3, BLUE),
        "Cid/bad.jpg": b"hello",
        "Cid/flat.jpg": photo(4, (255, 255, 255)),
    }
    output = tmp_path / "faces.zip"
    told: list[int] = []
    folder = open_faces(write(tmp_path / "photos", photos))
    result = align_faces(folder, CornerDetector(), "largest", output, told.append)
    assert (result.faces, sum(told)) == (2, 5)
    assert output.stat().st_mode & 0o777 == 0o600
    assert list(result.left_out) == ["Bea/blue.jpg", "Cid/bad.jpg", "Cid/flat.jpg"]
    assert "Bea/blue.jpg, found none" in result.left_out["Bea/blue.jpg"]
    faces = open_faces(output)
    assert faces.names == ("Ann/1.jpg", "Bea/2.jpg")
    for face, seed in zip(faces.read_faces(), (1, 2), strict=True):
        assert np.abs(face.astype(int) - photo(seed)[20:132, 30:142]).mean() < 4  # right place and channels
    with zipfile.ZipFile(output) as archive:
        assert archive.read("Bea/2.jpg").startswith(b"\xff\xd8\xff")
        archive.extractall(tmp_path / "unpacked")
    assert (tmp_path / "unpacked/Ann/1.jpg").read_bytes()


def test_the_same_photographs_give_the_same_zip(tmp_path: Path) -> None:
    folder = open_faces(write(tmp_path / "photos", {"Ann/1.jpg": photo(1), "Bea/2.jpg": photo(2)}))
    digests = set()
    for name in ("first.zip", "second.zip"):
        align_faces(folder, CornerDetector(), "largest", tmp_path / name, lambda _: None)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_nothing_is_written_if_no_face_was_found(tmp_path: Path) -> None:
    folder = open_faces(write(tmp_path / "photos", {"Ann/1.jpg": photo(1, BLUE), "Ann/2.jpg": photo(2, BLUE)}))
    (tmp_path / "faces.zip").write_bytes(b"of before")
    with pytest.raises(EdgefrError, match="at least one of 2 photographs"):
        align_faces(folder, CornerDetector(), "largest", tmp_path / "faces.zip", lambda _: None)
    assert (tmp_path / "faces.zip").read_bytes() == b"of before"
    assert {entry.name for entry in tmp_path.iterdir()} == {"photos", "faces.zip"}


def test_names_that_differ_only_in_their_suffix_are_refused(tmp_path: Path) -> None:
    folder = open_faces(write(tmp_path / "photos", {"Ann/1.jpg": photo(1), "Ann/1.png": photo(2)}))
    with pytest.raises(EdgefrError, match=r"found 2 that become Ann/1\.jpg"):
        align_faces(folder, CornerDetector(), "largest", tmp_path / "faces.zip", lambda _: None)


def test_the_landmarks_of_a_real_face_match_the_template(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")

    class Astronaut(CornerDetector):
        def detect(self, image: Image) -> Detections:
            return Detections.from_faces([Face((180, 60, 90, 110), ASTRONAUT_LANDMARKS, 0.9)])

    folder = open_faces(write(tmp_path / "photos", {"Eileen/1.png": data.astronaut()}))
    align_faces(folder, Astronaut(), "only", tmp_path / "faces.zip", lambda _: None)
    (face,) = open_faces(tmp_path / "faces.zip").read_faces()
    lips, cheek = face[90:94, 54:59].mean((0, 1)), face[70:74, 36:40].mean((0, 1))
    assert lips.sum() > 0
    assert cheek[0] > cheek[2]
