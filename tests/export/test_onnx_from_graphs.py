"""Recognisers that are only ONNX files are fused by training, and exported as one graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from edgefr.data.sample_faces import astronaut_faces  # noqa: E402
from edgefr.errors import EdgefrError, InvalidArgumentError, WrongModelError  # noqa: E402
from edgefr.export.native_from_published import native_from_published  # noqa: E402
from edgefr.export.onnx_from_checkpoint import onnx_from_checkpoint  # noqa: E402
from edgefr.io.toml_dataclass import read_toml  # noqa: E402
from edgefr.nn.fused_model import FusedModel, load_fused, save_fused  # noqa: E402
from edgefr.nn.graph_backbone import GraphBackbone  # noqa: E402
from edgefr.recognition.published.convention import Convention  # noqa: E402
from edgefr.recognition.published.feature_map import tapped_from_native  # noqa: E402
from edgefr.recognition.recogniser import open_recogniser  # noqa: E402
from edgefr.spec import FusionSpec, ModelSpec  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.progress import no_progress  # noqa: E402
from edgefr.training.common.recipes import FusionRecipe  # noqa: E402
from edgefr.training.recogniser.backbone_files import open_backbone  # noqa: E402
from edgefr.training.recogniser.fusion_training import train_fused  # noqa: E402
from edgefr.training.recogniser.teacher import Teacher  # noqa: E402
from tests.published_nets import save_net_with_map  # noqa: E402
from tests.training import tiny  # noqa: E402

FACES = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
SMALL = {"embedding_dim": 128, "readout": "mean", "skip": "embeddings", "heads": 2, "ffn": 16}
SPECS = {
    "transformers": FusionSpec(**SMALL),
    "without bottleneck": FusionSpec(**SMALL, vib=False),
    "global": FusionSpec(**SMALL, local_branch=False),
    "local": FusionSpec(**SMALL, global_branch=False),
    "mlp": FusionSpec(**SMALL, body="mlp"),
}


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adopted nets, with maps of 8x8x8 and 6x7x7."""
    folder = tmp_path_factory.mktemp("nets")
    paths = []
    for name, channels, stride in (("a", 8, 14), ("b", 6, 16)):
        published = save_net_with_map(folder / f"published-{name}.onnx", channels, stride, seed=channels)
        native_from_published(published, folder / f"{name}.onnx", None, Convention("rgb"))
        paths.append(folder / f"{name}.onnx")
    return paths


def fused(nets: list[Path], spec: FusionSpec) -> FusedModel:
    torch.manual_seed(0)
    a, b = map(open_backbone, nets)
    model = FusedModel(ModelSpec(a.arch, b.arch, fusion=spec), a, b).eval()
    for parameter in model.bottleneck.mu.parameters():  # zeros at first, so that the fused vector has no effect
        parameter.data.normal_(0, 0.01)
    return model


def test_a_backbone_gives_the_embedding_of_its_file(nets: list[Path]) -> None:
    for path, channels in zip(nets, (8, 6), strict=True):
        backbone = open_backbone(path)
        image = torch.from_numpy(FACES).permute(0, 3, 1, 2).float() / 127.5 - 1
        output = backbone(image)
        assert output.map.shape == (3, channels, 7, 7)
        expected = open_recogniser(path, "onnxruntime").embed(FACES).embedding
        np.testing.assert_allclose(output.embedding, expected, atol=1e-6)


@pytest.mark.parametrize("kind", SPECS)
def test_the_exported_graph_and_the_checkpoint_give_the_outputs_of_the_model(
    nets: list[Path], tmp_path: Path, kind: str
) -> None:
    model = fused(nets, SPECS[kind])
    checkpoint = tmp_path / "fused.safetensors"
    save_fused(model, checkpoint)
    onnx_from_checkpoint(checkpoint, tmp_path / "fused.onnx", astronaut_faces(2))
    with torch.no_grad():
        expected, loaded = model(torch.from_numpy(FACES)), load_fused(checkpoint)(torch.from_numpy(FACES))
    assert torch.equal(loaded.embedding, expected.embedding)
    found = open_recogniser(tmp_path / "fused.onnx", "onnxruntime").embed(FACES)
    np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-5)
    np.testing.assert_allclose(found.norm, expected.norm, rtol=1e-4)
    assert (found.uncertainty is None) == (expected.uncertainty is None)
    if expected.uncertainty is not None:
        np.testing.assert_allclose(found.uncertainty, expected.uncertainty, atol=1e-4)
    if kind == "mlp":  # it has no use for maps
        names = [node.output[0] for node in onnx.load(tmp_path / "fused.onnx").graph.node]
        assert not [name for name in names if "tap_" in name]


