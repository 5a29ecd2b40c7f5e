"""Choosing a runtime, and the errors for a model or a runtime that cannot be used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefr.errors import EdgefrError, InvalidArgumentError, MissingExtraError, UnavailableError, install_command
from edgefr.runtimes import FAKE, available_runtimes, cuda_probe, open_backend
from edgefr.runtimes.fake import FakeBackend
from edgefr.runtimes.openvino import openvino_core
from edgefr.runtimes.processor import memory_gib, processor
from edgefr.types import Faces
from tests.conftest import REPOSITORY

SUFFIX = {"onnxruntime": ".onnx", "openvino": ".onnx", "torch": ".safetensors"}


def installed(name: str) -> bool:
    return any(runtime.name == name and runtime.version for runtime in available_runtimes())


@pytest.fixture(params=SUFFIX)
def runtime(request: pytest.FixtureRequest) -> str:
    if not installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    name: str = request.param
    return name


@pytest.mark.parametrize("damage", ["text", "truncated", "garbage", "empty", "missing", "folder", "suffix"])
def test_a_bad_file_gives_one_line_and_no_other_output(
    request: pytest.FixtureRequest,
    runtime: str,
    damage: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    good: Path = request.getfixturevalue("checkpoint" if runtime == "torch" else "model")
    path = tmp_path / f"bad{SUFFIX[runtime]}"
    content = {
        "text": b"this is no model\n" * 20,
        "truncated": good.read_bytes()[: good.stat().st_size // 2],
        "garbage": b"\x08\x08" + bytes(range(256)) * 4,
        "empty": b"",
        "suffix": good.read_bytes(),
    }
    if damage == "folder":
        path.mkdir()
    elif damage == "suffix":
        path = tmp_path / "model.bin"
    if damage in content:
        path.write_bytes(content[damage])
    with pytest.raises(EdgefrError, match=r"^expected .*, found .*\. [A-Z]") as caught:
        open_backend(path, runtime)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_model_that_fails_while_running_gives_one_line(
    name: str, make_model: object, faces: Faces, capfd: pytest.CaptureFixture[str]
) -> None:
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    backend = open_backend(make_model(batch_really=1), name)  # type: ignore[operator]
    with pytest.raises(
        EdgefrError, match=rf"^expected {name} to run the model, found a failure \(.*\)\. Use a smaller batch"
    ) as caught:
        backend.infer({"image": faces})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_good_model_opens_and_runs_without_output(
    model: Path, faces: Faces, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("onnxruntime", "openvino"):
        if installed(name):
            open_backend(model, name).infer({"image": faces})
    assert capfd.readouterr() == ("", "")


def test_runtimes_agree(model: Path, faces: Faces) -> None:
    if not installed("openvino"):
        pytest.skip("openvino is not installed")
    ours = open_backend(model, "onnxruntime").infer({"image": faces})
    theirs = open_backend(model, "openvino", "fp32").infer({"image": faces})
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-4, atol=1e-5)


def test_bf16_is_really_computed_and_close_to_fp32(model: Path, faces: Faces) -> None:
    if not any(runtime.name == "openvino" and "bf16" in runtime.precisions for runtime in available_runtimes()):
        pytest.skip("this processor has no native bf16")
    pytest.importorskip("openvino")
    full, half = (
        open_backend(model, "openvino", precision).infer({"image": faces})["embedding"]
        for precision in ("fp32", "bf16")
    )
    assert np.abs(full - half).max() > 1e-5
    assert (full * half).sum(1).min() > 0.995


def test_the_torch_backend_gives_the_outputs_of_the_model(checkpoint: Path, faces: Faces) -> None:
    torch = pytest.importorskip("torch")
    from edgefr.nn.fused_model import load_fused

    with torch.inference_mode():
        wanted = load_fused(checkpoint)(torch.tensor(faces))
    found = open_backend(checkpoint).infer({"image": faces})
    np.testing.assert_allclose(found["embedding"], wanted.embedding.numpy(), atol=1e-6)
    np.testing.assert_allclose(found["uncertainty"], wanted.uncertainty.numpy(), atol=1e-6)


def test_auto_chooses_by_the_number_of_images(model: Path) -> None:
    assert open_backend(model, images=2).describe().runtime == "onnxruntime"
    if not installed("openvino"):
        pytest.skip("openvino is not installed")
    assert open_backend(model).describe().runtime == "openvino"
    assert open_backend(model, images=10_000).describe().runtime == "openvino"


def test_auto_chooses_by_the_kind_of_file(checkpoint: Path) -> None:
    assert open_backend(checkpoint).describe().runtime == "torch"
    assert open_backend(FAKE).describe().runtime == "fake"


def test_auto_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match=r"expected an \.onnx file, .*found .*model\.txt\. Choose"):
        open_backend(tmp_path / "model.txt")


def test_auto_works_without_openvino(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # as Python marks a module that is not there
    assert open_backend(model).describe().runtime == "onnxruntime"


@pytest.mark.parametrize("runtime", ["auto", "openvino"])
def test_auto_computes_in_fp32_because_bf16_may_decide_differently(runtime: str, model: Path) -> None:
    pytest.importorskip("openvino")
    description = open_backend(model, runtime).describe()
    assert (description.runtime, description.precision) == ("openvino", "fp32")


def test_it_is_known_without_openvino_whether_the_processor_has_bf16() -> None:
    pytest.importorskip("openvino")
    assert processor().bf16 == ("BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


DROPPED_IN_A_THREAD = """
import mmap, os, signal, sys, threading
from pathlib import Path
from edgefr.runtimes import open_backend
signal.signal(signal.SIGCHLD, lambda *_: None)
held = [open_backend(Path(sys.argv[1]), runtime="openvino")]
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
taken = [mmap.mmap(-1, 4096 * pages, prot=mmap.PROT_READ) for pages in range(1, 9)]
if (child := os.fork()) == 0:
    os._exit(0)
