"""Every file in a folder is read, reported or counted: nothing is skipped silently."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from PIL import Image as Pillow

from edgefr.io.picture_files import PictureFinder
from edgefr.io.picture_header import identify_picture
from tests.detection.pictures import encoded
from tests.io.test_photo import RGB, as_a_user_without_rights

JPEG = encoded(RGB, "JPEG")


def found(folder: Path, finder: PictureFinder | None = None) -> list[str]:
    finder = finder or PictureFinder()
    return sorted(str(Path(path).relative_to(folder)) for path in finder.find(str(folder)))


def write(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", ".").replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_pictures_are_known_by_their_suffix_in_any_case(tmp_path: Path) -> None:
    names = ["a.jpe", "b.MPO", "c.HEIC", "d.heif", "e.avif", "f.JPG", "g.hif", "h.jfif"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert found(tmp_path) == names


def test_a_picture_with_another_suffix_is_reported_and_other_files_are_counted(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__jpg=JPEG,
        b__dat=JPEG,
        IMG1=encoded(RGB, "WEBP"),
        c__jp2=encoded(RGB, "JPEG2000"),
        d__jxl=b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50),
        e__nef=encoded(RGB, "TIFF"),
        f__txt=b"BMI of everybody in this list: 23",
        g__json=b"{}",
        h__json=b"[]",
        sub_i=b"",
    )
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7" + bytes(50))
    finder = PictureFinder()
    assert found(tmp_path, finder) == ["a.jpg"]
    reasons = {Path(image.path).name: image.reason for image in finder.left_out}
    assert {name: reason.split("found a ")[1].split(" picture")[0] for name, reason in reasons.items()} == {
        "IMG1": "WebP",
        "b.dat": "JPEG",
        "c.jp2": "JPEG 2000",
        "d.jxl": "JPEG XL",
        "e.nef": "TIFF",
    }
    assert reasons["b.dat"].endswith("Rename it to end in .jpg.")
    assert reasons["e.nef"].endswith("Save it as JPEG.")
    assert finder.other_files == {".json": 2, ".txt": 1, ".jpg": 1, "": 1}
    assert finder.summary().startswith("5 other files (2 .json, 1 ")


def test_links_to_folders_are_followed_and_every_folder_is_listed_once(tmp_path: Path) -> None:
    write(tmp_path, photos_a_1__jpg=JPEG, elsewhere_2__jpg=JPEG)
    photos = tmp_path / "photos"
    (photos / "loop").symlink_to(photos)
    (photos / "a/up").symlink_to("..")
    (photos / "0").symlink_to(photos / "a")
    (photos / "far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(photos)
    finder = PictureFinder()
    assert found(photos, finder) == ["a/1.jpg", "far/2.jpg"]
    assert finder.left_out == []
    assert finder.summary() == "4 links to folders that are read anyway"


def test_links_to_nothing_and_pipes_are_reported(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    finder = PictureFinder()
    assert found(tmp_path, finder) == []
    assert sorted(Path(image.path).name for image in finder.left_out) == ["gone.jpg", "pipe.jpg", "self.jpg"]
    assert finder.other_files == {"": 2}


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of POSIX systems")
def test_a_folder_without_read_permission_is_reported_and_the_others_are_listed() -> None:
    with tempfile.TemporaryDirectory() as name:  # that of pytest is closed to other users
        root, finder = Path(name), PictureFinder()
        root.chmod(0o755)
        write(root, closed_1__jpg=JPEG, open_2__jpg=JPEG)
        (root / "closed").chmod(0)
        with as_a_user_without_rights():
            assert found(root, finder) == ["open/2.jpg"]
        (root / "closed").chmod(0o755)
    (image,) = finder.left_out
    assert image.path == str(root / "closed")
    assert "found that it cannot be read (Permission denied). Change its permissions." in image.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "AVIF", "WEBP"])
def test_content_is_identified(kind: str) -> None:
    assert str(identify_picture(encoded(RGB, kind)[:64])).upper() == kind
    assert identify_picture(b"") is None
    assert identify_picture(b"BM and other words that begin a text") is None


def test_the_first_picture_of_an_mpo_file_is_read(tmp_path: Path) -> None:
    from edgefr.io.photo import read_photograph

    path = tmp_path / "a.MPO"
    path.write_bytes(encoded(RGB, "MPO", save_all=True, append_images=[RGB.transpose(Pillow.Transpose.ROTATE_90)]))
    assert read_photograph(path).shape == (48, 64, 3)
