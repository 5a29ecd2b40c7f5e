"""Faces are where they were pasted, and the predictions are the teacher's, corrected by the known faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skimage")

from edgefr.detection.base import Detections  # noqa: E402
from edgefr.detection.geometry import warp_detections  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.recipes import CompositeConfig  # noqa: E402
from edgefr.training.detector.backgrounds import (  # noqa: E402
    bend,
    faceless_window,
    photograph_without_heads,
    random_background,
    scrambled_photograph,
)
from edgefr.training.detector.compositing import paste_face  # noqa: E402
from edgefr.training.detector.detector_dataset import STREAM, DetectorDataset, crop, make_composite, random_layout  # noqa: E402
from edgefr.training.detector.labelled_photographs import LabelledPhotographs  # noqa: E402
from edgefr.training.detector.teacher_predictions import YuNetDense, apply_known_labels  # noqa: E402
from tests.training.photographs import COLOURS, SKIN, painted, photographs  # noqa: E402

SIDE = 160


def pasted(seed: int, size: float = 60) -> tuple[np.ndarray, Detections]:
    """A canvas with one face in its middle, and its label."""
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    finds = paste_face(photographs(), canvas, (SIDE / 2, SIDE / 2), size, np.random.default_rng(seed), 0.3)
    return canvas, finds


def names_of(canvas: np.ndarray, points: np.ndarray) -> list[int]:
    """The part whose colour is nearest to that at each point."""
    x, y = np.rint(points).astype(int).T
    return [int(np.abs(np.array(COLOURS) - colour.astype(int)).sum(1).argmin()) for colour in canvas[y, x]]


@pytest.mark.parametrize("size", [30, 60, 110])
def test_landmarks_follow_the_parts_and_mirrored_faces_exchange_left_and_right(size: float) -> None:
    orders = []
    for seed in range(20):
        canvas, finds = pasted(seed, size)
        points = finds.landmarks[0]
        orders.append(tuple(names_of(canvas, points)))
        assert points[0, 0] < points[1, 0]  # "left" is the viewer's left
    assert set(orders) == {(0, 1, 2, 3, 4), (1, 0, 2, 4, 3)}


@pytest.mark.parametrize("size", [16, 40, 120])
def test_the_box_has_the_size_asked_for_and_lies_around_the_face(size: float) -> None:
    for seed in range(20):
        canvas, finds = pasted(seed, size)
        x, y, width, height = finds.boxes[0]
        assert (x + width / 2, y + height / 2) == pytest.approx((SIDE / 2, SIDE / 2), abs=1)
        assert size * 0.98 < np.sqrt(width * height) < size * 1.2  # a turned ellipse needs a larger upright box
        skin = np.abs(canvas.astype(int) - SKIN).sum(2) < 30
        rows, columns = np.nonzero(skin)
        margin = 2 + 0.05 * size
        assert columns.min() > x - margin
        assert columns.max() < x + width + margin
        assert rows.min() > y - margin
        assert rows.max() < y + height + margin


def test_parts_lie_where_their_points_are_to_a_fraction_of_a_pixel() -> None:
    """Also where the picture was shrunk on the way: half a pixel is much for a small face."""
    away = []
    for seed in range(40):
        canvas, finds = pasted(seed, 24)
        red = np.clip(canvas[..., 0].astype(float) - canvas[..., 1:].max(2), 0, None)
        red[red < 30] = 0
        points = finds.landmarks[0]
        rows, columns = np.mgrid[:SIDE, :SIDE]
        middle = np.array([(columns * red).sum(), (rows * red).sum()]) / red.sum()
        away.append(min(points[:2] - middle, key=lambda off: float(np.abs(off).sum())))
    assert np.abs(np.mean(away, 0)).max() < 0.15


def test_a_face_turned_by_a_right_angle_lies_on_its_side() -> None:
    _, finds = painted()
    turn = np.array([[0.0, -2, 500], [2, 0, 0]])  # x' = 500 - 2 y, y' = 2 x
    face = warp_detections(finds, turn)[0]
    assert face.box == pytest.approx([500 - 2 * 180, 2 * 70, 240, 200])
    assert face.landmarks[0].tolist() == pytest.approx([500 - 200, 190])


def test_photographs_as_taken_fill_the_picture_and_keep_their_points() -> None:
    orders, whole = set(), 0
    for seed in range(40):
        window, finds = crop(photographs(), 192, np.random.default_rng(seed), CompositeConfig())
        assert window.shape == (192, 192, 3)
        whole += int((window > 0).all())
        points = finds.landmarks[0]
        if points.min() > 3 and points.max() < 188:
            orders.add(tuple(names_of(window, points)))
    assert orders == {(0, 1, 2, 3, 4), (1, 0, 2, 4, 3)}
    assert whole == 0  # the painted eyes have channels of 0
    narrow, _ = crop(photographs(), 320, np.random.default_rng(0), CompositeConfig())
    assert (narrow == 0).all(2).mean() > 0.2  # what lies beyond the photograph is black, as a detector pads


def test_an_exact_window_is_a_part_of_the_photograph_pixel_by_pixel() -> None:
    picture, _ = painted()
    parts = [np.ascontiguousarray(each) for each in (picture, picture[:, ::-1])]

    def is_part(window: np.ndarray) -> bool:
        found = [(part, cv2.minMaxLoc(cv2.matchTemplate(part, window, cv2.TM_SQDIFF))[2]) for part in parts]
        return any(np.array_equal(part[y : y + 128, x : x + 128], window) for part, (x, y) in found)

    for share in (0.0, 1.0):
        windows = [
            crop(photographs(), 128, np.random.default_rng(seed), CompositeConfig(exact=share))[0] for seed in range(20)
        ]
        assert [is_part(window) for window in windows] == [share == 1] * 20


def test_hard_faces_are_shown_more_often_than_their_size_would_have_it() -> None:
    picture, easy = painted(0.95)
    hard = Detections(np.array([[10, 10, 20, 20]], np.float32), easy.landmarks, np.array([0.7], np.float32))
    crowd = LabelledPhotographs([picture], [Detections.concatenate([easy, hard])])
    shown = []
    for seed in range(200):
        canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
        finds = paste_face(crowd, canvas, (SIDE / 2, SIDE / 2), 60, np.random.default_rng(seed), 0.3)
        middles = finds.boxes[:, :2] + finds.boxes[:, 2:] / 2
        shown.append(int(np.abs(middles - SIDE / 2).sum(1).argmin()))
    assert 40 < sum(shown) < 80


def test_backgrounds_show_no_face() -> None:
    """A painted face is the only thing with its skin's colour and its five marks."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        part = faceless_window(photographs(), 64, rng)
        assert (np.abs(part.astype(int) - SKIN).sum(2) < 30).mean() < 0.35
        assert sum((np.abs(part.astype(int) - colour).sum(2) < 60).any() for colour in COLOURS) <= 1


