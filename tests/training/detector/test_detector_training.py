"""Training of a detector: it learns, resumes after a stop, and its manifest names what it was made from."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skimage")

from edgefr.detection.base import Detections  # noqa: E402
from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.io.files import sha256_of  # noqa: E402
from edgefr.io.toml_dataclass import read_toml  # noqa: E402
from edgefr.manifest import read_manifest  # noqa: E402
from edgefr.nn.spot_network import Spot  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.progress import no_progress  # noqa: E402
from edgefr.training.common.recipes import DataConfig, Schedule  # noqa: E402
from edgefr.training.detector.detector_dataset import DetectorDataset  # noqa: E402
from edgefr.training.detector.detector_training import (  # noqa: E402
    DetectorRecipe,
    make_losses,
    recalibrate_batchnorm,
    train_detector,
)
from edgefr.training.detector.labelled_photographs import LabelledPhotographs  # noqa: E402
from tests.training import tiny  # noqa: E402
from tests.training.photographs import photographs  # noqa: E402

Make = Callable[..., DetectorRecipe]


@pytest.fixture(autouse=True)
def few_statistics_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.training.detector.detector_training.STATISTICS_BATCHES", 6)


@pytest.fixture
def make(shared: Path, yunet: Path, tmp_path: Path) -> Make:
    """`make("seed=3")`: a recipe for three steps on four photographs."""
    with (
        zipfile.ZipFile(shared / "lfw-deepfunneled.zip") as archive,
        zipfile.ZipFile(tmp_path / "few.zip", "w") as copy,
    ):
        for name in archive.namelist()[:4]:
            copy.writestr(name, archive.read(name))
    path = tmp_path / "spot.toml"
    path.write_text(f"""
