"""Collections of faces read the same from a folder and from a zip, and say what is wrong with them."""

from __future__ import annotations

import contextlib
import multiprocessing
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.data.collections import FaceFolder, open_faces
from edgefr.errors import EdgefrError
from tests.data.test_recordio import image, write_records


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
def test_a_damaged_picture_is_reported_by_name(collection, content: bytes) -> None:
    folder = open_faces(collection({"Ann/Ann_0001.png": content}))
    with pytest.raises(EdgefrError, match=r"Ann/Ann_0001\.png"):
        folder.read_faces()


def test_the_person_is_the_innermost_folder(tmp_path: Path) -> None:
    (tmp_path / "lfw/Ann").mkdir(parents=True)
    (tmp_path / "lfw/Ann/Ann_0001.png").write_bytes(png((1, 2, 3)))
    (tmp_path / "lfw/Ann/._Ann_0001.png").write_bytes(b"shadow")
    assert open_faces(tmp_path).people() == ["Ann"]


def test_a_zip_member_with_a_wrong_checksum_is_reported_by_name(tmp_path: Path) -> None:
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
    with pytest.raises(EdgefrError, match=r"text\.zip is not a face collection \(File is not a zip file\)\."):
        open_faces(tmp_path / "text.zip")
    (tmp_path / "a.jpg").write_bytes(png((1, 2, 3)))
    with pytest.raises(EdgefrError, match=r"a\.jpg is not a face collection\. Give a folder, \.zip, \.rec or \.csv"):
        open_faces(tmp_path / "a.jpg")


COLOURS = {f"person{n % 5}/{n}.png": (n, 2 * n, 255 - n) for n in range(40)}


def write_everywhere(root: Path) -> list[Path]:
    """The pictures of COLOURS as a folder, a zip, a list and records."""
    pictures = {name: png(colour) for name, colour in COLOURS.items()}
    with zipfile.ZipFile(root / "faces.zip", "w") as archive:
        for place, (name, content) in enumerate(pictures.items()):
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if place % 2 else zipfile.ZIP_STORED)
    for name, content in pictures.items():
        (root / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "folder" / name).write_bytes(content)
    (root / "faces.csv").write_text("".join(f"folder/{name},{name.partition('/')[0]}\n" for name in pictures))
    records = {number: image(number % 5, content) for number, content in enumerate(pictures.values())}
    return [root / "folder", root / "faces.zip", root / "faces.csv", write_records(root / "train.rec", records)]


def read_all(folder: FaceFolder, seed: int) -> list[str]:
    """Names whose picture is not what it should be, read in an order of this process's own."""
    order = np.random.default_rng(seed).permutation(len(folder.names)).tolist()
    return [
        name for name in (folder.names[place] for place in order) if folder.read(name)[0, 0].tolist() != colour(name)
    ]


def colour(name: str) -> list[int]:
    number = int(Path(name).stem)
    return list(COLOURS[f"person{number % 5}/{number}.png"])


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_that_read_at_the_same_time_get_the_right_pictures(tmp_path: Path, start: str) -> None:
    folders = [open_faces(path) for path in write_everywhere(tmp_path)]
    assert [read_all(folder, 0) for folder in folders] == [[], [], [], []]  # opened before the workers are
    with multiprocessing.get_context(start).Pool(2 if start == "spawn" else 4) as pool:
        tasks = [(folder, seed) for seed in range(4) for folder in folders]
        assert pool.starmap(read_all, tasks, chunksize=1) == [[]] * len(tasks)


