"""Upstream's .bin protocol: the accuracies of a from-scratch rendering of its script, from file to figure."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.data.collections import open_faces
from edgefr.data.lfw_pairs import read_pairs
from edgefr.data.verification_bin import open_bin
from edgefr.errors import EdgefrError
from edgefr.evaluation.bin_protocol import kfold
from edgefr.evaluation.error_rates import tar_at_far
from edgefr.evaluation.model_set import open_models
from edgefr.evaluation.protocols import Trial
from edgefr.evaluation.trials import bin_trial
from edgefr.runtimes.fake import FakeBackend

Split = list[tuple[np.ndarray, np.ndarray]]


def raw_pairs(count: int, seed: int, width: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of any length, float32, whose genuine pairs are closer but not by much; runs of each as in lfw.bin."""
    rng = np.random.default_rng(seed)
    same = np.arange(count) % 20 < 10
    first = rng.normal(size=(count, width))
    second = np.where(same[:, None], first, 0) + 1.2 * rng.normal(size=(count, width))
    lengths = rng.uniform(1, 30, (count, 2, 1))
    return (first * lengths[:, 0]).astype(np.float32), (second * lengths[:, 1]).astype(np.float32), same


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(first, second, strict=True)])


def own_folds(count: int) -> Split:
    """Ten runs of indices, the first ones longer by one: as scikit-learn's KFold says of itself."""
    sizes = [count // 10 + (fold < count % 10) for fold in range(10)]
    tests = [np.arange(sum(sizes[:fold]), sum(sizes[: fold + 1])) for fold in range(10)]
    return [(np.setdiff1d(np.arange(count), test), test) for test in tests]


def reference(first: np.ndarray, second: np.ndarray, same: np.ndarray, split: Split) -> tuple[list[float], list[float]]:
    """Slowly, threshold by threshold, as insightface's `calculate_roc`: accuracy and threshold of every fold."""
    normed = [
        np.array([row / np.sqrt(sum(float(x) ** 2 for x in row)) for row in side.astype(float)])
        for side in (first, second)
    ]
    distance = np.sum(np.square(np.subtract(*normed)), 1)
    thresholds = np.arange(0, 4, 0.01)

    def accuracy(threshold: float, of: np.ndarray) -> float:
        predicted = np.less(distance[of], threshold)
        right = np.sum(predicted & same[of]) + np.sum(~predicted & ~same[of])
        return float(right) / len(of)

    accuracies, chosen = [], []
    for train, test in split:
        best = int(np.argmax([accuracy(threshold, train) for threshold in thresholds]))
        chosen.append(float(thresholds[best]))
        accuracies.append(accuracy(thresholds[best], test))
    return accuracies, chosen


@pytest.mark.parametrize(("count", "seed"), [(10, 0), (57, 1), (400, 2), (603, 3)])
def test_accuracies_are_those_of_upstreams_script(count: int, seed: int) -> None:
    first, second, same = raw_pairs(count, seed)
    found = kfold(first, second, same)
    accuracies, chosen = reference(first, second, same, own_folds(count))
    right = [found.accuracy.right[test].mean() for _, test in own_folds(count)]
    assert right == accuracies
    assert found.threshold.tolist() == chosen
    assert found.accuracy.estimate.value == pytest.approx(float(np.mean(accuracies)), abs=1e-12)
    assert found.accuracy.fold_std == pytest.approx(float(np.std(accuracies)), abs=1e-12)
    assert count < 100 or 0.6 < found.accuracy.estimate.value < 0.99  # a test that could come out otherwise


def test_folds_and_normalised_rows_are_those_of_scikit_learn() -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    first, second, same = raw_pairs(333, 7)
    split = list(model_selection.KFold(n_splits=10, shuffle=False).split(np.arange(333)))
    normed = [preprocessing.normalize(side.astype(float)) for side in (first, second)]
    accuracies, chosen = reference(*normed, same, split)
    found = kfold(first, second, same)
    assert [found.accuracy.right[test].mean() for _, test in split] == accuracies
    assert found.threshold.tolist() == chosen


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 30, 30, 60, 90, 180]), st.booleans()), min_size=10, max_size=25))
def test_ties_are_broken_as_upstream_breaks_them(pairs: list[tuple[int, bool]]) -> None:
    """Few distances, so that many thresholds are equally good; all pairs may be of one kind."""
    angle = np.radians([pair[0] for pair in pairs])
    first = np.tile(np.float32([2, 0]), (len(pairs), 1))
    second = np.stack([3 * np.cos(angle), 3 * np.sin(angle)], axis=1).astype(np.float32)
    same = np.array([pair[1] for pair in pairs])
    found = kfold(first, second, same)
    accuracies, chosen = reference(first, second, same, own_folds(len(pairs)))
    assert [found.accuracy.right[test].mean() for _, test in own_folds(len(pairs))] == accuracies
    assert found.threshold.tolist() == chosen


def test_comparisons_have_the_cosines_and_a_person_for_each_pair() -> None:
    first, second, same = raw_pairs(400, 5)
    found = kfold(first, second, same)
    cosine = cosines(first, second)
    assert np.allclose(found.comparisons.similarity, cosine, atol=1e-6)
    assert (found.comparisons.people == np.arange(400)[:, None]).all()
    # A bootstrap over pairs: the interval is about that of 400 independent decisions.
    low, high = found.accuracy.estimate.ci95
    share = found.accuracy.estimate.value
    assert low < share < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 400), rel=0.25)
    row = tar_at_far(found.comparisons, 0.2)
    assert np.mean(found.comparisons.similarity[~same] >= row.threshold) <= 0.2
    assert row.tar.value == np.mean(found.comparisons.similarity[same] >= row.threshold)