name = "spot"
runs = '{tmp_path / "runs"}'
teacher = '{yunet}'
side = 64
[data]
faces = '{tmp_path / "few.zip"}'
[schedule]
steps = 3
batch = 2
lr = 1e-3
ema = 0.5
""")
    return lambda *settings: read_toml(DetectorRecipe, path, settings)


@pytest.mark.shared
def test_every_loss_falls_on_a_repeated_batch(yunet: Path) -> None:
    from skimage import data

    torch.manual_seed(0)
    face = np.array([[72, 44, 72, 100, 92, 82, 126, 82, 110, 104, 94, 120, 124, 120, 0.9]], np.float32)
    picture = np.ascontiguousarray(data.astronaut()[20:220, 110:330])
    astronaut = LabelledPhotographs([picture], [Detections.from_rows(face)])
    batch = next(DetectorDataset(astronaut, yunet, 96, seed=2).batches(8, 0, World()))
    net = Spot()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    compute = make_losses(net, World())
    first = {name: float(value.detach()) for name, value in compute(batch).items()}
    for _ in range(15):
        optimizer.zero_grad()
        torch.stack(list(compute(batch).values())).sum().backward()
        optimizer.step()
    for name, value in compute(batch).items():
        assert float(value.detach()) < 0.75 * first[name], name


@pytest.mark.shared
def test_recalibrated_statistics_do_not_depend_on_the_old_ones(yunet: Path) -> None:
    """A network with wrong statistics gives the same output afterwards as one with right ones."""
    torch.manual_seed(0)
    net, spoilt = Spot(), Spot()
    spoilt.load_state_dict(net.state_dict())
    for name, buffer in spoilt.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(30.0)
    for each in (net, spoilt):
        batches = DetectorDataset(photographs(), yunet, 64, seed=2).batches(4, 0, World())
        images = (batch.image.permute(0, 3, 1, 2).float() for batch in islice(batches, 6))
        recalibrate_batchnorm(each, images, World())
        each.eval()
    batch = next(DetectorDataset(photographs(), yunet, 64, seed=3).batches(4, 0, World()))
    pixels = batch.image.permute(0, 3, 1, 2).float()
    with torch.no_grad():
        assert torch.equal(net(pixels), spoilt(pixels))
        settled, fresh = float(net(pixels).std()), float(net.train()(pixels).std())
    assert settled == pytest.approx(fresh, rel=0.3)


@pytest.mark.shared
def test_the_checkpoint_is_a_detector_with_a_manifest(make: Make) -> None:
    recipe = make()
    result = train_detector(recipe, no_progress, World())
    from safetensors.torch import load_file

    Spot().load_state_dict(load_file(result), strict=True)
    manifest = read_manifest(result)
    assert manifest is not None
    assert manifest.kind == "detector"
    assert manifest.made_from["teacher"]["sha256"] == sha256_of(recipe.teacher)
    assert "6 composites of 4 photographs of" in manifest.trained_on


@pytest.mark.shared
def test_scenes_are_a_part_of_the_training_and_of_its_key(make: Make, tmp_path: Path) -> None:
    def trained(colour: int) -> bytes:
        (tmp_path / "scenes" / "any").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "scenes" / "any" / f"{colour}.png"), np.full((80, 80, 3), colour, np.uint8))
        recipe = make(f"scenes={{pictures='{tmp_path / 'scenes'}', share=1.0}}")
        result = train_detector(recipe, no_progress, World())
        manifest = read_manifest(result)
        assert manifest is not None
        assert "scenes without a face in scenes" in manifest.trained_on
        return result.read_bytes()

    assert trained(10) != trained(200), "the first run's state is not resumed with other scenes"


@pytest.mark.shared
def test_a_second_training_starts_from_the_weights_of_the_first(make: Make) -> None:
    from safetensors.torch import load_file

    first = train_detector(make("name=first"), no_progress, World())
    second = train_detector(make("name=second", f"begin={first}", "schedule.lr=1e-9"), no_progress, World())
    anew = train_detector(make("name=anew", "seed=5"), no_progress, World())
    weights = {path: load_file(path)["heads.0.1.weight"] for path in (first, second, anew)}
    assert torch.allclose(weights[second], weights[first], atol=1e-6)
    assert not torch.allclose(weights[anew], weights[first], atol=1e-3)
    manifest = read_manifest(second)
    assert manifest is not None
    assert manifest.made_from["begin"]["sha256"] == sha256_of(first)
    with pytest.raises(EdgefrError, match="expected the checkpoint of a detector in"):
        train_detector(make(f"begin={first.parent / 'log.jsonl'}"), no_progress, World())
    with pytest.raises(EdgefrError, match=r"found no file\. Train it first"):
        train_detector(make(f"begin={first.parent / 'none.safetensors'}"), no_progress, World())


@pytest.mark.shared
def test_a_training_starts_from_a_graph_and_shows_that_it_measures_statistics(make: Make, yunet: Path) -> None:
    pytest.importorskip("onnxscript")
    from edgefr.export.onnx_from_detector import onnx_from_spot
    from edgefr.nn.spot_network import load_spot

    first = train_detector(make("name=first", "side=128", "schedule.batch=8"), no_progress, World())
    graph = onnx_from_spot(first, first.with_suffix(".onnx")).path
    recipe = make("name=second", f"begin={graph}", "schedule.lr=1e-9", "side=128", "schedule.batch=8")
    titles: list[str] = []

    def record(title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        titles.append(title)
        return no_progress(title, total)

    second = train_detector(recipe, record, World())
    measuring = "Measuring BatchNorm statistics"
    assert titles.count(measuring) == 2
    assert titles.index(measuring) < titles.index("Spotting")
    pictures = next(DetectorDataset(photographs(), yunet, 128, seed=3).batches(4, 0, World())).image
    pixels = pictures.permute(0, 3, 1, 2).float()
    anew = train_detector(make("name=anew", "seed=5"), no_progress, World())
    before, after, other = (
        load_spot(path).eval()(pixels)[..., :14].flatten().detach() for path in (first, second, anew)
    )
    alike, unlike = torch.corrcoef(torch.stack([before, after, other]))[0, 1:]
    assert alike > 0.95  # its statistics are of other batches
    assert unlike < 0.5
    manifest = read_manifest(second)
    assert manifest is not None
    assert manifest.made_from["begin"]["sha256"] == sha256_of(graph)


@pytest.mark.shared
def test_weights_trained_on_the_people_held_out_are_refused(make: Make, shared: Path) -> None:
    held_out = (f"data.pairs={shared / 'lfw-pairs.txt'}", "data.test_folds=[6]")
    everybody = train_detector(make("name=everybody"), no_progress, World())
    with pytest.raises(EdgefrError, match="trained on those of folds 6"):
        train_detector(make("name=second", f"begin={everybody}", *held_out), no_progress, World())
    others = train_detector(make("name=others", *held_out), no_progress, World())
    second = read_manifest(train_detector(make("name=second", f"begin={others}", *held_out), no_progress, World()))
    assert second is not None
    assert second.held_out is not None
    assert second.held_out.folds == (6,)
    (others.parent / "unknown.safetensors").write_bytes(others.read_bytes())  # without a manifest
    unknown = f"begin={others.parent / 'unknown.safetensors'}"
    third = read_manifest(train_detector(make("name=third", unknown, *held_out), no_progress, World()))
    assert third is not None
    assert third.held_out is None


@pytest.mark.shared
def test_a_missing_teacher_is_reported(make: Make, tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match=r"expected YuNet as teacher at .*found no file"):
        train_detector(make(f"teacher={tmp_path / 'none.onnx'}"), no_progress, World())


@pytest.mark.shared
def test_a_resumed_run_gives_the_same_checkpoint(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.training.common.loop.SAVE_SECONDS", 0.0)
    recipe = make()
    whole = train_detector(recipe, no_progress, World()).read_bytes()
    again = make(f"runs={recipe.runs.parent / 'again'}")
    with pytest.raises(KeyboardInterrupt):
        train_detector(again, tiny.stopping("Spotting", 4), World())
    assert train_detector(again, no_progress, World()).read_bytes() == whole


@pytest.mark.shared
@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("mix.turned=1.5", "mix.turned to be 0 to 1"),
        ("mix.as_taken=0.9", "at most 1 together"),
        ("scenes={pictures='few.zip', share=1.1}", "scenes.share to be 0 to 1"),
        ("side=100", "a multiple of 32"),
        ("side=32", "from 64"),
        ("schedule={epochs=3}", "schedule.steps"),
    ],
)
def test_invalid_settings_are_refused(make: Make, setting: str, found: str) -> None:
    with pytest.raises(EdgefrError, match=found):
        make(setting)


@pytest.mark.parametrize(
    ("name", "seed", "found"), [("spot", -1, "seed to be 0 to"), ("../../x", 0, "name to be the name of a folder")]
)
def test_an_invalid_name_or_seed_is_refused(name: str, seed: int, found: str) -> None:
    with pytest.raises(EdgefrError, match=found):
        DetectorRecipe(name, DataConfig(Path("few.zip")), Path("yunet.onnx"), Schedule(steps=3), seed=seed)