def test_a_graph_and_a_backbone_of_torch_go_together(nets: list[Path], tmp_path: Path) -> None:
    model = fused(nets, SPECS["transformers"])
    torch.manual_seed(1)
    mini = FusedModel.random(ModelSpec("mini", "mini")).backbone_b
    spec = FusionSpec(**SMALL | {"embedding_dim": 64 + mini.embedding_dim})
    mixed = FusedModel(ModelSpec("onnx", "mini", fusion=spec), model.backbone_a, mini).eval()
    save_fused(mixed, tmp_path / "mixed.safetensors")
    onnx_from_checkpoint(tmp_path / "mixed.safetensors", tmp_path / "mixed.onnx", astronaut_faces(2))
    with torch.no_grad():
        expected = mixed(torch.from_numpy(FACES))
    found = open_recogniser(tmp_path / "mixed.onnx", "onnxruntime").embed(FACES)
    np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-5)


def test_a_classic_graph_is_refused(nets: list[Path], tmp_path: Path) -> None:
    save_fused(fused(nets, SPECS["mlp"]), tmp_path / "fused.safetensors")
    with pytest.raises(InvalidArgumentError, match="backbones of torch for --classic, found one that is an ONNX graph"):
        onnx_from_checkpoint(tmp_path / "fused.safetensors", tmp_path / "f.onnx", astronaut_faces(2), classic=True)
    assert not (tmp_path / "f.onnx").exists()


def test_a_graph_that_is_damaged_or_absent_is_told(nets: list[Path], tmp_path: Path) -> None:
    with pytest.raises(WrongModelError, match="an ONNX graph of a backbone with its feature map, found one that"):
        GraphBackbone(torch.zeros(100, dtype=torch.uint8))
    recogniser = np.frombuffer(nets[0].read_bytes(), np.uint8).copy()
    with pytest.raises(WrongModelError, match="found the outputs embedding, norm"):
        GraphBackbone(torch.from_numpy(recogniser))
    model = fused(nets, SPECS["mlp"])
    del model.backbone_b._buffers["graph"]
    save_fused(model, tmp_path / "fused.safetensors")
    with pytest.raises(WrongModelError, match=r"the ONNX graph of a backbone in .*, found none"):
        load_fused(tmp_path / "fused.safetensors")


@pytest.mark.parametrize("maps", ["online", "cache"])
def test_a_recipe_trains_on_graphs_and_its_file_verifies(
    nets: list[Path], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, maps: str
) -> None:
    faces = tiny.write_faces(tmp_path / "faces.zip")
    recipe = tmp_path / "graphs.toml"
    recipe.write_text(f"""
name = "graphs"
runs = '{tmp_path / "runs"}'
[data]
faces = '{faces}'
[views]
maps = "{maps}"
blends = 0.2
[a]
checkpoint = '{nets[0]}'
loss = "arcface"
weight = 0.2
[b]
checkpoint = '{nets[1]}'
loss = "adaface"
weight = 0.8
tap = "convolved"
[fusion]
embedding_dim = 128
readout = "mean"
skip = "embeddings"
heads = 2
ffn = 16
[distill.schedule]
steps = 4
batch = 8
[vib]
anchor = 1.0
[vib.schedule]
steps = 2
batch = 8
""")
    checkpoint = train_fused(read_toml(FusionRecipe, recipe, ()), no_progress)
    exported = onnx_from_checkpoint(checkpoint, tmp_path / "fused.onnx", astronaut_faces(2))
    assert exported.cosine_min > 0.9999
    assert "Backbone a is a.onnx with the feature map net/map (8x8x8)." in exported.manifest.trained_on
    assert "Backbone b is b.onnx with the feature map net/convolved (6x7x7)." in exported.manifest.trained_on
    assert exported.manifest.threshold_for(0.001).value > 0
    assert set(exported.manifest.made_from) == {"backbone a", "backbone b", "faces", "checkpoint"}


