"""A model on a real Triton server: requests, verification of the model, and errors of the server."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.tritonserver import Tritonserver
from edgefr.errors import EdgefrError, MissingExtraError, install_command
from edgefr.export.triton_repository import triton_from_model
from edgefr.models import MINI, shipped_model
from edgefr.runtimes import available_runtimes, open_backend
from edgefr.runtimes.triton import client as triton
from edgefr.runtimes.triton.model_fingerprint import ModelFingerprint
from edgefr.runtimes.triton.server_address import Address
from edgefr.types import Faces
from tests.runtimes.conftest import MakeModel


@pytest.fixture
def served_alone(tritonserver: type[Tritonserver], model: Path, tmp_path: Path) -> Iterator[tuple[Tritonserver, Path]]:
    """A server of `tiny` that a test may kill, and its repository."""
    repository = tmp_path / "repository"
    triton_from_model(model, repository, python=True)
    server = tritonserver(repository, tmp_path)
    server.start()
    yield server, repository
    server.kill()


def statistics(url: str, name: str) -> tuple[int, int, set[int]]:
    """Faces and runs so far, and the sizes of the batches that were run."""
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    with grpc.insecure_channel(Address.parse(url).target) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        found = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=name), timeout=5).model_stats[0]
    return found.inference_count, found.execution_count, {batch.batch_size for batch in found.batch_stats}


def test_mini_gives_the_outputs_of_onnxruntime_and_large_batches_are_split(triton: Tritonserver) -> None:
    faces = np.random.default_rng(2).integers(0, 256, (70, 112, 112, 3), np.uint8)
    faces_before, runs_before, _ = statistics(triton.url, "mini")
    found = open_backend(shipped_model(MINI), triton.url).infer({"image": faces})
    wanted = open_backend(shipped_model(MINI), "onnxruntime").infer({"image": faces})
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6)
    faces_after, runs_after, sizes = statistics(triton.url, "mini")
    assert (faces_after - faces_before, runs_after - runs_before) == (70, 3)
    assert max(sizes) == 32


def test_simultaneous_requests_are_batched(triton: Tritonserver, model: Path, faces: Faces) -> None:
    backends = [open_backend(model, f"{triton.url}/patient") for _ in range(4)]
    wanted = open_backend(model, "onnxruntime").infer({"image": faces})["embedding"]
    faces_before, runs_before, _ = statistics(triton.url, "patient")
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(backends[number % 4].infer, {"image": faces[number % 7 :][:1]}) for number in range(16)]
    for number, answer in enumerate(asked):
        np.testing.assert_allclose(answer.result()["embedding"][0], wanted[number % 7], rtol=1e-5, atol=1e-6)
    faces_after, runs_after, sizes = statistics(triton.url, "patient")
    assert faces_after - faces_before == 16
    assert runs_after - runs_before < 16
    assert max(sizes) > 1


def test_the_client_reconnects_to_a_restarted_server(
    served_alone: tuple[Tritonserver, Path], model: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = served_alone
    backend = open_backend(model, server.url)
    before = backend.infer({"image": faces})["embedding"]
    server.kill()
    server.start()  # between two requests
    np.testing.assert_array_equal(backend.infer({"image": faces})["embedding"], before)
    monkeypatch.setattr(triton, "RETRY_DELAYS", (0.5,) * 200)
    server.kill()
    with ThreadPoolExecutor(1) as pool:  # while one waits
        waiting = pool.submit(backend.infer, {"image": faces})
        server.start()
        np.testing.assert_array_equal(waiting.result()["embedding"], before)


def test_a_server_that_is_gone_is_an_error_of_one_line(
    served_alone: tuple[Tritonserver, Path],
    model: Path,
    faces: Faces,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server, _ = served_alone
    backend = open_backend(model, server.url)
    server.kill()
    monkeypatch.setattr(triton, "RETRY_DELAYS", (0.01, 0.01))
    with pytest.raises(EdgefrError, match=r"found none in 3 attempts \(.*\)\. Start it with `tritonserver") as caught:
        backend.infer({"image": faces})
    assert "\n" not in str(caught.value)
    with pytest.raises(EdgefrError, match=r"expected a Triton server that answers at triton://.*, found none \("):
        open_backend(model, server.url)
    assert capfd.readouterr() == ("", "")


def test_a_server_restarted_with_another_model_is_refused(
    served_alone: tuple[Tritonserver, Path], model: Path, make_model: MakeModel, faces: Faces
) -> None:
    server, repository = served_alone
    backend = open_backend(model, server.url)
    backend.infer({"image": faces})
    server.kill()
    shutil.rmtree(repository / "tiny")
    triton_from_model(make_model(unit=False), repository, python=True, name="tiny")
    server.start()
    with pytest.raises(
        EdgefrError, match=r"which was there before, as tiny on .*, found .* fp32\. Give that model with --model"
    ):
        backend.infer({"image": faces})


def test_each_client_uses_the_version_that_fits_its_model(
    tritonserver: type[Tritonserver], model: Path, make_model: MakeModel, faces: Faces, tmp_path: Path
) -> None:
    other = shutil.copy(make_model(unit=False), tmp_path / "tiny.onnx")
    repository = tmp_path / "repository"
    assert [triton_from_model(file, repository, python=True).version for file in (model, other)] == [1, 2]
    config = repository / "tiny/config.pbtxt"
    config.write_text(config.read_text() + "version_policy { all { } }\n")
    server = tritonserver(repository, tmp_path)
    server.start()
    try:
        for file in (model, other):
            found = open_backend(file, server.url).infer({"image": faces})["embedding"]
            wanted = open_backend(file, "onnxruntime").infer({"image": faces})["embedding"]
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    finally:
        server.kill()


def test_a_slow_server_times_out(
    served_alone: tuple[Tritonserver, Path], model: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = served_alone
    backend = triton.TritonBackend(model, server.url, timeout=0.2)
    monkeypatch.setattr(triton, "METADATA_TIMEOUT", 0.2)
    server.stop_answering()
    try:
        with pytest.raises(EdgefrError, match=r"0\.2 s for a batch, found none\. Use a smaller --batch"):
            backend.infer({"image": faces})
    finally:
        server.go_on()
    monkeypatch.undo()
    assert len(triton.TritonBackend(model, server.url).infer({"image": faces})["norm"]) == len(faces)


def test_another_model_is_refused(triton: Tritonserver, model: Path) -> None:
    for name in ("nobody", "tiny"):
        with pytest.raises(EdgefrError) as caught:
            open_backend(shipped_model(MINI), f"{triton.url}/{name}")
        wanted = {
            "nobody": "found no such model",
            "tiny": f"found {ModelFingerprint.of(model).sha256[:12]} fp32. Give that model",
        }
        assert wanted[name] in str(caught.value)
    with pytest.raises(
        EdgefrError, match=r"as stranger on .*, found a model without a fingerprint\. Give .* `edgefr export"
    ):
        open_backend(model, f"{triton.url}/stranger")


def test_another_precision_than_the_served_one_is_refused(triton: Tritonserver) -> None:
    assert open_backend(shipped_model(MINI), triton.url, "fp32").describe().precision == "fp32"
    with pytest.raises(EdgefrError, match=r"expected precision auto or fp32, .*found int8\. Use --precision fp32"):
        open_backend(shipped_model(MINI), triton.url, "int8")


def test_errors_of_the_server_are_errors_of_the_client(triton: Tritonserver, model: Path, faces: Faces) -> None:
    backend = open_backend(model, f"{triton.url}/faulty")
    with pytest.raises(EdgefrError, match=r"to run faulty, found a failure \(.*the faulty model failed\)\. See"):
        backend.infer({"image": np.zeros_like(faces)})
    with pytest.raises(
        EdgefrError, match=r"expected 448 bytes of embedding .* batch of 7, found 64 bytes of float32\. See"
    ):
        backend.infer({"image": np.ones_like(faces)})


def test_a_server_that_is_not_triton_is_an_error(tritonserver: object, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, ThreadPoolExecutor(1) as pool:

        def hang_up() -> None:
            connection, _ = deaf.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        pool.submit(hang_up)
        with pytest.raises(EdgefrError, match=r"^expected .* triton://127\.0\.0\.1.*found .*\. [A-Z]"):
            open_backend(model, f"triton://127.0.0.1:{deaf.getsockname()[1]}")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[..., ::-1])
    return path


def edgefr(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgefr", *map(str, arguments)]
    everything = {**os.environ, **environment}
    return subprocess.run(command, env=everything, capture_output=True, text=True, check=False, timeout=120)


def test_verify_reports_runtime_and_precision(triton: Tritonserver, photo: Path) -> None:
    told = edgefr("verify", photo, photo, "--runtime", triton.url, "--json")
    assert (told.returncode, told.stderr) == (0, "")
    document = json.loads(told.stdout)
    assert (document["runtime"], document["precision"]) == ("triton", "fp32")
    assert document["model_sha256"] == ModelFingerprint.of(shipped_model(MINI)).sha256


def test_parity_compares_a_server_with_this_machine(triton: Tritonserver, faces: Faces, tmp_path: Path) -> None:
    for number, face in enumerate(faces):
        (tmp_path / f"faces/{number}").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f"faces/{number}/face.png"), face)
    mini = shipped_model(MINI)
    told = edgefr("parity", f"{mini}@onnxruntime", f"{mini}@{triton.url}", "--faces", tmp_path / "faces", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["cosine_min"] > 0.99999


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    signed = builder.sign(key, hashes.SHA256())
    paths = folder / "server.crt", folder / "server.key"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths


def test_tls_needs_a_trusted_certificate(tritonserver: type[Tritonserver], photo: Path, tmp_path: Path) -> None:
    triton_from_model(shipped_model(MINI), tmp_path / "repository", python=True)
    known, key = certificate(tmp_path)
    options = ("--grpc-use-ssl=true", f"--grpc-server-cert={known}", f"--grpc-server-key={key}")
    server = tritonserver(tmp_path / "repository", tmp_path, *options)
    server.start()
    try:
        arguments = "verify", photo, photo, "--runtime", f"tritons://localhost:{server.port}"
        assert edgefr(*arguments, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(known)).returncode == 0
        told = edgefr(*arguments)
        assert told.returncode == 2
        assert told.stderr.startswith(
            f"edgefr: expected a Triton server that answers at tritons://localhost:{server.port}"
        )
        assert told.stderr.count("\n") == 1
    finally:
        server.kill()


def test_without_its_library_the_error_has_the_install_command(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient", None)
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("triton"))):
        open_backend(model, "triton://localhost")
    assert {runtime.name: runtime.version for runtime in available_runtimes()}["triton"] is None