def test_scrambled_pictures_keep_their_colours_but_not_their_place() -> None:
    picture = scrambled_photograph(photographs(), 120, np.random.default_rng(1))
    assert picture.shape == (120, 120, 3)
    skin = np.abs(picture.astype(int) - SKIN).sum(2) < 30
    assert 0.05 < skin.mean() < 0.25
    x, y = (np.nonzero(skin)[axis] for axis in (1, 0))
    assert x.std() > 28  # a face in one piece has 18
    assert y.std() > 28


def test_bent_stripes_are_stripes_of_the_same_colours_elsewhere() -> None:
    stripes = np.repeat(np.tile(np.uint8([0, 200]), 6), 10)[:, None, None] * np.ones((1, 120, 3), np.uint8)
    cloth = bend(stripes, np.random.default_rng(0))
    assert cloth.shape == stripes.shape
    assert np.isin(cloth, (0, 200)).mean() > 0.8
    assert 0.1 < (cloth != stripes).mean() < 0.8
    assert 0.3 < (cloth > 100).mean() < 0.7


@pytest.mark.parametrize("side", [64, 192])
def test_backgrounds_fill_the_canvas(side: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        picture = random_background(photographs(), side, rng)
        assert picture.shape == (side, side, 3)
        assert picture.dtype == np.uint8


def test_heads_are_inpainted_from_their_surroundings() -> None:
    picture = photograph_without_heads(photographs(), 192, np.random.default_rng(0))
    assert (np.abs(picture.astype(int) - 90).max(2) < 20).all()


def test_groups_have_many_faces_of_all_sizes_within_reach() -> None:
    laid = [random_layout(192, np.random.default_rng(seed)) for seed in range(80)]
    assert min(map(len, laid)) == 1
    assert max(map(len, laid)) > 8
    sizes = [size for faces in laid for _, _, size in faces]
    assert 5 < min(sizes) < 16
    assert max(sizes) > 150


def test_one_in_seven_pictures_is_faceless() -> None:
    made = [make_composite(photographs(), 64, np.random.default_rng(seed), CompositeConfig()) for seed in range(300)]
    faceless = [image for image, faces, complete in made if complete and len(faces) == 0]
    assert 25 < len(faceless) < 70
    assert np.mean([(np.abs(image.astype(int) - SKIN).sum(2) < 30).mean() for image in faceless]) < 0.1


def test_the_recipe_sets_the_shares_of_pictures() -> None:
    kinds = {"as_taken": (1, 0), "faceless": (0, 1), "laid": (0, 0)}
    for kind, (as_taken_share, faceless_share) in kinds.items():
        mix = CompositeConfig(as_taken_share, faceless=faceless_share)
        for seed in range(20):
            _, faces, complete = make_composite(photographs(), 64, np.random.default_rng(seed), mix)
            assert (complete, len(faces) > 0) == {"as_taken": (False, True), "faceless": (True, False)}.get(
                kind, (True, True)
            )


def test_scenes_are_pictures_without_a_face_and_backgrounds_of_faces() -> None:
    scene = np.full((60, 90, 3), (12, 200, 240), np.uint8)
    known = replace(photographs(), scenes=[scene], scene_share=1.0)
    shown = [make_composite(known, 64, np.random.default_rng(seed), CompositeConfig()) for seed in range(20)]
    assert all(complete and len(faces) == 0 for _, faces, complete in shown)
    assert sum(bool((image == scene[0, 0]).all()) for image, _, _ in shown) > 8, "the others are degraded"
    backgrounds = [random_background(known, 64, np.random.default_rng(seed)) for seed in range(100)]
    assert 25 < sum(bool((image == scene[0, 0]).all()) for image in backgrounds) < 55


def test_only_photographs_as_taken_may_show_unknown_faces() -> None:
    made = [make_composite(photographs(), 64, np.random.default_rng(seed), CompositeConfig()) for seed in range(200)]
    open_ones = [faces for _, faces, complete in made if not complete]
    assert 75 < len(open_ones) < 125
    assert all(len(faces) == 1 for faces in open_ones)


@pytest.mark.shared
def test_predictions_are_the_teachers_corrected_by_the_pasted_faces(yunet: Path) -> None:
    composites = DetectorDataset(photographs(), yunet, 64, seed=1)
    teacher, kinds = YuNetDense(yunet), set()
    for number in range(40):
        sample = composites[number]
        image, faces, complete = make_composite(
            photographs(), 64, np.random.default_rng((1, STREAM, number)), CompositeConfig()
        )
        whole = np.array_equal(image, sample.image.numpy())
        expected = apply_known_labels(teacher.predict(image), faces, complete)
        assert np.array_equal(sample.predictions.numpy(), expected.to_rows()) == whole
        kinds.add((len(faces) > 0, complete, whole))
    assert len(kinds) == 6


@pytest.mark.shared
def test_a_number_gives_the_same_picture_in_every_process(yunet: Path) -> None:
    composites = DetectorDataset(photographs(), yunet, 64, seed=1)
    first, later = composites.batches(4, 0, World()), composites.batches(4, 1, World())
    next(first)
    for a, b in zip(next(first), next(later), strict=True):
        assert torch.equal(a, b)
    halves = [next(composites.batches(4, 1, World(rank, 2))) for rank in (0, 1)]
    whole = next(composites.batches(4, 1, World()))
    assert torch.equal(torch.cat([half.image for half in halves])[[0, 2, 1, 3]], whole.image)
    assert not torch.equal(whole.image[0], whole.image[1])
