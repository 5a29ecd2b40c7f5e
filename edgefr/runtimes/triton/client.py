"""A model on a Triton server, called over gRPC.

The server must run the model of this machine, or an engine of it. Its configuration names the model by a fingerprint,
and a model without a matching fingerprint is refused.

Triton's stubs are called directly, because the methods of `tritonclient.grpc.InferenceServerClient` may not be called
from several threads.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from edgefr.errors import (
    EdgefrError,
    InvalidArgumentError,
    UnavailableError,
    WrongModelError,
    install_command,
    require_extra,
)
from edgefr.runtimes.base import Array, Description, Runtime, check_inputs, infer_in_parts, last_line
from edgefr.runtimes.triton.messages import add_inputs, parse_fingerprints, parse_outputs, parse_tensors
from edgefr.runtimes.triton.model_fingerprint import ModelFingerprint, default_model_name
from edgefr.runtimes.triton.server_address import Address

RUNTIME = "triton"

INFER_TIMEOUT = 30.0
"""Seconds for a batch, including the queue of the server."""

METADATA_TIMEOUT = 5.0
"""Seconds for a request about the model."""

RETRY_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each retry if a server that answered before is unavailable, for example because it restarts."""

VERIFIED_SECONDS = 1.0
"""Seconds for which a fingerprint stays verified. A server hardly restarts with another model in less time."""

MAX_RESPONSE_BYTES = 64 << 20
"""1024 embeddings of 2048 numbers are 8 MiB."""

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),  # gRPC's default is two minutes
)

T = TypeVar("T")


