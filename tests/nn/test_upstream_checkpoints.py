"""Checkpoints of other projects: wrappings, colour order, damage, and hostile pickles."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from edgefr.errors import EdgefrError, WrongModelError  # noqa: E402
from edgefr.nn.architectures import build_backbone  # noqa: E402
from edgefr.nn.upstream_checkpoints import backbone_from_checkpoint  # noqa: E402


@pytest.fixture(scope="module")
def ir18() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_backbone("ir_18").state_dict()


@pytest.fixture(scope="module")
def mobilefacenet() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_backbone("mobilefacenet").state_dict()


def under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


def first_conv(path: Path) -> torch.Tensor:
    backbone = backbone_from_checkpoint(path)
    return backbone.get_parameter(backbone.first_conv)


def test_adaface_lightning_files_are_bgr_and_lose_their_head(ir18, tmp_path: Path) -> None:
    path = tmp_path / "adaface.ckpt"
    state = under("model.", ir18) | {"head.kernel": torch.zeros(512, 10), "head.t": torch.zeros(1)}
    # What a Lightning file holds beside the weights, which weights_only=True refuses.
    bystanders = {
        "hyper_parameters": argparse.Namespace(lr=0.1, data=Path("faces")),
        "lr_schedulers": [{"milestones": Counter([12, 20]), "last": numpy.float64(0.1), "seen": {1, 2}}],
        "callbacks": {"best": complex(1), "by": defaultdict(list)},
        "epoch": 3,
    }
    torch.save({"state_dict": state, **bystanders}, path)
    assert torch.equal(first_conv(path), ir18["input_layer.0.weight"].flip(1))


@pytest.mark.parametrize(
    ("yaml", "flipped"), [("color_space: 'BGR'\n", True), ("color_space: RGB\n", False), (None, False)]
)
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_cvlface_files_follow_their_yaml(ir18, yaml: str | None, flipped: bool, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".pt"):
        torch.save(under("net.", ir18), path)
    else:
        save_file(under("model.net.", ir18), path)
    if yaml is not None:
        (tmp_path / "model.yaml").write_text("name: ir18\n" + yaml)
    wanted = ir18["input_layer.0.weight"]
    assert torch.equal(first_conv(path), wanted.flip(1) if flipped else wanted)


def test_the_colour_can_be_given(mobilefacenet, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(mobilefacenet, path)
    given = backbone_from_checkpoint(path, colour="bgr").get_parameter("conv1.0.weight")
    assert torch.equal(given, mobilefacenet["conv1.0.weight"].flip(1))


def test_resume_files_and_old_files_without_counters_load(mobilefacenet, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_gpu_0.pt"
    old = {key: value for key, value in mobilefacenet.items() if not key.endswith("num_batches_tracked")}
    torch.save({"epoch": 1, "state_dict_backbone": old, "state_optimizer": {}}, path)
    assert backbone_from_checkpoint(path).arch == "mobilefacenet"


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module.", "model.", "model.module.", "backbone."],
)
def test_prefixes_of_wrapping_modules_are_removed(mobilefacenet, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(under(prefix, mobilefacenet) | {"optimizer_step": torch.zeros(1)}, path)
    assert torch.equal(first_conv(path), mobilefacenet["conv1.0.weight"])


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("container", ["net", "model_state_dict", "ema", "state_dict", "model"])
def test_state_dicts_are_found_in_their_containers(mobilefacenet, container: str, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, container: under(prefix, mobilefacenet)}, path)
    assert torch.equal(first_conv(path), mobilefacenet["conv1.0.weight"])


def test_a_compiled_adaface_network_is_still_bgr_and_a_wrapped_cvlface_one_rgb(ir18, tmp_path: Path) -> None:
    wanted = ir18["input_layer.0.weight"]
    torch.save({"state_dict": under("model._orig_mod.", ir18)}, tmp_path / "adaface.ckpt")
    assert torch.equal(first_conv(tmp_path / "adaface.ckpt"), wanted.flip(1))
    torch.save(under("module.model.net.", ir18), tmp_path / "cvlface.pt")
    assert torch.equal(first_conv(tmp_path / "cvlface.pt"), wanted)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_as_the_cause(mobilefacenet, value: float, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(mobilefacenet | {"conv3.bias": torch.full_like(mobilefacenet["conv3.bias"], value)}, path)
    with pytest.raises(
        WrongModelError, match=r"finite weights in .*NaN or infinity in 1 of \d+ tensors \(conv3.bias\)"
    ):
        backbone_from_checkpoint(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_both_formats_of_torch_save_load(mobilefacenet, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "net.ckpt"
    content = {"state_dict": mobilefacenet, "hyper_parameters": argparse.Namespace(lr=0.1)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert torch.equal(first_conv(path), mobilefacenet["conv1.0.weight"])


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("how", ["torch", "torch_legacy", "pickle", "beside good weights"])
def test_a_hostile_pickle_runs_nothing(how: str, mobilefacenet, tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pt", tmp_path / "ran"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil(target)}))
    else:
        content = {"state_dict": mobilefacenet, "x": Evil(target)} if how.startswith("beside") else Evil(target)
        torch.save(content, path, _use_new_zipfile_serialization=how != "torch_legacy")
    with pytest.raises(EdgefrError, match="nothing but weights") as caught:
        backbone_from_checkpoint(path)
    assert not target.exists()
    assert "\n" not in str(caught.value)


def test_a_torchscript_program_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """`torch.load` would hand it to `torch.jit.load`, past any unpickler."""
    import zipfile

    path = tmp_path / "program.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("program/constants.pkl", b"")
        archive.writestr("program/data.pkl", b"")
    with pytest.raises(EdgefrError, match="TorchScript"):
        backbone_from_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"PK\x03\x04 broken zip", b"\x80\x04."])
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_damaged_files_are_refused_in_a_sentence(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EdgefrError, match=r"expected .*, found "):
        backbone_from_checkpoint(tmp_path / name)


def test_truncated_files_are_refused(mobilefacenet, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(mobilefacenet, path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(EdgefrError):
        backbone_from_checkpoint(path)


def test_missing_and_extra_tensors_are_named(mobilefacenet, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    state = dict(mobilefacenet)
    state["surplus.weight"] = state.pop("conv3.bias")
    torch.save(state, path)
    with pytest.raises(EdgefrError, match=r"1 missing \(conv3.bias\) and 1 extra \(surplus.weight\)"):
        backbone_from_checkpoint(path, arch="mobilefacenet")
    with pytest.raises(EdgefrError, match="Name the architecture"):
        backbone_from_checkpoint(path)


@pytest.mark.shared
def test_the_real_net_answers_as_its_reference_graph(shared: Path) -> None:
    """`reference-batch1.onnx` is the same net exported by somebody else."""
    import numpy as np
    import onnxruntime

    from edgefr.data.collections import open_faces
    from edgefr.nn.fused_model import normalise
    from edgefr.nn.mobilefacenet import IMAGENET_MEAN, IMAGENET_STD

    weights = shared / "weights/arcface-mobilefacenet"
    backbone = backbone_from_checkpoint(weights / "mobilefacenet.pt")
    session = onnxruntime.InferenceSession(str(weights / "reference-batch1.onnx"))
    folder = open_faces(shared / "lfw-aligned-112.zip")
    faces = folder.read_faces(folder.names[:4])
    with torch.inference_mode():
        ours = backbone(normalise(torch.from_numpy(faces))).embedding.numpy()
    for face, mine in zip(faces, ours, strict=True):
        pixels = ((face / 255 - IMAGENET_MEAN) / IMAGENET_STD).astype(np.float32).transpose(2, 0, 1)[None]
        theirs = session.run(None, {session.get_inputs()[0].name: pixels})[0][0]
        assert np.abs(mine - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_telling_architectures_apart_loads_no_compiler() -> None:
    """It would take longer than all the rest of loading a backbone."""
    code = (
        "import sys, torch\n"
        "from edgefr.nn.architectures import build_backbone\n"
        "with torch.device('meta'): build_backbone('mobilefacenet')\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("legacy", [False, True])
def test_a_small_file_that_announces_a_huge_tensor_is_refused_before_memory_is_taken(
    tmp_path: Path, legacy: bool
) -> None:
    buffer, path = io.BytesIO(), tmp_path / "huge.pt"
    torch.save({"weight": torch.zeros(77)}, buffer, _use_new_zipfile_serialization=not legacy)
    announced = b"cpuq\x06KM"  # 77 numbers on the processor
    assert buffer.getvalue().count(announced) == 1
    huge = buffer.getvalue().replace(announced, b"cpuq\x06J\xff\xff\xff\x7f")
    if not legacy:  # the length of the pickle changes, so the archive is written again
        huge = _rezipped(buffer.getvalue(), announced, b"cpuq\x06J\xff\xff\xff\x7f")
    path.write_bytes(huge)
    with pytest.raises(EdgefrError, match=r"a tensor of 2,147,483,647 numbers in a file of"):
        backbone_from_checkpoint(path)


def _rezipped(data: bytes, old: bytes, new: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(old, new))
    return buffer.getvalue()
