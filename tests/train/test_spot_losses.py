"""Which places learn a face, and that nothing is lost where all is right."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgefr.nn.spot import places  # noqa: E402
from edgefr.train.spot_losses import losses, overlaps, targets  # noqa: E402

GRID = places(192, 192)


def face(x: float, y: float, width: float, height: float, kind: float = 1.0) -> list[float]:
    """A row with its points in a cross around the box's centre."""
    cross = np.array([[-1, -1], [1, -1], [0, 0], [-1, 1], [1, 1]]) * (width / 4, height / 4)
    points = cross + np.array([x + width / 2, y + height / 2])
    return [x, y, width, height, *points.ravel().tolist(), kind]


EMPTY = [-1.0] * 15


def taught_by(*rows: list[float]) -> torch.Tensor:
    target = targets(torch.tensor([[*rows, EMPTY]]), GRID)
    return GRID[target.taught[0]]


@pytest.mark.parametrize("side", [8, 12, 20, 30, 45, 70, 90, 120, 190])
def test_a_face_of_any_size_anywhere_is_taught_near_its_centre(side: float) -> None:
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(0, 192 - side, (20, 2)):
        near = taught_by(face(x, y, side, side)).numpy()
        assert len(near) > 0
        reach = np.maximum(0.32 * side, near[:, 2] / 2)
        assert (np.abs(near[:, 0] - x - side / 2) <= reach).all()
        assert (np.abs(near[:, 1] - y - side / 2) <= reach).all()


def test_small_faces_are_the_fine_grids_and_large_ones_the_coarse_grids() -> None:
    assert set(taught_by(face(80, 80, 16, 16))[:, 2].tolist()) == {8}
    assert set(taught_by(face(60, 60, 60, 60))[:, 2].tolist()) == {16}
    assert set(taught_by(face(10, 10, 170, 170))[:, 2].tolist()) == {32}


def test_a_place_between_two_faces_learns_the_nearer() -> None:
    one, other = face(60, 60, 30, 30), face(72, 60, 30, 30)
    target = targets(torch.tensor([[one, other]]), GRID)
    fine = (GRID[:, 2] == 8) & target.taught[0]
    chosen = target.face[0, fine, 0]
    x = GRID[fine, 0]
    assert (chosen[x < 78] == 60).all()
    assert (chosen[x > 84] == 72).all()
    assert {60.0, 72.0} == set(chosen.tolist())


def test_doubtful_faces_are_neither_taught_nor_denied() -> None:
    target = targets(torch.tensor([[face(40, 40, 80, 80, kind=0.0), EMPTY]]), GRID)
    assert not target.taught.any()
    inside = ((GRID[:, :2] - 80).abs() <= 40).all(1)
    assert torch.equal(target.counted[0], ~inside)


def test_an_empty_picture_teaches_that_nothing_is_there() -> None:
    target = targets(torch.tensor([[EMPTY, EMPTY]]), GRID)
    assert not target.taught.any()
    assert target.counted.all()
    said = torch.zeros(1, len(GRID), 15)
    certain, wrong = (losses(said.index_fill(2, torch.tensor([14]), logit), target) for logit in (-9.0, 9.0))
    assert certain["score"] < 1e-3 < 1 < wrong["score"]
    assert certain["box"] == certain["points"] == 0


def test_nothing_is_lost_where_all_is_right_and_much_where_a_part_is_wrong() -> None:
    target = targets(torch.tensor([[face(30, 40, 50, 60), face(120, 100, 20, 24), EMPTY]]), GRID)
    right = torch.cat([target.face, torch.where(target.taught, 9.0, -9.0)[..., None]], 2)
    right[..., 2:4] = right[..., 2:4].abs()
    assert all(value < 1e-3 for value in losses(right, target).values())
    for part, places_of in (("box", [0]), ("points", [4]), ("score", [14])):
        wrong = right.clone()
        wrong[..., places_of] = wrong[..., places_of] * 1.5 + 10 if part != "score" else -wrong[..., places_of]
        lost = losses(wrong, target)
        assert lost[part] > 0.05
        if part != "box":  # of a wrong box the score knows, too
            assert sum(lost.values()) - lost[part] < 1e-3


def test_errors_count_as_parts_of_the_face() -> None:
    """Two pixels are little for a large face and much for a small one."""
    lost = []
    for side in (20, 120):
        target = targets(torch.tensor([[face(30, 30, side, side)]]), GRID)
        said = torch.cat([target.face + torch.tensor([0.0] * 4 + [2.0] * 10), torch.full((1, len(GRID), 1), 9.0)], 2)
        lost.append(float(losses(said, target)["points"]))
    assert lost[0] > 3 * lost[1]


def test_overlap_of_known_boxes() -> None:
    a = torch.tensor([[0.0, 0, 10, 10]] * 4)
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 10, 10], [20, 0, 10, 10], [2, 2, 6, 6]])
    share, apart = overlaps(a, b)
    assert share.tolist() == pytest.approx([1, 1 / 3, 0, 0.36])
    assert apart.tolist() == pytest.approx([0, 25 / 325, 400 / 1000, 0])
