"""Views: the n-th is always alike, whoever renders it; epochs and processes share them without overlap."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.recipes import AugmentationConfig, DataConfig, Schedule  # noqa: E402
from edgefr.training.recogniser.augmented_views import (  # noqa: E402
    NOBODY,
    AugmentedBatch,
    AugmentedDataset,
    check_batch_size,
    shuffled_batches,
)
from edgefr.training.recogniser.training_faces import TrainingFaces, read_training_faces  # noqa: E402


@pytest.fixture(scope="module")
def data(faces: Path) -> TrainingFaces:
    return read_training_faces(DataConfig(faces, limit=40))


def alike(first: AugmentedBatch, second: AugmentedBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean difference in grey levels, mirrored or not."""
    a, b = a.float(), b.float()
    return min((a - b).abs().mean().item(), (a - b.flip(1)).abs().mean().item())


def test_a_number_gives_the_same_image_and_no_two_numbers_do(data: TrainingFaces) -> None:
    views, again = (AugmentedDataset(data, AugmentationConfig(variants=3, blends=0.3), seed=7) for _ in range(2))
    other = AugmentedDataset(data, AugmentationConfig(variants=3, blends=0.3), seed=8)
    shown = [views[number] for number in range(60)]
    assert all(alike(view, again[number]) for number, view in reversed(list(enumerate(shown))))
    assert not any(torch.equal(view.image, other[number].image) for number, view in enumerate(shown))
    assert not any(torch.equal(view.image, views[number + 120].image) for number, view in enumerate(shown)), "new epoch"
    assert len(views) == 120


WORKED = """
import sys, warnings
from hashlib import sha256
from pathlib import Path
import numpy as np
from edgefr.training.recogniser.training_faces import read_training_faces
from edgefr.training.common.recipes import AugmentationConfig, DataConfig
from edgefr.training.recogniser.augmented_views import AugmentedDataset

warnings.filterwarnings("ignore", "This DataLoader will create")  # where there is one core
data = read_training_faces(DataConfig(Path(sys.argv[1]), limit=40))
numbers = [np.array([3, 70, 8]), np.array([44, 5]), np.array([119, 200, 0]), np.array([6])]
views = AugmentedDataset(data, AugmentationConfig(variants=3, blends=0.5), 7, int(sys.argv[2]))
for shown in views.loader(iter(numbers)):
    print(len(shown.label), *(sha256(part.numpy().tobytes()).hexdigest() for part in shown))
"""


def test_loading_processes_do_not_change_the_images(faces: Path) -> None:
    """In a process of its own, as training is: a process that has run a thousand tests is no place to fork from."""
    told = [
        subprocess.run(
            [sys.executable, "-c", WORKED, str(faces), workers], check=True, capture_output=True, text=True
        ).stdout
        for workers in ("0", "2")
    ]
    assert [line[0] for line in told[0].splitlines()] == ["3", "2", "3", "1"]
    assert told[0] == told[1]


def test_a_batch_holds_the_images_of_its_numbers(data: TrainingFaces) -> None:
    views = AugmentedDataset(data, AugmentationConfig(variants=3, blends=0.5), 7)
    (batch,) = views.loader(iter([np.array([3, 70])]))
    assert batch.image.shape == batch.clean.shape == (2, 112, 112, 3)
    assert batch.image.dtype == torch.uint8
    assert alike(AugmentedBatch(*(column[1] for column in batch)), views[70])


def test_the_loader_draws_no_random_numbers_during_a_step(data: TrainingFaces) -> None:
    """A run that goes on makes its loader at another step than one that was never stopped."""
    batches = AugmentedDataset(data, AugmentationConfig(), 7).loader(iter([np.array([0]), np.array([1])]))
    state = torch.get_rng_state()
    list(batches)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_share_of_clean_images_is_kept(data: TrainingFaces) -> None:
    plain, mixed, poor = (
        AugmentedDataset(data, AugmentationConfig(variants=10, clean=clean), 7) for clean in (1.0, 0.4, 0.0)
    )
    same = [torch.equal(plain[number].image, mixed[number].image) for number in range(160)]
    assert 0.3 < np.mean(same) < 0.5
    assert not any(torch.equal(plain[number].image, poor[number].image) for number in range(40))
    for number in range(20):
        view = plain[number]
        assert distance(view.image, view.clean) < 25, "clean views are only warped a little"
        assert torch.equal(view.clean, torch.from_numpy(data.read([number])[0]))
        assert (view.face_index, view.label) == (number, data.labels[number])


