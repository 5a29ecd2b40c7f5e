"""What `edgefr export --triton` writes, and what it refuses to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench.tritonserver import Tritonserver
from edgefr.engines.device_profile import Batch
from edgefr.errors import EdgefrError
from edgefr.export.triton_repository import triton_from_model
from edgefr.io.files import sha256_of
from edgefr.manifest import Manifest, model_digest, model_manifest, read_manifest, write_manifest
from edgefr.models import MINI, SPOT, shipped_model
from edgefr.runtimes import open_backend
from edgefr.runtimes.engine_file import EngineKey, EngineRecord, Target
from edgefr.runtimes.triton.model_fingerprint import ModelFingerprint
from tests.conftest import REPOSITORY
from tests.runtimes.conftest import MakeModel


@pytest.fixture
def engine(model: Path, tmp_path: Path) -> Path:
    """An engine as `edgefr build-engine` leaves it in its folder; what a GPU would read of it is made up."""
    folder = tmp_path / "engine"
    folder.mkdir()
    shutil.copy(model, folder / "model.onnx")
    path = folder / "engine.plan"
    path.write_bytes(b"machine code")
    key = EngineKey(model_digest(model), "fp16", Target("tensorrt", "10.13.0", "NVIDIA H200 SM90", "580"))
    record = EngineRecord(key, sha256_of(path), path.stat().st_size)
    write_manifest(path, Manifest("engine", "tiny", engine=record.to_dict() | {"batch": asdict(Batch(8, 64))}))
    return path


def parsed(config: Path) -> Any:
    """As Triton reads it."""
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    return text_format.Parse(config.read_text(), model_config.ModelConfig())


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_model_for_onnx_runtime(tmp_path: Path) -> None:
    added = triton_from_model(shipped_model(MINI), tmp_path)
    assert (added.folder, added.name, added.version) == (tmp_path / "mini/1", "mini", 1)
    assert contents(tmp_path) == {"mini/config.pbtxt", "mini/1/model.onnx", "mini/1/model.onnx.json"}
    assert (added.folder / "model.onnx").read_bytes() == shipped_model(MINI).read_bytes()
    assert read_manifest(added.folder / "model.onnx") == model_manifest(shipped_model(MINI))
    config = parsed(tmp_path / "mini/config.pbtxt")
    assert (config.name, config.platform, config.backend, config.max_batch_size) == ("mini", "onnxruntime_onnx", "", 32)
    assert [(one.name, one.data_type, list(one.dims)) for one in config.input] == [("image", 2, [112, 112, 3])]
    assert [(one.name, one.data_type, list(one.dims), one.HasField("reshape")) for one in config.output] == [
        ("embedding", 11, [256], False),
        ("norm", 11, [1], True),
        ("uncertainty", 11, [1], True),
    ]
    assert [(group.count, group.kind == group.KIND_CPU) for group in config.instance_group] == [(1, True)]
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16, 32]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert not config.dynamic_batching.HasField("default_queue_policy")
    assert [sample.batch_size for sample in config.model_warmup] == [1, 32]
    assert (
        ModelFingerprint.parse(config.parameters["edgefr-1"].string_value)
        == ModelFingerprint.of(shipped_model(MINI))
        == added.fingerprint
    )


def with_external_data(model: Path, folder: Path, location: str) -> Path:
    onnx = pytest.importorskip("onnx")
    folder.mkdir()
    path = folder / "m.onnx"
    onnx.save(onnx.load(model), path, save_as_external_data=True, location=location, size_threshold=1024)
    return path


def test_external_data_is_served_with_its_model(model: Path, tmp_path: Path) -> None:
    source = with_external_data(model, tmp_path / "source", "m.data")
    added = triton_from_model(source, tmp_path / "repository")
    assert contents(added.folder) == {"model.onnx", "model.onnx.json", "m.data"}
    served = added.folder / "model.onnx"
    assert model_digest(served) == added.fingerprint.sha256 == model_digest(source)
    assert open_backend(served, "onnxruntime").describe() == open_backend(source, "onnxruntime").describe()


def test_external_data_with_the_name_of_another_file_is_refused(model: Path, tmp_path: Path) -> None:
    source = with_external_data(model, tmp_path / "source", "model.onnx")
    with pytest.raises(EdgefrError, match=r"expected external data of .* with a name of its own"):
        triton_from_model(source, tmp_path / "repository")
    assert contents(tmp_path / "repository") == set()


def test_additional_outputs_are_not_served(model: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(model)
    graph.graph.node.append(onnx.helper.make_node("Shape", ["raw"], ["sizes"]))
    graph.graph.output.append(onnx.helper.make_tensor_value_info("sizes", onnx.TensorProto.INT64, [2]))
    onnx.save(graph, tmp_path / "more.onnx")
    triton_from_model(tmp_path / "more.onnx", tmp_path / "repository")
    outputs = parsed(tmp_path / "repository/more/config.pbtxt").output
    assert [output.name for output in outputs] == ["embedding", "norm", "uncertainty"]


def test_an_engine_for_tensorrt(engine: Path, model: Path, tmp_path: Path) -> None:
    added = triton_from_model(engine, tmp_path / "repository")
    assert added.name == "tiny"
    assert contents(added.folder) == {"model.plan", "model.plan.json"}
    assert (added.folder / "model.plan").read_bytes() == b"machine code"
    assert added.fingerprint == ModelFingerprint(sha256_of(engine), model_digest(model), "fp16")
    config = parsed(tmp_path / "repository/tiny/config.pbtxt")
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 64)
    assert [group.kind == group.KIND_GPU for group in config.instance_group] == [True]
    assert [(one.name, list(one.dims)) for one in config.output] == [
        ("embedding", [16]),
        ("norm", [1]),
        ("uncertainty", [1]),
    ]


def test_triton_accepts_the_configurations_up_to_their_backends(
    tritonserver: type[Tritonserver], engine: Path, tmp_path: Path
) -> None:
    """The server here has neither ONNX Runtime's backend nor TensorRT's, which it looks for after it has checked the
    configuration."""
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    triton_from_model(shipped_model(MINI), tmp_path / "repository")
    triton_from_model(engine, tmp_path / "repository")
    server = tritonserver(tmp_path / "repository", tmp_path)
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            index = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=5).models
    finally:
        server.kill()
    reasons = {model.name: model.reason for model in index}
    assert "unable to find backend library for backend 'onnxruntime'" in reasons["mini"]
    assert "unable to find backend library for backend 'tensorrt'" in reasons["tiny"]


def test_the_next_version_keeps_changes_of_the_user(model: Path, make_model: MakeModel, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    triton_from_model(model, repository, python=True)
    config = repository / "tiny/config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 4"))
    left = repository / "tiny/.2-left-by-a-kill"
    left.mkdir()
    other = make_model(unit=False)
    assert triton_from_model(other, repository, python=True).version == 2
    assert (repository / "tiny/2/model.onnx").read_bytes() == other.read_bytes()
    assert (repository / "tiny/1/model.onnx").read_bytes() == model.read_bytes()
    found = parsed(config)
    assert found.instance_group[0].count == 4
    assert {name: value.string_value for name, value in found.parameters.items()} == {
        "edgefr-1": str(ModelFingerprint.of(model)),
        "edgefr-2": str(ModelFingerprint.of(other)),
    }


@pytest.mark.parametrize("other", ["backend", "outputs", "somebody's", "bytes"])
def test_another_model_with_this_name_is_not_changed(
    other: str, model: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    triton_from_model(model, tmp_path)
    config = tmp_path / "tiny/config.pbtxt"
    if other == "somebody's":
        config.write_text('name: "tiny"\nplatform: "pytorch_libtorch"\n')
    elif other == "bytes":
        config.write_bytes(b"\xff\xfe")
    before = config.read_bytes()
    with pytest.raises(EdgefrError, match=r"^expected .*, found .*\. Choose another --triton-name"):
        triton_from_model(make_model(uncertainty=other != "outputs"), tmp_path, python=other == "backend")
    assert config.read_bytes() == before
    assert not (tmp_path / "tiny/2").exists()
    assert triton_from_model(model, tmp_path, name="another").folder == tmp_path / "another/1"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 129, 'quote"'])
def test_a_name_must_be_a_plain_folder_name(name: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match=r"expected a model name .*\. Choose another"):
        triton_from_model(model, tmp_path / "repository", name=name)
    assert not (tmp_path / "repository").exists()


def test_a_model_that_is_not_a_recogniser_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    for path in (shipped_model(SPOT), make_model(size=56)):
        with pytest.raises(EdgefrError, match=r"expected input image uint8 \(B,112,112,3\) in .*, found "):
            triton_from_model(path, tmp_path)
    (tmp_path / "text.onnx").write_text("this is no model")
    for name in ("text.onnx", "none.onnx", "none.plan"):
        with pytest.raises(EdgefrError, match=r"^expected .*, found .*\. [A-Z]"):
            triton_from_model(tmp_path / name, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"text.onnx"}


def test_an_incomplete_engine_is_refused(engine: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    with pytest.raises(EdgefrError, match=r"expected an \.onnx file for the Python backend, found .*engine\.plan"):
        triton_from_model(engine, repository, python=True)
    manifest = read_manifest(engine)
    assert manifest is not None
    entry = {name: value for name, value in manifest.engine.items() if name != "batch"}
    write_manifest(engine, replace(manifest, engine=entry))
    with pytest.raises(EdgefrError, match=r"expected the largest batch .*\. Remove the engine's folder and build it"):
        triton_from_model(engine, repository)
    write_manifest(engine, manifest)
    engine.with_name("model.onnx").unlink()
    with pytest.raises(EdgefrError, match=r"model\.onnx, .* found none\. Copy the engine's whole folder"):
        triton_from_model(engine, repository)
    engine.write_bytes(b"another code")
    with pytest.raises(EdgefrError, match="found another file\\. Build it again"):
        triton_from_model(engine, repository)
    assert not repository.exists()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from edgefr.errors import EdgefrError
from edgefr.export.triton_repository import triton_from_model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    triton_from_model(Path(sys.argv[1]), Path(sys.argv[2]))
except EdgefrError as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files simulates the full disk."""
    command = [sys.executable, "-c", FULL_DISK, str(shipped_model(MINI)), str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert told.stdout.startswith(f"expected to write {tmp_path / 'mini/1'}, found an error of the system (File too")
    assert list(tmp_path.iterdir()) == []


def edgefr(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgefr", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_export_to_triton_as_a_command(tmp_path: Path) -> None:
    told = edgefr("mini", "--triton", tmp_path, "--triton-backend", "python", "--triton-name", "door", "--json")
    assert (told.returncode, told.stderr) == (0, "")
    document = json.loads(told.stdout)
    assert document["output"] == str(tmp_path / "door/1")
    assert (document["name"], document["version"], document["precision"]) == ("door", 1, "fp32")
    assert document["model_sha256"] == model_digest(shipped_model(MINI))
    assert (tmp_path / "door/1/model.py").is_file()


def test_a_checkpoint_needs_an_export_to_onnx_first(tmp_path: Path) -> None:
    for arguments, remedy in (
        (("mini", "--triton", tmp_path, "-o", tmp_path / "model.onnx"), "Export the checkpoint with -o first"),
        (("fused.safetensors",), "Name it with -o model.onnx"),
    ):
        told = edgefr(*arguments)
        assert told.returncode == 2
        assert told.stderr.startswith("edgefr: expected ")
        assert remedy in told.stderr
    assert list(tmp_path.iterdir()) == []
