"""The other commands as scripts and users call them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from docs.make_cli import PAGE, page
from edgefr.errors import install_command
from edgefr.models import MINI, shipped_model

PHOTOS = ("obama.jpg", "biden.jpg", "obama_and_biden.jpg", "astronaut.png")


def test_the_page_of_commands_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


@pytest.fixture
def photos(shared: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in PHOTOS:
        shutil.copy(shared / "photos" / name, folder / name)
    return folder


@pytest.mark.shared
def test_embed_takes_files_folders_and_globs_once_each(edgefr, photos: Path, yunet: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.npz"
    told = edgefr(
        "embed", photos / "obama.jpg", photos, photos / "*.jpg", "-o", output, "-m", "fake", "-d", yunet, "--json"
    )
    assert told.code == 0
    assert told.json["images"] == 4
    with np.load(output) as found:
        assert [Path(path).name for path in found["path"]] == ["obama.jpg", "astronaut.png", "biden.jpg", PHOTOS[2]]
        shapes = {key: found[key].shape for key in ("norm", "uncertainty", "box", "landmarks")}
        assert shapes == {"norm": (4,), "uncertainty": (4,), "box": (4, 4), "landmarks": (4, 5, 2)}
        assert found["embedding"].dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found["embedding"], axis=1), 1, atol=1e-5)


@pytest.mark.shared
def test_embed_reports_unusable_pictures_and_embeds_the_rest(edgefr, photos: Path, yunet: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_text("no picture")
    told = edgefr("embed", photos, tmp_path / "gone.jpg", "-o", tmp_path / "x.npz", "-m", "fake", "-d", yunet)
    assert told.code == 2
    assert told.err.count("left out") == 2
    assert "broken.jpg" in told.err
    assert "gone.jpg" in told.err
    with np.load(tmp_path / "x.npz") as found:
        assert len(found["path"]) == 4


@pytest.mark.shared
def test_embed_writes_nothing_if_no_photograph_is_usable(edgefr, yunet: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    told = edgefr("embed", tmp_path / "a.jpg", "-o", tmp_path / "x.npz", "-m", "fake", "-d", yunet)
    assert told.code == 2
    assert "found none" in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg"]


def test_embed_refuses_other_outputs_and_empty_folders(edgefr, tmp_path: Path) -> None:
    assert ".npz" in edgefr("embed", "a.jpg", "-o", "x.txt", "-m", "fake").sentence
    assert "found none" in edgefr("embed", tmp_path, "-o", tmp_path / "x.npz", "-m", "fake").sentence


@pytest.mark.shared
def test_parity_of_two_runtimes_on_real_pairs(edgefr, fused_onnx: Path, shared: Path) -> None:
    faces, pairs = shared / "lfw-aligned-112.zip", shared / "lfw-pairs.txt"
    options = ("--faces", faces, "--pairs", pairs, "--limit", 30, "--json")
    told = edgefr("parity", f"{fused_onnx}@onnxruntime", f"{fused_onnx}@openvino:fp32", *options)
    assert told.code == 0
    assert told.json["pairs"] == 30
    (decided,) = told.json["decisions"]
    assert decided["flipped"] == []
    assert decided["threshold"] == pytest.approx(0.3)
    assert told.json["broken"] == []


@pytest.mark.shared
def test_parity_of_different_models_is_exit_code_one(edgefr, fused_onnx: Path, shared: Path, tmp_path: Path) -> None:
    """The same graph with one channel of the fusion's head disturbed."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(fused_onnx)
    skip = max(
        (t for t in model.graph.initializer if list(t.dims) in ([256, 256],)),
        key=lambda t: abs(numpy_helper.to_array(t)).sum(),
    )
    weight = numpy_helper.to_array(skip).copy()
    weight[:, :40] = 0
    skip.CopyFrom(numpy_helper.from_array(weight, skip.name))
    onnx.save(model, tmp_path / "other.onnx")
    told = edgefr(
        "parity", fused_onnx, tmp_path / "other.onnx", "--faces", shared / "lfw-aligned-112.zip", "--limit", 8
    )
    assert told.code == 1
    assert "expected every face's cosine above" in told.out


@pytest.mark.parametrize(("candidate", "is_warned"), [("mini@onnxruntime", True), ("mini@openvino:fp32", False)])
def test_parity_of_a_model_with_itself_is_warned_of(edgefr, tmp_path: Path, candidate: str, is_warned: bool) -> None:
    from edgefr.data.sample_faces import astronaut_faces

    (tmp_path / "A").mkdir()
    for number, face in enumerate(astronaut_faces(2)):
        cv2.imwrite(str(tmp_path / f"A/{number}.png"), face[..., ::-1])
    told = edgefr("parity", "mini@onnxruntime", candidate, "--faces", tmp_path)
    assert told.code == 0
    assert ("on onnxruntime fp32, so that no difference can be found" in told.err) == is_warned