def test_blends_have_no_label_and_are_their_own_target(data: TrainingFaces) -> None:
    views = AugmentedDataset(data, AugmentationConfig(variants=10, clean=1.0, blends=0.3), 7)
    shown = [views[number] for number in range(200)]
    blends = [(number, view) for number, view in enumerate(shown) if view.label == NOBODY]
    assert 0.2 < len(blends) / 200 < 0.4
    assert all((view.face_index == NOBODY) == (view.label == NOBODY) for view in shown)
    far = []
    for number, view in blends:
        assert distance(view.image, view.clean) < 25, "different faces are some 50 apart"
        far.append(distance(view.clean, torch.from_numpy(data.read([number % 40])[0])))
    assert np.mean(np.array(far) > 12) > 0.9, "mixed with another face"


def test_mirrored_augmentation_gives_each_face_and_its_mirror_image(data: TrainingFaces) -> None:
    views = AugmentedDataset(data, AugmentationConfig(kind="mirrored", blends=0.9), 7)
    assert len(views) == 80
    for place in (0, 17, 39):
        face = torch.from_numpy(data.read([place])[0])
        for number in (place, place + 80):
            assert alike(
                views[number], AugmentedBatch(face, face, torch.tensor(place), torch.tensor(data.labels[place]))
            )
        assert torch.equal(views[place + 40].image, face.flip(1))
        assert torch.equal(views[place + 40].clean, face)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(2, 9),
    accumulate=st.integers(1, 3),
    steps=st.integers(1, 5),
    over=st.integers(0, 30),
    size=st.integers(1, 3),
    start=st.integers(0, 40),
    fresh=st.booleans(),
)
def test_epochs_cover_all_images_once_and_processes_share_a_batch(
    batch: int, accumulate: int, steps: int, over: int, size: int, start: int, fresh: bool
) -> None:
    count = batch * accumulate * steps + over % (batch * accumulate)
    schedule = Schedule(epochs=2, batch=batch, accumulate=accumulate)
    a_epoch = schedule.steps_per_epoch(count) * accumulate

    def taken(world: World, first: int, until: int) -> list[list[int]]:
        order = shuffled_batches(count, schedule, 3, world, first, fresh)
        return [next(order).tolist() for _ in range(first, until)]

    whole = taken(World(), 0, 2 * a_epoch)
    for epoch in range(2):
        seen = sorted(chain(*whole[epoch * a_epoch : (epoch + 1) * a_epoch]))
        offset = epoch * count if fresh else 0
        assert len(seen) == len(set(seen)) == batch * a_epoch
        assert set(seen) <= set(range(offset, offset + count))
        if len(seen) == count:
            assert seen == list(range(offset, offset + count))
    assert taken(World(), start % (2 * a_epoch), 2 * a_epoch) == whole[start % (2 * a_epoch) :], "going on"
    parts = [taken(World(rank, size), 0, 2 * a_epoch) for rank in range(size)]
    for number, numbers in enumerate(whole):
        assert sorted(chain(*(part[number] for part in parts))) == sorted(numbers)


def test_every_epoch_has_its_own_order() -> None:
    order = shuffled_batches(30, Schedule(epochs=2, batch=30), 3, World(), 0, fresh=False)
    first, second = next(order).tolist(), next(order).tolist()
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.parametrize(
    ("count", "batch", "size", "found"),
    [(15, 16, 1, "expected at least 16 views"), (64, 15, 2, "2 processes can share evenly, found 15")],
)
def test_a_batch_that_cannot_be_made_is_refused(count: int, batch: int, size: int, found: str) -> None:
    with pytest.raises(EdgefrError, match=found):
        check_batch_size(count, Schedule(steps=1, batch=batch), World(0, size))
    check_batch_size(64, Schedule(steps=1, batch=16), World(0, size))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_reported_without_a_traceback(faces: Path, tmp_path: Path, workers: int) -> None:
    with zipfile.ZipFile(faces) as source, zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name in source.namelist()[:4]:
            archive.writestr(name, source.read(name)[: 60 if "/1" in name else None])
    views = AugmentedDataset(read_training_faces(DataConfig(tmp_path / "bad.zip")), AugmentationConfig(), 7, workers)
    with pytest.raises(EdgefrError) as refused:
        list(views.loader(iter([np.array([0]), np.array([1])])))
    told = str(refused.value)
    assert told.startswith("expected a whole picture in")
    assert "p000/1.png" in told
    assert "Traceback" not in told
    assert "\n" not in told
