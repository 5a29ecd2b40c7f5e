"""The pool: faces, variations of them and a teacher's answers, the same for every recipe; and students from nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.progress import no_progress  # noqa: E402
from edgefr.training.common.recipes import DataConfig  # noqa: E402
from edgefr.training.recogniser.augmented_views import NOBODY  # noqa: E402
from edgefr.training.recogniser.face_variations import recolour, swap_part, variation  # noqa: E402
from edgefr.training.recogniser.teacher import Teacher  # noqa: E402
from edgefr.training.recogniser.teacher_pool import Pool, open_pool  # noqa: E402
from edgefr.training.recogniser.training_faces import TrainingFaces, read_training_faces  # noqa: E402
from tests.training import tiny  # noqa: E402

SIZE = 100


@pytest.fixture
def data(faces: Path) -> TrainingFaces:
    return read_training_faces(DataConfig(faces, limit=20))


@pytest.fixture
def teacher(nets: None, tmp_path: Path) -> Teacher:
    return Teacher(tiny.write_weights(tmp_path / "teacher.pt", 3), World())


def opened(data: TrainingFaces, teacher: Teacher, folder: Path, size: int = SIZE, progress=no_progress) -> Pool:
    return open_pool(data, size, teacher, folder, progress, World())


def test_the_faces_come_first_as_they_are_with_their_people(data, teacher, tmp_path) -> None:
    pool = opened(data, teacher, tmp_path)
    assert len(pool) == SIZE
    assert np.array_equal(pool.read(range(20)), data.read(range(20)))
    assert pool.labels[:20].tolist() == data.labels.tolist()
    assert pool.people == data.people


def test_a_variation_of_one_face_keeps_its_person_a_mixed_one_is_nobodys(data, teacher, tmp_path) -> None:
    labels = opened(data, teacher, tmp_path).labels
    known = labels[20:] != NOBODY
    assert 0.15 < known.mean() < 0.5  # a third in the mean
    assert np.array_equal(labels[20:][known], np.tile(data.labels, 4)[known])


def test_targets_are_the_teachers_embeddings_of_face_and_mirror_image(data, teacher, tmp_path) -> None:
    pool = opened(data, teacher, tmp_path)
    pictures = torch.from_numpy(pool.read([3, 77])).permute(0, 3, 1, 2) / 127.5 - 1
    straight, mirrored = (F.normalize(teacher.net(image).embedding) for image in (pictures, pictures.flip(3)))
    assert F.cosine_similarity(pool.targets[[3, 77]], straight + mirrored).min() > 0.999  # bf16's rounding


def test_a_pool_is_made_once_and_resumed_after_a_stop(data, teacher, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("edgefr.training.recogniser.feature_shards.SHARD_SIZE", 32)
    whole = opened(data, teacher, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        opened(data, teacher, tmp_path / "stopped", progress=tiny.stopping("Embedding with", 64))
    (index,) = (tmp_path / "stopped").glob("*/index.json")
    shard = index.with_name("00000.npy")
    before = shard.stat().st_mtime_ns
    again = opened(data, teacher, tmp_path / "stopped")
    assert shard.stat().st_mtime_ns == before
    assert np.array_equal(again.read(range(SIZE)), whole.read(range(SIZE)))
    assert torch.equal(again.targets, whole.targets)


def test_another_teacher_has_another_pool(data, teacher, tmp_path) -> None:
    other = Teacher(tiny.write_weights(tmp_path / "other.pt", 4), World())
    first, second = (opened(data, one, tmp_path / "pools") for one in (teacher, other))
    assert first.digest() != second.digest()
    assert np.array_equal(first.read([50]), second.read([50]))
    assert not torch.equal(first.targets, second.targets)


def test_a_pool_smaller_than_the_faces_is_refused(data, teacher, tmp_path) -> None:
    with pytest.raises(EdgefrError, match="expected pool to be at least 20, the number of faces, found 19"):
        opened(data, teacher, tmp_path, 19)


def test_a_swapped_part_is_the_other_faces_and_the_rest_is_not() -> None:
    face, other = np.zeros((112, 112, 3), np.uint8), np.full((112, 112, 3), 200, np.uint8)
    for seed in range(12):
        swapped = swap_part(face, other, np.random.default_rng(seed))
        assert swapped.max() > 190
        assert swapped.min() < 10


def test_other_light_keeps_what_is_brighter_brighter() -> None:
    grey = np.repeat(np.linspace(0, 255, 112).astype(np.uint8)[None, :, None], 112, 0).repeat(3, 2)
    looks = [recolour(grey, np.random.default_rng(seed)) for seed in range(20)]
    assert all((np.diff(look.astype(int), axis=1) >= 0).all() for look in looks)
    means = [look.mean() for look in looks]
    assert max(means) - min(means) > 40


def test_variations_differ_and_a_seed_settles_them() -> None:
    rng = np.random.default_rng(0)
    face, other = rng.integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
    made = [variation(face, other, np.random.default_rng(seed))[0].tobytes() for seed in (1, 2, 3, 1)]
    assert made[0] == made[3]
    assert len(set(made)) == 3


def test_a_pool_goes_to_a_worker_that_is_spawned(data, teacher, tmp_path) -> None:
    pool = opened(data, teacher, tmp_path)
    pool.read([0])  # what is mapped here stays here
    sent = pickle.dumps(pool.reader)
    assert len(sent) < 2000, "no pictures go"
    again = pickle.loads(pickle.dumps(pool))
    assert np.array_equal(again.read(range(SIZE)), pool.read(range(SIZE)))
