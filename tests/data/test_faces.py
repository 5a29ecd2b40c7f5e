"""Collections of faces read the same from a folder and from a zip, and say what is wrong with them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.data.faces import open_faces
from edgefr.errors import EdgefrError


def png(colour: tuple[int, int, int], size: int = 112) -> bytes:
    rgb = np.full((size, size, 3), colour, np.uint8)
    return cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()


@pytest.fixture(params=["folder", "zip"])
def collection(request: pytest.FixtureRequest, tmp_path: Path):
    """Writes name -> bytes as a folder or a zip and gives its path."""

    def write(files: dict[str, bytes]) -> Path:
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
            return tmp_path / "faces.zip"
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return tmp_path

    return write


def test_names_people_and_rgb_pixels(collection) -> None:
    files = {"Bea/Bea_0001.png": png((0, 0, 255)), "Ann/Ann_0001.png": png((255, 0, 0)), "Ann/notes.txt": b"hello"}
    folder = open_faces(collection(files))
    assert folder.names == ("Ann/Ann_0001.png", "Bea/Bea_0001.png")
    assert folder.people() == ["Ann", "Bea"]
    told: list[int] = []
    faces = folder.read_faces(progress=told.append)
    assert faces[:, 0, 0].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert sum(told) == 2


@pytest.mark.parametrize("content", [b"", b"no picture", png((1, 2, 3))[:60]])
def test_a_damaged_picture_is_named(collection, content: bytes) -> None:
    folder = open_faces(collection({"Ann/Ann_0001.png": content}))
    with pytest.raises(EdgefrError, match=r"Ann/Ann_0001\.png"):
        folder.read_faces()


def test_people_are_the_folders_pictures_lie_in_wherever_those_lie(tmp_path: Path) -> None:
    (tmp_path / "lfw/Ann").mkdir(parents=True)
    (tmp_path / "lfw/Ann/Ann_0001.png").write_bytes(png((1, 2, 3)))
    (tmp_path / "lfw/Ann/._Ann_0001.png").write_bytes(b"shadow")
    assert open_faces(tmp_path).people() == ["Ann"]


def test_a_zip_member_with_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Ann/Ann_0001.png", png((1, 2, 3)))
    data = bytearray(path.read_bytes())
    data[120] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(EdgefrError, match="Ann_0001"):
        open_faces(path).read_faces()


def test_faces_that_are_not_aligned_are_refused(collection) -> None:
    folder = open_faces(collection({"Ann/Ann_0001.png": png((1, 2, 3), size=100)}))
    with pytest.raises(EdgefrError, match="100x100"):
        folder.read_faces()


def test_nothing_to_read_is_an_error(collection, tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match="found none"):
        open_faces(collection({"Ann/notes.txt": b"hello"}))
    with pytest.raises(EdgefrError, match="found nothing"):
        open_faces(tmp_path / "nowhere")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(EdgefrError, match="another file"):
        open_faces(tmp_path / "text.zip")
