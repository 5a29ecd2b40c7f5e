"""What composites teach lies where they say it does."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skimage")

from edgefr.spec import Floats  # noqa: E402
from edgefr.train.backgrounds import background, faceless_part, scrambled  # noqa: E402
from edgefr.train.composites import Composites, composite  # noqa: E402
from edgefr.train.laying import NOTHING, lay, seen  # noqa: E402
from edgefr.train.looks import moved  # noqa: E402
from edgefr.train.parallel import World  # noqa: E402
from edgefr.train.photographs import Photographs  # noqa: E402
from tests.train.photographs import COLOURS, SKIN, painted, photographs  # noqa: E402

SIDE = 160


def laid(seed: int, size: float = 60) -> tuple[np.ndarray, np.ndarray, Floats]:
    """A canvas with one face in its middle, who owns what on it, and the finds."""
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    owners = np.full((SIDE, SIDE), NOTHING, np.int16)
    finds = lay(photographs(), canvas, owners, 0, (SIDE / 2, SIDE / 2), size, np.random.default_rng(seed))
    return canvas, owners, finds


def names_of(canvas: np.ndarray, points: np.ndarray) -> list[int]:
    """The part whose colour is nearest to that at each point."""
    x, y = np.rint(points).astype(int).T
    return [int(np.abs(np.array(COLOURS) - colour.astype(int)).sum(1).argmin()) for colour in canvas[y, x]]


@pytest.mark.parametrize("size", [30, 60, 110])
def test_points_lie_on_the_parts_and_mirrored_faces_exchange_left_and_right(size: float) -> None:
    orders = []
    for seed in range(20):
        canvas, _, finds = laid(seed, size)
        points = finds[0, 4:14].reshape(5, 2)
        orders.append(tuple(names_of(canvas, points)))
        assert points[0, 0] < points[1, 0]  # "left" is the viewer's left
    assert set(orders) == {(0, 1, 2, 3, 4), (1, 0, 2, 4, 3)}


@pytest.mark.parametrize("size", [16, 40, 120])
def test_the_box_has_the_size_asked_for_and_lies_around_the_face(size: float) -> None:
    for seed in range(20):
        canvas, owners, finds = laid(seed, size)
        x, y, width, height = finds[0, :4]
        assert (x + width / 2, y + height / 2) == pytest.approx((SIDE / 2, SIDE / 2), abs=1)
        assert size * 0.98 < np.sqrt(width * height) < size * 1.2  # a turned ellipse needs a larger upright box
        skin = (np.abs(canvas.astype(int) - SKIN).sum(2) < 30) & (owners == 0)
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
        canvas, owners, finds = laid(seed, 24)
        red = np.clip(canvas[..., 0].astype(float) - canvas[..., 1:].max(2), 0, None) * (owners == 0)
        red[red < 30] = 0
        points = finds[0, 4:14].reshape(5, 2)
        rows, columns = np.mgrid[:SIDE, :SIDE]
        middle = np.array([(columns * red).sum(), (rows * red).sum()]) / red.sum()
        away.append(min(points[:2] - middle, key=lambda off: float(np.abs(off).sum())))
    assert np.abs(np.mean(away, 0)).max() < 0.15


def test_a_face_turned_by_a_right_angle_lies_on_its_side() -> None:
    _, finds = painted()
    turn = np.array([[0.0, -2, 500], [2, 0, 0]])  # x' = 500 - 2 y, y' = 2 x
    row = moved(finds, turn)[0]
    assert row[:4].tolist() == pytest.approx([500 - 2 * 180, 2 * 70, 240, 200])
    assert row[4:6].tolist() == pytest.approx([500 - 200, 190])


def test_what_is_covered_is_not_taught_and_what_is_hidden_is_not_denied() -> None:
    _, finds = painted()
    counts = {}
    for covered in (0.3, 0.6, 0.9):
        owners = np.zeros((250, 250), np.int16)
        owners[:, 70 : 70 + int(100 * covered)] = NOTHING
        counts[covered] = seen(finds, owners, 0)[:, 14].tolist()
    assert counts == {0.3: [1.0], 0.6: [0.0], 0.9: []}


def test_a_face_beyond_the_edge_counts_by_what_is_left_of_it() -> None:
    finds = painted()[1]
    owners = np.zeros((250, 250), np.int16)
    for shift, expected in ((0, [1.0]), (110, [1.0]), (140, [0.0]), (400, [])):
        away = moved(finds, np.array([[1.0, 0, shift], [0, 1, 0]]))
        assert seen(away, owners, 0)[:, 14].tolist() == expected


def test_a_find_the_teacher_doubts_is_not_taught() -> None:
    owners = np.zeros((250, 250), np.int16)
    assert seen(painted(0.4)[1], owners, 0)[:, 14].tolist() == [0.0]


def test_hard_faces_are_shown_more_often_than_their_size_would_have_it() -> None:
    picture, easy = painted(0.95)
    hard = easy.copy()
    hard[0, :4], hard[0, 14] = (10, 10, 20, 20), 0.7
    crowd = Photographs([picture], [np.concatenate([easy, hard])])
    shown = []
    for seed in range(200):
        canvas, owners = np.zeros((SIDE, SIDE, 3), np.uint8), np.full((SIDE, SIDE), NOTHING, np.int16)
        finds = lay(crowd, canvas, owners, 0, (SIDE / 2, SIDE / 2), 60, np.random.default_rng(seed))
        middles = finds[:, :2] + finds[:, 2:4] / 2
        shown.append(int(np.abs(middles - SIDE / 2).sum(1).argmin()))
    assert 40 < sum(shown) < 80


def test_backgrounds_show_no_face() -> None:
    """A painted face is the only thing with its skin's colour and its five marks."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        part = faceless_part(photographs(), 64, rng)
        assert (np.abs(part.astype(int) - SKIN).sum(2) < 30).mean() < 0.35
        assert sum((np.abs(part.astype(int) - colour).sum(2) < 60).any() for colour in COLOURS) <= 1