class TritonBackend:
    """A model as a server runs it."""

    def __init__(self, path: Path, url: str, precision: str = "auto", timeout: float = INFER_TIMEOUT) -> None:
        """Connect and verify the model.

        Args:
            path: The .onnx file or engine (.plan) that is served, or the FP32 .onnx file of the engine that is served.
            url: `triton://HOST[:PORT][/NAME]`. Without a name the model has the name of `path`.
            precision: The precision of the model on the server, or "auto".
            timeout: Seconds for a batch.

        Raises:
            InvalidArgumentError: The URL or the precision is not valid.
            MissingExtraError: tritonclient is not installed.
            UnavailableError: No server answers.
            WrongModelError: It serves another model.
        """
        self._address = Address.parse(url)
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its messages on stderr also arrive as exceptions
        self._grpc = require_extra("grpc", "triton")
        require_extra("tritonclient.grpc", "triton")
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        self._messages, self._timeout = service_pb2, timeout
        self._name = self._address.model or default_model_name(path)
        digest = ModelFingerprint.of(path).sha256
        channel = self._open_channel()
        weakref.finalize(self, channel.close)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata, config = self._retry(lambda: (self._metadata(), self._config()), delays=())
        self._max_batch = max(1, config.max_batch_size)
        fingerprints = parse_fingerprints(config)
        self._version, self._fingerprint = self._newest_version(metadata.versions, fingerprints, digest, path)
        self._verified_at = monotonic()
        served = self._fingerprint.precision
        if precision not in ("auto", served):
            raise InvalidArgumentError(
                f"precision auto or {served}, which {self._name} on {self._address} computes in",
                precision,
                f"use --precision {served}",
            )
        inputs, outputs = parse_tensors(metadata.inputs), parse_tensors(metadata.outputs)
        self._description = Description(RUNTIME, served, inputs, outputs)

    def describe(self) -> Description:
        return self._description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return infer_in_parts(check_inputs(inputs, self._description), self._max_batch, self._run)

    def _run(self, feed: dict[str, Array], batch: int) -> dict[str, Array]:
        request = self._messages.ModelInferRequest(model_name=self._name, model_version=self._version)
        add_inputs(request, feed)

        def call() -> Any:
            if monotonic() - self._verified_at > VERIFIED_SECONDS:
                self._verify()
            return self._stub.ModelInfer(request, timeout=self._timeout)

        return parse_outputs(self._retry(call, RETRY_DELAYS), self._description.outputs, batch)

    def _verify(self) -> None:
        """Check that the server still runs the same model in this version."""
        fingerprint = parse_fingerprints(self._config()).get(self._version)
        if fingerprint != self._fingerprint:
            expected = f"{self._fingerprint.sha256[:12]}, which was there before,"
            raise self._wrong_model(expected, [fingerprint] if fingerprint else [])
        self._verified_at = monotonic()

    def _newest_version(
        self, running: list[str], known: dict[str, ModelFingerprint], digest: str, path: Path
    ) -> tuple[str, ModelFingerprint]:
        """The newest running version that stands for the model with `digest`."""
        exported = {version: known[version] for version in sorted(running, key=_version_number) if version in known}
        fitting = [version for version, fingerprint in exported.items() if fingerprint.stands_for(digest)]
        if not fitting:
            raise self._wrong_model(f"{digest[:12]} of {path}", list(exported.values()))
        return fitting[-1], exported[fitting[-1]]

    def _wrong_model(self, expected: str, served: list[ModelFingerprint]) -> WrongModelError:
        found = ", ".join(f"{fingerprint.sha256[:12]} {fingerprint.precision}" for fingerprint in served)
        return WrongModelError(
            f"the model {expected} as {self._name} on {self._address}",
            found or "a model without a fingerprint",
            "give that model with --model, or serve this one with `edgefr export --triton`",
        )

    def _metadata(self) -> Any:
        request = self._messages.ModelMetadataRequest(name=self._name)
        return self._stub.ModelMetadata(request, timeout=METADATA_TIMEOUT)

    def _config(self) -> Any:
        return self._stub.ModelConfig(
            self._messages.ModelConfigRequest(name=self._name), timeout=METADATA_TIMEOUT
        ).config

    def _open_channel(self) -> Any:
        """With TLS the certificate must be signed by an authority that gRPC trusts, or by one in the file that
        $GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names."""
        if self._address.tls:
            credentials = self._grpc.ssl_channel_credentials()
            return self._grpc.secure_channel(self._address.target, credentials, CHANNEL_OPTIONS)
        return self._grpc.insecure_channel(self._address.target, CHANNEL_OPTIONS)

    def _retry(self, call: Callable[[], T], delays: tuple[float, ...]) -> T:
        """The result of `call`, which is repeated after each of `delays` while the server is unavailable."""
        for delay in (*delays, None):
            try:
                return call()
            except self._grpc.RpcError as error:
                if delay is None or error.code() is not self._grpc.StatusCode.UNAVAILABLE:
                    raise self._rpc_error(error, len(delays) + 1) from error
            self._verified_at = -inf  # another model may run after a restart
            sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def _rpc_error(self, error: Any, attempts: int) -> EdgefrError:
        """Our error for one of gRPC or of the server."""
        code, details = error.code(), last_line(Exception(error.details()))
        status = self._grpc.StatusCode
        if code is status.UNAVAILABLE:
            times = "" if attempts == 1 else f" in {attempts} attempts"
            return UnavailableError(
                f"a Triton server that answers at {self._address}",
                f"none{times} ({details})",
                "start it with `tritonserver --model-repository REPO`, or correct --runtime",
            )
        if code is status.DEADLINE_EXCEEDED:
            return UnavailableError(
                f"an answer from {self._address} within {METADATA_TIMEOUT:g} s, or {self._timeout:g} s for a batch",
                "none",
                "use a smaller --batch, or check the server",
            )
        if code is status.NOT_FOUND:
            return WrongModelError(
                f"the model {self._name} on {self._address}",
                f"no such model ({details})",
                f"name another as {self._address}/NAME, or add it with `edgefr export --triton`",
            )
        return EdgefrError(f"{self._address} to run {self._name}", f"a failure ({details})", "see the server's log")


def _version_number(version: str) -> int:
    return int(version) if version.isdecimal() else 0


RUNTIMES = (
    Runtime(
        RUNTIME,
        open=lambda path, url, precision, _threads: TritonBackend(path, url, precision),
        install_command=lambda: install_command("triton"),
        modules=("tritonclient",),
        packages=("tritonclient",),
        formats=("fp16", "int8", "fp32"),
        url="triton://HOST:PORT/NAME",
    ),
)