def test_parity_accepts_the_name_of_a_shipped_model(edgefr, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    from edgefr.data.sample_faces import astronaut_faces

    for number, face in enumerate(astronaut_faces(2)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), face[..., ::-1])
    told = edgefr("parity", "mini@onnxruntime", "mini@openvino:fp32", "--faces", tmp_path, "--json")
    assert told.code == 0, told.err
    assert told.json["cosine_min"] > 0.999


def test_parity_needs_two_models(edgefr, tmp_path: Path) -> None:
    assert "MODEL[@RUNTIME" in edgefr("parity", "@openvino", "fake", "--faces", tmp_path).sentence


@pytest.mark.shared
def test_bench_has_a_row_for_every_runtime_precision_and_batch(edgefr, fused_onnx: Path) -> None:
    told = edgefr("bench", fused_onnx, "--batch", "1,2", "--seconds", "0.1", "--json").json
    rows = {(row["runtime"], row["precision"], row["batch"]) for row in told["rows"]}
    assert {("onnxruntime", "fp32", 1), ("onnxruntime", "fp32", 2), ("openvino", "fp32", 1)} <= rows
    for row in told["rows"]:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["images_per_second"] > 0
    assert told["machine"]["cores"] >= 1


def test_bench_accepts_the_name_of_a_shipped_model(edgefr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.engines.roofline.gemm_rate", lambda precision: None)  # which takes seconds
    told = edgefr("bench", "mini", "--batch", "1", "--seconds", "0.01", "--json").json
    assert told["model"] == "mini.onnx"
    assert ("onnxruntime", "fp32") in {(row["runtime"], row["precision"]) for row in told["rows"]}


def test_bench_times_all_engines_of_a_gpu_and_converted_ones_of_a_processor(tmp_path: Path, monkeypatch) -> None:
    from edgefr.cli.bench import _candidates
    from edgefr.engines import engine_cache

    engines = [
        (tmp_path / f"{runtime}-{precision}", runtime, precision)
        for runtime, precision in (("tensorrt", "fp32"), ("tensorrt-rtx", "fp16"), ("openvino", "bf16"))
    ]
    monkeypatch.setattr(engine_cache, "usable_engines", lambda model, root: engines)
    assert _candidates(tmp_path / "m.onnx", tmp_path)[-2:] == engines[:2]


def test_bench_times_a_random_pair_in_int8_too(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("torch")
    from edgefr.cli.bench import _int8_candidates
    from edgefr.io.onnx_file import graph_precision

    pair = tmp_path / "pair.onnx"
    shutil.copy(shipped_model(MINI), pair)
    rows = _int8_candidates(pair)
    assert {(runtime, precision) for _, runtime, precision in rows} >= {("onnxruntime", "int8"), ("openvino", "int8")}
    assert {graph_precision(file).name for file, _, _ in rows} == {"int8"}
    assert rows[0][0].stat().st_size < 0.6 * pair.stat().st_size, "the weights of mini are stored in FP16"


def test_bench_refuses_what_is_no_model(edgefr, tmp_path: Path) -> None:
    (tmp_path / "net.xml").write_bytes(b"<net/>")
    (tmp_path / "net.onnx").write_bytes(b"<net/>")
    assert "an OpenVINO IR" in edgefr("bench", tmp_path / "net.xml").sentence
    assert "expected an ONNX model" in edgefr("bench", tmp_path / "net.onnx").sentence


def test_bench_refuses_other_sizes(edgefr) -> None:
    assert "r100" in edgefr("bench", "--arch", "r101").sentence
    assert "1,8,32" in edgefr("bench", "--batch", "many", "--arch", "r18").sentence


@pytest.mark.shared
def test_doctor_reports_the_threshold_of_the_model(edgefr, fused_onnx: Path, monkeypatch) -> None:
    monkeypatch.setenv("EDGEFR_MODEL", str(fused_onnx))
    found = edgefr("doctor", "--json").json["model"]
    assert found == {"found": str(fused_onnx), "advice": "threshold 0.300 at FMR 0.001"}


def test_doctor_reports_what_is_wrong_with_a_model(edgefr, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "model.onnx").write_text("text")
    monkeypatch.setenv("EDGEFR_MODEL", str(tmp_path / "model.onnx"))
    found = edgefr("doctor", "--json").json["model"]
    assert found["found"] is None
    assert "expected an ONNX model" in found["advice"]


def test_a_model_that_is_not_there_is_not_called_damaged(edgefr, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("EDGEFR_MODEL", str(tmp_path / "model.onnx"))
    assert "found no file. Check the path" in edgefr("doctor", "--json").json["model"]["advice"]


def test_a_closed_pipe_is_not_exit_code_one() -> None:
    """`edgefr doctor | true` ends as other programs do, not with exit code 1."""
    told = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m edgefr doctor --json | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.strip() in ("0", "141")  # 0 where all was written before the reader went
    assert told.stderr == ""


def test_doctor_lists_what_is_installed_and_how_to_install_the_rest(edgefr) -> None:
    told = edgefr("doctor", "--json").json
    runtimes = {entry["name"]: entry for entry in told["runtimes"]}
    assert runtimes["onnxruntime"]["version"]
    assert runtimes["triton"]["version"] or runtimes["triton"]["install"] == install_command("triton")
    assert {extra["name"] for extra in told["extras"]} == {
        "train",
        "cpu",
        "ncnn",
        "demo",
        "camera",
        "web",
        "scale",
        "triton",
        "bulk",
        "ray",
    }
    assert told["detector"]["found"] == "spot"
    assert told["model"]["found"].endswith("mini.onnx")
    assert "threshold" in told["model"]["advice"]
    assert "onnxruntime" in edgefr("doctor").out


@pytest.mark.shared
def test_the_demo_decides_correctly_and_draws_its_picture(
    edgefr, fused_onnx: Path, yunet: Path, tmp_path: Path
) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    import cv2

    told = edgefr("demo", "-m", fused_onnx, "-d", yunet, "-o", tmp_path / "demo.png", "--json")
    assert told.code == 0
    assert [answer["same"] for answer in told.json["answers"]] == [True, False]
    assert cv2.imread(str(tmp_path / "demo.png")).shape[0] == 480


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_export_of_another_file_is_an_error(edgefr, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"c{suffix}").write_text("hello")
    told = edgefr("export", tmp_path / f"c{suffix}", "-o", tmp_path / "m.onnx")
    assert told.code == 2
    assert f"c{suffix}" in told.err.splitlines()[-1]
    assert not (tmp_path / "m.onnx").exists()


def test_a_missing_recipe_is_an_error(edgefr, tmp_path: Path) -> None:
    assert "ls train" in edgefr("train", tmp_path / "none.toml").sentence


def test_wrong_arguments_are_exit_code_two(edgefr) -> None:
    for arguments in (["verify"], ["verify", "a", "b", "--face", "nicest"], ["nothing"]):
        told = edgefr(*arguments)
        assert told.code == 2
        assert told.out == ""


@pytest.fixture
def float_recogniser(tmp_path: Path) -> Path:
    """A recogniser with the tensors of insightface's w600k_r50.onnx."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).standard_normal((3, 512)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["input.1"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["683"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input.1", kind, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info("683", kind, ["batch", 512])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    path = tmp_path / "w600k_r50.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_verify_describes_a_float_recogniser(edgefr, runtime: str, float_recogniser: Path, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    data = pytest.importorskip("skimage.data")
    photograph = tmp_path / "a.png"
    cv2.imwrite(str(photograph), data.astronaut()[..., ::-1])
    sentence = edgefr("verify", photograph, photograph, "-m", float_recogniser, "--runtime", runtime).sentence
    assert "a float recogniser as other projects publish it (input input.1 float32 (B,3,112,112)" in sentence
    assert "embedding of 512 numbers)" in sentence
    assert "edgefr adopt" in sentence


def test_export_describes_a_float_recogniser(edgefr, float_recogniser: Path, tmp_path: Path) -> None:
    sentence = edgefr("export", float_recogniser, "-o", tmp_path / "m.onnx").sentence
    assert "a float recogniser as other projects publish it" in sentence
    assert "edgefr adopt" in sentence
    assert not (tmp_path / "m.onnx").exists()


def test_export_of_an_exported_model_is_refused(edgefr, tmp_path: Path) -> None:
    sentence = edgefr("export", "mini.onnx", "-o", tmp_path / "m.onnx").sentence
    assert "expected a model at mini.onnx, found no such file" in sentence
    sentence = edgefr("export", shipped_model(MINI), "-o", tmp_path / "m.onnx").sentence
    assert "which is exported already" in sentence


@pytest.mark.parametrize("option", [("--half-weights",), ("--classic",), ("--colour", "rgb")])
def test_options_that_change_nothing_in_a_liveness_net_are_refused(edgefr, tmp_path: Path, option) -> None:
    torch = pytest.importorskip("torch")
    names = ("conv_6_dw.conv.weight", "prob.weight")
    torch.save({name: torch.zeros(3, 1, 5, 5) for name in names}, tmp_path / "net.pth")
    refused = edgefr("export", tmp_path / "net.pth", "-o", tmp_path / "live.onnx", *option)
    assert "for a liveness net, found options for a recogniser" in refused.sentence


@pytest.mark.shared
@pytest.mark.parametrize("name", ["edgeface-xs/edgeface-xs.onnx", "mobilefacenet-512/fr_feature.onnx"])
def test_published_recognisers_are_described(edgefr, name: str, shared: Path, tmp_path: Path) -> None:
    sentence = edgefr("export", shared / "weights" / name, "-o", tmp_path / "m.onnx").sentence
    assert "a float recogniser as other projects publish it" in sentence
    assert "embedding of 512 numbers" in sentence


@pytest.mark.shared
def test_another_network_is_not_called_a_recogniser(edgefr, shared: Path, tmp_path: Path) -> None:
    sentence = edgefr("export", shared / "weights/liveness-128/fr_liveness.onnx", "-o", tmp_path / "m.onnx").sentence
    assert "float recogniser" not in sentence
