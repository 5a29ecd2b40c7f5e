"""Batches from backbones and from kept feature maps say the same; a cache is made once, goes on and mends itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.nn.architectures import build_backbone  # noqa: E402
from edgefr.nn.fused_model import FusedModel  # noqa: E402
from edgefr.spec import FusionSpec, ModelSpec  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.progress import no_progress  # noqa: E402
from edgefr.training.common.recipes import AugmentationConfig, DataConfig, Schedule  # noqa: E402
from edgefr.training.recogniser.augmented_views import NOBODY, AugmentedDataset  # noqa: E402
from edgefr.training.recogniser.feature_source import CachedFeatures, FeatureBatch, OnlineFeatures  # noqa: E402
from edgefr.training.recogniser.training_faces import read_training_faces  # noqa: E402
from tests.training import tiny  # noqa: E402

SCHEDULE = Schedule(epochs=2, batch=16)


@pytest.fixture(autouse=True)
def _small_shards(nets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.training.recogniser.feature_shards.SHARD_SIZE", 12)


def model(seed: int = 0) -> FusedModel:
    torch.manual_seed(seed)
    spec = ModelSpec("tiny", "tiny", fusion=FusionSpec(body="mlp", embedding_dim=16, skip="embeddings"))
    return FusedModel(spec, build_backbone("tiny"), build_backbone("tiny")).train()


def online(
    faces: Path, views: AugmentationConfig, seed: int = 7, net: int = 0, with_targets: bool = True, progress=no_progress
) -> OnlineFeatures:
    data = read_training_faces(DataConfig(faces, limit=32))
    return OnlineFeatures(model(net), AugmentedDataset(data, views, seed), World(), with_targets, progress)


def taken(source: OnlineFeatures | CachedFeatures, first: int, count: int) -> list[FeatureBatch]:
    batches = source.batches(SCHEDULE, 3)(first)
    return [next(batches) for _ in range(count)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("store", "atol"), [("fp16", 1e-3), ("int8", 0.01)])
def test_cached_features_equal_online_features(faces, tmp_path, store: str, atol: float) -> None:
    views = AugmentationConfig(kind="mirrored", maps="cache", store=store)
    fresh = online(faces, views)
    cached = CachedFeatures(online(faces, views), tmp_path)
    for first, second in zip(taken(fresh, 2, 6), taken(cached, 2, 6), strict=True):
        assert torch.equal(first.labels, second.labels)
        torch.testing.assert_close(second.targets, first.targets)
        torch.testing.assert_close(second.features.embeddings, first.features.embeddings.float())
        for kept, map_ in zip(second.features[:2], first.features[:2], strict=True):
            largest = map_.float().abs().amax((2, 3), keepdim=True)
            assert ((kept - map_.float()).abs() <= atol * largest + 1e-6).all()


def test_a_resumed_run_gets_the_remaining_batches(faces, tmp_path) -> None:
    for source in (
        online(faces, AugmentationConfig(variants=2)),
        CachedFeatures(online(faces, AugmentationConfig(variants=2, maps="cache")), tmp_path),
    ):
        whole, rest = taken(source, 0, 7), taken(source, 3, 4)
        for first, second in zip(whole[3:], rest, strict=True):
            assert torch.equal(first.features.map_a, second.features.map_a)
            assert torch.equal(first.labels, second.labels)


def test_targets_are_the_embeddings_of_the_clean_face_and_its_mirror_image(faces) -> None:
    source = online(faces, AugmentationConfig(variants=2, blends=0.5))
    numbers = np.arange(40)
    (shown,) = source.dataset.loader(iter([numbers]))
    batch = source.forward(shown)
    assert torch.equal(batch.labels == NOBODY, shown.label == NOBODY)
    assert 5 < int((batch.labels == NOBODY).sum()) < 35
    halves = []
    with torch.no_grad():
        for backbone in (source.model.backbone_a, source.model.backbone_b):
            images = shown.clean.permute(0, 3, 1, 2).float() / 127.5 - 1
            unit = torch.nn.functional.normalize
            halves.append(unit(unit(backbone(images).embedding) + unit(backbone(images.flip(3)).embedding)))
    torch.testing.assert_close(batch.targets, torch.cat(halves, 1), atol=0.02, rtol=0)  # bf16


def test_without_targets_the_embeddings_of_the_augmented_images_stand_in(faces) -> None:
    (batch,) = taken(online(faces, AugmentationConfig(variants=2), with_targets=False), 0, 1)
    assert torch.equal(batch.targets, batch.features.embeddings.float())


def test_backbones_are_run_without_gradient(faces) -> None:
    (batch,) = taken(online(faces, AugmentationConfig(variants=2)), 0, 1)
    assert not any(value.requires_grad for value in (*batch.features, batch.targets))


def test_class_targets_are_the_means_over_the_faces_of_a_person(faces, tmp_path) -> None:
    views = AugmentationConfig(variants=2, blends=0.3)
    source = online(faces, views)
    labels = torch.from_numpy(source.dataset.faces.labels)
    people = source.dataset.faces.people
    means = source.class_targets(people)
    for person in range(people):
        torch.testing.assert_close(means[person], source.targets[labels == person].mean(0))
    cached = CachedFeatures(
        online(faces, AugmentationConfig(variants=2, maps="cache")), tmp_path
    )  # without blends: every face as often
    torch.testing.assert_close(cached.class_targets(people), means)


def test_a_resumed_cache_has_the_same_bytes(faces, tmp_path) -> None:
    views = AugmentationConfig(variants=2, blends=0.3, maps="cache")
    CachedFeatures(online(faces, views), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        CachedFeatures(online(faces, views, progress=tiny.stopping("Caching", 30)), tmp_path / "stopped")
    (folder,) = (tmp_path / "stopped").iterdir()
    made = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert len(made) == 2
    CachedFeatures(online(faces, views), tmp_path / "stopped")
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")
    assert all((folder / name).stat().st_mtime_ns == time for name, time in made.items()), "kept as they were"


def test_a_finished_cache_runs_no_backbone(faces, tmp_path) -> None:
    views = AugmentationConfig(variants=2, maps="cache")
    CachedFeatures(online(faces, views), tmp_path)
    titles: list[str] = []

    def noting(title: str, total: int):
        titles.append(title)
        return no_progress(title, total)

    source = CachedFeatures(online(faces, views, progress=noting), tmp_path)
    taken(source, 0, 4)
    assert titles == ["Checking feature maps"]


def test_a_damaged_shard_is_refused_and_made_again(faces, tmp_path) -> None:
    views = AugmentationConfig(variants=2, maps="cache")
    CachedFeatures(online(faces, views), tmp_path)
    whole = content(tmp_path)
    (shard,) = tmp_path.rglob("00002.npy")
    damaged = bytearray(shard.read_bytes())
    damaged[-100] ^= 1
    shard.write_bytes(bytes(damaged))
    with pytest.raises(EdgefrError, match=r"found others\. Run the same command again"):
        CachedFeatures(online(faces, views), tmp_path)
    CachedFeatures(online(faces, views), tmp_path)
    assert {name: value for name, value in content(tmp_path).items() if name.endswith("npy")} == {
        name: value for name, value in whole.items() if name.endswith("npy")
    }


def test_other_weights_augmentations_seeds_and_faces_have_their_own_cache(faces, tmp_path) -> None:
    views = AugmentationConfig(variants=1, maps="cache")
    limited = online(faces, views)
    limited.dataset = AugmentedDataset(read_training_faces(DataConfig(faces, limit=31)), views, 7)
    sources = [
        online(faces, views),
        online(faces, views, net=1),
        online(faces, AugmentationConfig(variants=1, maps="cache", clean=0.1)),
        online(faces, AugmentationConfig(variants=1, maps="cache", store="int8")),
        online(faces, views, seed=8),
        online(faces, views, with_targets=False),
        limited,
    ]
    for number, source in enumerate(sources, 1):
        CachedFeatures(source, tmp_path)
        assert len(list(tmp_path.iterdir())) == number
    CachedFeatures(online(faces, views), tmp_path)
    assert len(list(tmp_path.iterdir())) == len(sources)
