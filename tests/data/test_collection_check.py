"""Each fault that would spoil a training is found, and pictures without it are not accused."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.data.collection_check import Report, check, red_over_blue
from edgefr.data.collections import open_faces
from edgefr.data.duplicate_pictures import NEAR, difference_hash, near_pairs
from edgefr.data.sample_faces import astronaut_faces
from edgefr.types import Image

SKIN = 180, 130, 110


def face(seed: int, size: int = 112) -> Image:
    """Skin with a soft texture of its own."""
    rough = np.random.default_rng(seed).normal(0, 25, (9, 9, 1)).astype(np.float32)
    texture = cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(np.array(SKIN) + texture, 0, 255).astype(np.uint8)


def png(picture: Image) -> bytes:
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def report(path: Path, files: dict[str, Image | bytes], workers: int = 1) -> Report:
    with zipfile.ZipFile(path / "faces.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else png(content))
    folder = open_faces(path / "faces.zip")
    told: list[int] = []
    found = check(folder, folder.names, workers, told.append)
    assert sum(told) == found.pictures == len(files)
    return found


def faces(count: int) -> dict[str, Image | bytes]:
    return {f"{number % 4}/{number:02}.png": face(number) for number in range(count)}


def test_sound_faces_are_clean(tmp_path: Path) -> None:
    found = report(tmp_path, faces(9))
    assert found.clean
    assert (found.people, found.alone) == (4, 0)
    assert (found.channels.verdict, found.channels.right) == ("rgb", 9)


def test_people_with_a_single_picture_are_counted_and_no_fault(tmp_path: Path) -> None:
    found = report(tmp_path, faces(5))
    assert (found.people, found.alone, found.clean) == (4, 3, True)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_fault_is_found_and_named(tmp_path: Path, workers: int) -> None:
    jpeg = cv2.imencode(".jpg", face(1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes()
    files = faces(100) | {
        "9/cut.png": png(face(1))[:500],
        "9/text.jpg": b"hello",
        "9/small.png": face(200, 100),
        "9/same.png": face(2),
        "9/near.jpg": jpeg,
        "1/near.jpg": jpeg[:-2] + b"\xff\xfe\0\x04hi\xff\xd9",  # as near to 1/01.png, but of the same person
    }
    found = report(tmp_path, files, workers)
    assert not found.clean
    assert list(found.corrupt) == ["9/cut.png", "9/text.jpg"]
    assert "no picture" in found.corrupt["9/text.jpg"]
    assert found.wrong_size == {"9/small.png": (100, 100)}
    assert found.duplicates == (("1/near.jpg", "9/near.jpg"), ("2/02.png", "9/same.png"))
    assert found.near_duplicates == (("1/01.png", "9/near.jpg"),)
    assert found.channels.verdict == "rgb"


def test_equal_pixels_of_another_shape_are_no_duplicate(tmp_path: Path) -> None:
    plain = np.full((112, 112, 3), 99, np.uint8)
    found = report(tmp_path, {"a/1.png": plain, "a/2.png": plain.reshape(56, 224, 3)})
    assert found.duplicates == ()


def swapped(files: dict[str, Image | bytes], names: Iterable[str]) -> dict[str, Image | bytes]:
    return files | {name: np.ascontiguousarray(np.asarray(files[name])[..., ::-1]) for name in names}


@pytest.mark.parametrize(
    ("share", "verdict"), [(0, "rgb"), (2, "rgb"), (3, "mixed"), (20, "mixed"), (37, "mixed"), (38, "swapped")]
)
def test_swapped_channels_are_a_fault_of_the_whole_collection(tmp_path: Path, share: int, verdict: str) -> None:
    """Up to two pictures of forty may be in blue light."""
    files = faces(40)
    names = sorted(files)[:share]
    found = report(tmp_path, swapped(files, names))
    assert found.channels.verdict == verdict
    assert found.channels.suspects == tuple(names)
    assert found.clean == (verdict == "rgb")


def test_grey_pictures_say_nothing_about_channels(tmp_path: Path) -> None:
    grey = {name: np.repeat(np.asarray(picture)[..., :1], 3, 2) for name, picture in faces(6).items()}
    found = report(tmp_path, grey)
    assert (found.channels.verdict, found.channels.right, found.channels.swapped) == ("unknown", 0, 0)
    assert found.clean


@pytest.mark.parametrize("size", [50, 112, 250])
def test_the_middle_of_a_picture_of_any_size_is_measured(size: int) -> None:
    picture = np.full((size, size + 1, 3), (10, 20, 200), np.uint8)
    picture[size // 2 : size * 3 // 4 + 1, size // 3 : size * 2 // 3 + 1] = SKIN
    assert red_over_blue(picture) > 0


def test_a_picture_of_one_pixel_has_a_middle() -> None:
    assert red_over_blue(np.full((1, 1, 3), SKIN, np.uint8)) == SKIN[0] - SKIN[2]


def test_a_real_face_is_red_and_its_copies_are_near() -> None:
    original = astronaut_faces(1)[0]
    assert red_over_blue(original) > 20
    for quality in (90, 50):
        jpeg = cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
        assert np.unpackbits(difference_hash(original) ^ difference_hash(np.asarray(jpeg))).sum() <= NEAR


def test_near_pairs_are_those_of_all_against_all() -> None:
    """Few copies, each a few bits away, among strangers; what is a bit too far is none."""
    rng = np.random.default_rng(0)
    strangers = rng.integers(0, 256, (300, 32), np.uint8)
    bits = np.unpackbits(strangers[:40], axis=1)
    for row, count in zip(bits, rng.integers(0, 2 * NEAR, len(bits)), strict=True):
        row[rng.choice(64, count, replace=False) + 64] ^= 1
    hashes = np.concatenate([strangers, np.packbits(bits, axis=1)])
    apart = np.unpackbits(hashes[:, None] ^ hashes[None], axis=2).sum(2)
    expected = [(a, b) for a, b in np.argwhere(apart <= NEAR) if a < b]
    assert 5 < len(expected) < 40
    assert list(map(tuple, near_pairs(hashes))) == expected


def test_near_pairs_of_nothing_are_none() -> None:
    assert near_pairs(np.zeros((0, 32), np.uint8)).shape == (0, 2)
    assert near_pairs(np.zeros((1, 32), np.uint8)).shape == (0, 2)


@pytest.mark.shared
def test_real_faces_are_told_from_swapped_ones(shared: Path, tmp_path: Path) -> None:
    folder = open_faces(shared / "lfw-aligned-112.zip")
    names = folder.names[::40]
    real = {name: folder.read(name) for name in names}
    found = report(tmp_path, dict(real))
    assert found.clean
    assert found.channels.right > 0.98 * len(names)
    assert report(tmp_path, swapped(dict(real), names)).channels.verdict == "swapped"
    assert report(tmp_path, swapped(dict(real), names[::10])).channels.verdict == "mixed"
