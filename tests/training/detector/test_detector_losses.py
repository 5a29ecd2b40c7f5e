"""Nothing is lost by answering like the teacher, and what matters most costs most."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from edgefr.training.detector.detector_losses import detector_losses  # noqa: E402


def taught(*scores: float, side: float = 40.0) -> Tensor:
    """A teacher's answers (1, P, 15): the same face at each place, with these scores."""
    x, y = 30.0, 50.0
    cross = [x + 10, y + 12, x + 30, y + 12, x + 20, y + 20, x + 12, y + 30, x + 28, y + 30]
    return torch.tensor([[[x, y, side, side, *cross, score] for score in scores]])


def alike(answers: Tensor) -> Tensor:
    """What a detector says that has learned them: its scores are logits."""
    return torch.cat([answers[..., :14], answers[..., 14:].logit(1e-6)], 2)


def test_the_losses_of_equal_predictions_are_zero() -> None:
    answers = taught(0.0, 0.01, 0.3, 0.9)
    assert all(
        float(value) == pytest.approx(0, abs=1e-4) for value in detector_losses(alike(answers), answers).values()
    )


@pytest.mark.parametrize(("part", "place"), [("score", 14), ("box", 0), ("box", 3), ("points", 4), ("points", 13)])
def test_each_loss_depends_on_its_own_error(part: str, place: int) -> None:
    answers = taught(0.0, 0.9, 0.8)
    said = alike(answers)
    said[..., place] += 2.0
    lost = {name: float(value) for name, value in detector_losses(said, answers).items()}
    assert lost.pop(part) > 0.01
    assert all(value == pytest.approx(0, abs=1e-4) for value in lost.values())


def test_where_a_face_lies_matters_only_where_the_teacher_is_sure_of_it() -> None:
    answers = taught(0.05, 0.9)
    said = alike(answers)
    said[0, 0, :14] += 20
    assert detector_losses(said, answers)["points"] == detector_losses(said, answers)["box"] == 0
    said[0, 1, :14] += 20
    assert detector_losses(said, answers)["points"] > 1


def test_errors_count_as_parts_of_the_face() -> None:
    """Two pixels are little for a large face and much for a small one."""
    lost = []
    for side in (20.0, 160.0):
        said = alike(taught(0.9, side=side))
        said[..., 4:14] += 2
        lost.append(float(detector_losses(said, taught(0.9, side=side))["points"]))
    assert lost[0] > 4 * lost[1]


def test_an_empty_picture_trains_only_the_score() -> None:
    answers = taught(0.0, 0.0)
    for sure, wrong in ((-9.0, False), (9.0, True)):
        said = alike(answers)
        said[..., 14] = sure
        lost = detector_losses(said, answers)
        assert (float(lost["score"]) > 1) is wrong
        assert lost["box"] == lost["points"] == 0