def test_an_embedding_of_zeros_has_the_distance_that_scikit_learn_gives() -> None:
    """Zeros stay zeros when normalised: a squared distance of 1 from everything else, of 0 from each other."""
    zeros = np.zeros((20, 4), np.float32)
    ones = np.ones((20, 4), np.float32)
    assert kfold(zeros, ones, np.ones(20, bool)).comparisons.similarity.tolist() == [0.5] * 20
    assert kfold(zeros, zeros, np.ones(20, bool)).comparisons.similarity.tolist() == [1] * 20


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(EdgefrError, match=r"at least 10 pairs.*found 9"):
        kfold(*raw_pairs(9, 0))


def face(seed: int, person: int) -> np.ndarray:
    """(112, 112, 3) uint8 RGB: a coarse pattern of the person, not symmetric, with noise of the picture's own."""
    pattern = np.random.default_rng(person).integers(0, 200, (7, 7, 3)).astype(np.uint8)
    coarse = cv2.resize(pattern, (112, 112), interpolation=cv2.INTER_NEAREST)
    return coarse + np.random.default_rng(seed).integers(0, 55, coarse.shape).astype(np.uint8)


def trial_of(path: Path, model: Path = Path("fake"), told: list[int] | None = None) -> Trial:
    return bin_trial(path.name, open_bin(path), open_models(model), (told if told is not None else []).append)


@pytest.mark.parametrize("batch", [5, 64])
def test_both_flips_are_added_before_they_are_normalised(tmp_path: Path, monkeypatch, batch: int) -> None:
    monkeypatch.setattr("edgefr.evaluation.trials.BATCH", batch)
    people = [(pair, pair if pair % 2 else pair + 100) for pair in range(12)]
    faces = [face(2 * pair + side, person) for pair, both in enumerate(people) for side, person in enumerate(both)]
    pictures = [cv2.imencode(".png", picture[..., ::-1])[1].tobytes() for picture in faces]
    same = [one == two for one, two in people]
    path = tmp_path / "faces.bin"
    path.write_bytes(pickle.dumps((pictures, same)))
    told: list[int] = []
    trial = trial_of(path, told=told)
    found = trial.comparisons["fake"]
    assert (sum(told), trial.pictures, trial.units) == (24, 24, "pairs")

    def raw(picture: np.ndarray) -> np.ndarray:
        answer = FakeBackend().infer({"image": picture[None]})
        return answer["embedding"][0] * answer["norm"][0]

    summed = np.array([raw(picture) + raw(np.fliplr(picture).copy()) for picture in faces])
    cosine = cosines(summed[::2], summed[1::2])
    assert np.allclose(found.similarity, cosine, atol=1e-5)
    assert found.same.tolist() == same
    wanted = kfold(summed[::2], summed[1::2], np.array(same)).accuracy
    assert trial.accuracy["fake"].estimate == wanted.estimate
    assert (trial.accuracy["fake"].right == wanted.right).all()
    assert min(cosine[same]) > max(cosine[np.logical_not(same)])
    assert wanted.estimate.value == 1
    once = np.array([raw(picture) for picture in faces])
    assert not np.allclose(summed, 2 * once, rtol=0.05)  # these faces are not symmetric


def test_the_flip_test_depends_neither_on_the_batch_nor_on_the_order_of_flips() -> None:
    faces = np.stack([face(seed, seed) for seed in range(5)])
    models = open_models(Path("fake"))
    (whole,), (mirrored,) = models.embed_both_flips(faces), models.embed_both_flips(faces[:, :, ::-1])
    parts = np.concatenate([models.embed_both_flips(faces[at : at + 2])[0].raw for at in (0, 2, 4)])
    assert np.allclose(whole.raw, parts, rtol=1e-5, atol=1e-5)
    assert np.allclose(whole.raw, mirrored.raw, rtol=1e-5, atol=1e-5)


def test_a_damaged_record_is_reported_by_number(tmp_path: Path) -> None:
    picture = cv2.imencode(".png", face(0, 0))[1].tobytes()
    path = tmp_path / "faces.bin"
    path.write_bytes(pickle.dumps(([picture] * 21 + [picture[:-500]] + [picture] * 2, [True, False] * 6)))
    with pytest.raises(EdgefrError, match="record 21"):
        trial_of(path)


@pytest.mark.shared
def test_real_faces_packed_as_upstream_packs_them_are_told_apart(
    shared: Path, fused_checkpoint: Path, tmp_path: Path
) -> None:
    faces = open_faces(shared / "lfw-aligned-112.zip")
    first_fold = read_pairs(shared / "lfw-pairs.txt")[:600]
    chosen = first_fold[:10] + first_fold[300:310]
    pictures = [faces.read_bytes(name) for pair in chosen for name in (pair.first, pair.second)]
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps((pictures, [pair.same for pair in chosen])))
    found = trial_of(path, fused_checkpoint).comparisons[fused_checkpoint.name]
    similarity, same = found.similarity, found.same
    assert similarity[same].min() > similarity[~same].max()