def test_scrambled_pictures_keep_their_colours_but_not_their_place() -> None:
    picture = scrambled(photographs(), 120, np.random.default_rng(1))
    assert picture.shape == (120, 120, 3)
    skin = np.abs(picture.astype(int) - SKIN).sum(2) < 30
    assert 0.05 < skin.mean() < 0.25
    x, y = (np.nonzero(skin)[axis] for axis in (1, 0))
    assert x.std() > 28  # a face in one piece has 18
    assert y.std() > 28


@pytest.mark.parametrize("side", [64, 192])
def test_backgrounds_fill_the_canvas(side: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        picture = background(photographs(), side, rng)
        assert picture.shape == (side, side, 3)
        assert picture.dtype == np.uint8


def test_composites_have_none_one_and_many_faces_of_all_sizes_within_reach() -> None:
    faces = [composite(photographs(), 192, np.random.default_rng(seed))[1] for seed in range(80)]
    counts = [int((rows[:, 14] == 1).sum()) for rows in faces]
    assert min(counts) == 0
    assert max(counts) > 8
    taught = np.concatenate(faces)
    taught = taught[taught[:, 14] == 1]
    sides = np.sqrt(taught[:, 2] * taught[:, 3])
    assert 8 <= sides.min() < 16
    assert sides.max() > 120


def test_the_same_number_is_the_same_composite_whoever_makes_it() -> None:
    composites = Composites(photographs(), 64, seed=1)
    first, later = composites.batches(4, 0, World()), composites.batches(4, 1, World())
    next(first)
    for a, b in zip(next(first), next(later), strict=True):
        assert torch.equal(a, b)
    halves = [next(composites.batches(4, 1, World(rank, 2))) for rank in (0, 1)]
    whole = next(composites.batches(4, 1, World()))
    assert torch.equal(torch.cat([half.image for half in halves])[[0, 2, 1, 3]], whole.image)
    assert not torch.equal(whole.image[0], whole.image[1])