os.waitpid(child, 0)
print("alive")
"""


def test_signals_still_work_after_another_thread_has_released_a_model(model: Path) -> None:
    """Unloading OpenVINO's plugin frees the signal stack of the first thread, which crashes at its next signal."""
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", DROPPED_IN_A_THREAD, str(model)]
    told = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert (told.returncode, told.stdout.strip()) == (0, "alive"), told.stderr


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("openvino", install_command("cpu")),
        ("torch", install_command("train")),
        ("onnxruntime", "pip install onnxruntime"),
    ],
)
def test_the_error_for_a_missing_runtime_has_the_command_that_installs_it(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"model{SUFFIX[name]}"
    path.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"Run: {re.escape(command)}\.$"):
        open_backend(path, name)
    assert {r.name: r.version for r in available_runtimes()}[name] is None


@pytest.mark.parametrize("name", ["onnxruntime", "torch", "fake"])
def test_bf16_is_refused_by_runtimes_without_it(name: str, model: Path) -> None:
    with pytest.raises(
        EdgefrError, match=rf"expected precision auto or fp32 for {name}.*found bf16\. Use --precision fp32"
    ):
        open_backend(FAKE if name == "fake" else model, name, "bf16")


def test_bf16_is_refused_on_a_processor_without_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")

    class OldCore:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr("edgefr.runtimes.openvino.openvino_core", OldCore)
    with pytest.raises(EdgefrError, match=r"expected precision auto or fp32 for openvino.*found bf16"):
        open_backend(model, "openvino", "bf16")


def test_the_cuda_runtime_never_falls_back_to_the_processor(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_probe, "_driver", lambda: None)
    with pytest.raises(UnavailableError, match="expected an NVIDIA GPU with its driver for onnxruntime-cuda"):
        open_backend(model, "onnxruntime-cuda")
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        monkeypatch.setattr("edgefr.runtimes.onnxruntime.require_gpu", lambda what: None)
        with pytest.raises(
            MissingExtraError,
            match=rf"found one without\. Run: pip uninstall onnxruntime; {re.escape(install_command('cuda'))}",
        ):
            open_backend(model, "onnxruntime-cuda")


def test_unknown_runtimes_and_precisions_are_refused(model: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"expected the runtime auto or one of .*, found tpu"):
        open_backend(model, "tpu")
    with pytest.raises(InvalidArgumentError, match=r"expected precision .*found int3"):
        open_backend(model, "onnxruntime", "int3")


def test_every_runtime_has_precisions_and_an_install_command() -> None:
    assert [runtime.name for runtime in available_runtimes()] == [
        "onnxruntime",
        "onnxruntime-cuda",
        "openvino",
        "ncnn",
        "torch",
        "tensorrt",
        "tensorrt-rtx",
        "triton",
        "fake",
    ]
    for runtime in available_runtimes():
        assert runtime.precisions
        assert runtime.install_command()


def test_processor_and_memory_are_found() -> None:
    assert processor().cores >= 1
    assert processor().model
    memory = memory_gib()
    assert memory is None or memory > 0


def test_the_fake_backend_gives_similar_pictures_similar_embeddings(faces: Faces) -> None:
    noise = np.random.default_rng(5).integers(-10, 11, faces.shape)
    noisy = np.clip(faces.astype(np.int64) + noise, 0, 255).astype(np.uint8)
    fake = FakeBackend()
    clean, alike = (fake.infer({"image": images})["embedding"] for images in (faces, noisy))
    cosine = clean @ alike.T
    assert np.diag(cosine).min() > 0.99
    assert (cosine - np.eye(len(faces))).max() < 0.6


def test_the_fake_backend_does_not_depend_on_the_batch(faces: Faces) -> None:
    fake = FakeBackend()
    alone = np.concatenate([fake.infer({"image": faces[i : i + 1]})["embedding"] for i in range(len(faces))])
    np.testing.assert_array_equal(alone, fake.infer({"image": faces})["embedding"])


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_fake_backend_embeds_a_uniform_picture(level: int) -> None:
    even = np.full((1, 112, 112, 3), level, np.uint8)
    assert np.linalg.norm(FakeBackend().infer({"image": even})["embedding"]) == pytest.approx(1)


@pytest.mark.parametrize("runtime", ["auto", "onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("net.xml", r"net\.xml, an OpenVINO IR, .*Give the \.onnx file that it was made from"),
        ("net.bin", r"net\.bin, an OpenVINO IR, .*Give the \.onnx file that it was made from"),
        ("net.ckpt", r"net\.ckpt, a checkpoint\. Make an \.onnx file of it with `edgefr adopt"),
        ("other.bin", r"other\.bin\. Choose another"),
    ],
)
def test_other_formats_are_refused_with_what_to_do(name: str, advice: str, runtime: str, tmp_path: Path) -> None:
    for file in ("net.xml", "net.bin", "net.ckpt", "other.bin"):
        (tmp_path / file).write_bytes(b"<net/>")
    with pytest.raises(InvalidArgumentError, match=advice):
        open_backend(tmp_path / name, runtime)


@pytest.mark.parametrize("options", [{"images": 2}, {"spinning": False}])
def test_a_model_that_is_opened_without_spinning_gives_the_same(model: Path, faces: Faces, options: dict) -> None:
    usual, calm = open_backend(model, "onnxruntime"), open_backend(model, "onnxruntime", **options)
    assert calm.describe() == usual.describe()
    for name, array in usual.infer({"image": faces[:2]}).items():
        np.testing.assert_array_equal(calm.infer({"image": faces[:2]})[name], array)