def test_weights_are_the_shares_of_the_similarity_before_training(nets: list[Path]) -> None:
    model = fused(nets, FusionSpec(**SMALL, vib=False))
    torch.nn.init.zeros_(model.bottleneck.mu.weight)
    torch.nn.init.zeros_(model.bottleneck.mu.bias)
    model.bottleneck.weigh_embeddings(0.2, 0.8)
    with torch.no_grad():
        found = model(torch.from_numpy(FACES)).embedding.numpy()
    a, b = (open_recogniser(path, "onnxruntime").embed(FACES).embedding for path in nets)
    np.testing.assert_allclose(found @ found.T, 0.2 * a @ a.T + 0.8 * b @ b.T, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("a.arch=mini", "a backbone's arch to be absent for an .onnx file, found 'mini'"),
        ("a.finetune.steps=3", "a backbone's finetune to be absent for an .onnx file"),
        ("b.tap=map", "a backbone's tap to be absent for a checkpoint of torch, found 'map'"),
        ("fusion.tap=conv", 'fusion.tap to be "bn" for two .onnx files'),
        ("a.weight=0", "a backbone's weight to be above 0"),
        ("fusion.skip=none", 'a.weight and b.weight to be equal with fusion.skip = "none"'),
    ],
)
def test_settings_that_do_not_fit_are_refused(nets: list[Path], tmp_path: Path, setting: str, message: str) -> None:
    recipe = tiny.write_recipe(tmp_path, tmp_path / "faces.zip")
    settings = [f"a.checkpoint={nets[0]}", "a.weight=0.5", "distill.schedule.steps=2", setting]
    if setting == "fusion.tap=conv":
        settings.append(f"b.checkpoint={nets[1]}")
    recipe.write_text(recipe.read_text().replace('arch = "tiny"\n', ""))
    with pytest.raises(EdgefrError) as refusal:
        read_toml(FusionRecipe, recipe, settings)
    assert message in str(refusal.value)


def test_a_published_net_has_to_be_adopted(tmp_path: Path) -> None:
    with pytest.raises(WrongModelError, match=r"an adopted recogniser in .*edgefr adopt .*net.onnx --faces"):
        open_backbone(save_net_with_map(tmp_path / "net.onnx"))


def test_a_graph_teaches_as_a_backbone_does(nets: list[Path]) -> None:
    teacher = Teacher(nets[0], World())
    a, mirrored = (
        open_recogniser(nets[0], "onnxruntime").embed(faces).embedding for faces in (FACES, FACES[:, :, ::-1])
    )
    expected = (a + mirrored) / np.linalg.norm(a + mirrored, axis=1, keepdims=True)
    np.testing.assert_allclose(teacher(torch.from_numpy(FACES)), expected, atol=1e-5)
    assert teacher.dim == 64


def test_a_graph_with_another_input_or_map_is_refused(nets: list[Path]) -> None:
    graph, _ = tapped_from_native(nets[0])
    (resized,) = [node for node in graph.graph.node if node.output[0] == "map"]
    resized.op_type = "GlobalAveragePool"
    graph.graph.output[1].CopyFrom(onnx.helper.make_tensor_value_info("map", 1, ["batch", 8, 1, 1]))
    with pytest.raises(WrongModelError, match="found a map of the shape"):
        GraphBackbone(torch.frombuffer(bytearray(graph.SerializeToString()), dtype=torch.uint8))
    graph, _ = tapped_from_native(nets[0])
    graph.graph.input[0].name = "picture"
    for node in graph.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    with pytest.raises(WrongModelError, match="found the inputs"):
        GraphBackbone(torch.frombuffer(bytearray(graph.SerializeToString()), dtype=torch.uint8))