def test_forked_processes_can_use_collections_that_their_parent_opened(tmp_path: Path) -> None:
    """As a DataLoader's workers do: nothing is pickled, the open file is inherited. Its position must not matter."""
    folders = [open_faces(path) for path in write_everywhere(tmp_path)[1:]]
    encoded = [{name: folder.read_bytes(name) for name in folder.names} for folder in folders]
    context = multiprocessing.get_context("fork")
    together = context.Barrier(4)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for folder, expected in zip(folders, encoded, strict=True):
            names = [folder.names[place] for place in rng.integers(0, len(expected), 4000)]
            together.wait(30)
            assert all(folder.read_bytes(name) == expected[name] for name in names)

    workers = [context.Process(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]


def test_a_list_a_zip_and_records_hold_the_people_of_a_folder(tmp_path: Path) -> None:
    folder, *others, records = (open_faces(path) for path in write_everywhere(tmp_path))
    assert all(sorted(other.people()) == folder.people() for other in others)
    assert sorted(records.people()) == [person.removeprefix("person") for person in folder.people()]


def test_a_large_jpeg_is_reduced_as_far_as_its_short_side_allows(collection) -> None:
    rows, columns = np.mgrid[:600, :1000].astype(np.float32)
    photo = np.stack([rows / 3, columns / 5, 128 + 60 * np.sin(rows / 40)], -1).astype(np.uint8)
    files = {"Ann/1.jpg": cv2.imencode(".jpg", photo[..., ::-1])[1].tobytes()}
    folder = open_faces(collection(files | {"Ann/2.png": cv2.imencode(".png", photo)[1].tobytes()}))
    shapes = {at_least: folder.read("Ann/1.jpg", at_least).shape for at_least in (None, 301, 300, 150, 76, 75, 10)}
    whole, half, quarter, eighth = (600, 1000, 3), (300, 500, 3), (150, 250, 3), (75, 125, 3)
    assert list(shapes.values()) == [whole, whole, half, quarter, quarter, eighth, eighth]
    assert folder.read("Ann/2.png", 10).shape == whole  # only JPEG decoders can
    averaged = cv2.resize(photo, (250, 150), interpolation=cv2.INTER_AREA)
    assert np.abs(folder.read("Ann/1.jpg", 150).astype(int) - averaged).mean() < 2


def test_a_picture_too_large_to_decode_can_be_read_reduced(collection) -> None:
    huge = cv2.imencode(".jpg", np.zeros((6000, 8000, 1), np.uint8))[1].tobytes()
    folder = open_faces(collection({"Ann/1.jpg": huge}))
    with pytest.raises(EdgefrError, match="8000x6000"):
        folder.read("Ann/1.jpg")
    assert folder.read("Ann/1.jpg", 1000).shape == (1500, 2000, 3)


def test_a_picture_that_is_not_there_is_named(collection) -> None:
    folder = open_faces(collection({"Ann/1.png": png((1, 2, 3))}))
    with pytest.raises(EdgefrError, match=r"Ann/2\.png"):
        folder.read("Ann/2.png")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=5), st.integers(0, 300))
def test_a_damaged_zip_does_no_more_than_raise_an_error(changes: list[tuple[int, int]], cut: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "faces.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("Ann/1.png", png((1, 2, 3), 20))
            archive.writestr("Bea/2.png", png((4, 5, 6), 20), zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        for at, value in changes:
            data[at % len(data)] = value
        path.write_bytes(data[: len(data) - cut // 10])
        with contextlib.suppress(EdgefrError):
            folder = open_faces(path)
            for name in folder.names:
                with contextlib.suppress(EdgefrError):
                    folder.read(name)


def test_a_zip_member_that_inflates_beyond_what_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Ann/1.png", bytes(1 << 20))
    data = path.read_bytes()
    path.write_bytes(data.replace((1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    with pytest.raises(EdgefrError, match=r"Ann/1\.png, found a zip member with a wrong checksum"):
        open_faces(path).read("Ann/1.png")


def test_a_zip_member_whose_name_leaves_the_folder_is_left_out(tmp_path: Path) -> None:
    """Names become paths where pictures are written."""
    outside = ["../evil/1.png", "ann/../../evil/1.png", "/evil/1.png", "C:/evil/1.png", "..\\evil\\1.png"]
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for name in (*outside, "ann/1..2.png"):
            archive.writestr(name, png((9, 9, 9)))
    folder = open_faces(tmp_path / "faces.zip")
    assert folder.names == ("ann/1..2.png",)
    assert [image.path for image in folder.finder.left_out] == outside
    assert "outside of it" in folder.finder.left_out[0].reason
