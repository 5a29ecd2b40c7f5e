"""A model that a Triton server runs, asked over gRPC.

The server's model is this machine's own, or an engine of it: its configuration says which it is (served.py), and
nothing is believed of one that says something else, or nothing.

Triton's stubs are called directly, not through `tritonclient.grpc.InferenceServerClient`, whose methods may not be
called from several threads.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import numpy as np

from edgefr.errors import EdgefrError, require_extra
from edgefr.runtimes.base import Array, Description, check_inputs, last_line
from edgefr.runtimes.triton.messages import add_inputs, outputs_of, tensors_of, versions_of
from edgefr.runtimes.triton.model_fingerprint import ModelFingerprint, fingerprint_name
from edgefr.runtimes.triton.server_address import Address

RUNTIME = "triton"

DEADLINE = 30.0
"""Seconds that a batch may take, the server's queue included."""

QUESTION = 5.0
"""Seconds that a question about the model may take."""

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt to reach a server that answered once: it is being restarted, perhaps."""

TRUSTED = 1.0
"""Seconds for which a model is taken to be the one that it was: hardly a server is restarted with another in less."""

LARGEST_ANSWER = 64 << 20
"""Bytes. 1024 embeddings of 2048 numbers are 8 MiB."""

CHANNEL = (
    ("grpc.max_receive_message_length", LARGEST_ANSWER),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),  # gRPC's own would be two minutes
)

T = TypeVar("T")


class TritonBackend:
    """The model `path` as a server runs it.

    Args:
        path: the .onnx file or engine (.plan) that is served, or the FP32 .onnx file that the server's engine is of.
        url: `triton://HOST[:PORT][/NAME]`; without a name the model is called as `path` is.
        precision: what the server's model computes in, or "auto".
        deadline: seconds that a batch may take.

    Raises:
        EdgefrError: tritonclient is missing, no server answers, or it serves another model.
    """

    def __init__(self, path: Path, url: str, precision: str = "auto", deadline: float = DEADLINE) -> None:
        self._address = Address.parse(url)
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it writes to stderr comes as an exception, too
        self._grpc = require_extra("grpc", "triton")
        require_extra("tritonclient.grpc", "triton")
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        self._messages, self._deadline = service_pb2, deadline
        self._name = self._address.model or fingerprint_name(path)
        digest = ModelFingerprint.of(path).sha256
        channel = self._channel()
        weakref.finalize(self, channel.close)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata, config = self._patiently(lambda: (self._metadata(), self._config()), waits=())
        self._largest = max(1, config.max_batch_size)
        self._version, self._served = self._newest(metadata.versions, versions_of(config), digest, path)
        self._seen = monotonic()
        made = self._served.precision
        if precision not in ("auto", made):
            raise EdgefrError(
                f"precision auto or {made}, which {self._name} on {self._address} computes in",
                precision,
                f"use --precision {made}",
            )
        self._description = Description(
            RUNTIME,
            made,
            tensors_of(metadata.inputs),
            tensors_of(metadata.outputs),
        )

    def describe(self) -> Description:
        return self._description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        feed = check_inputs(inputs, self._description)
        total = len(next(iter(feed.values())))
        parts = []
        for start in range(0, total, self._largest):
            part = {name: array[start : start + self._largest] for name, array in feed.items()}
            parts.append(self._run(part, min(self._largest, total - start)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run(self, feed: dict[str, Array], batch: int) -> dict[str, Array]:
        request = self._messages.ModelInferRequest(model_name=self._name, model_version=self._version)
        add_inputs(request, feed)

        def ask() -> Any:
            if monotonic() - self._seen > TRUSTED:
                self._insist()
            return self._stub.ModelInfer(request, timeout=self._deadline)

        return outputs_of(self._patiently(ask, WAITS), self._description.outputs, batch)

    def _insist(self) -> None:
        """Ask whether the server still runs as this version what it did.

        Raises:
            EdgefrError: it does not.
        """
        found = versions_of(self._config()).get(self._version)
        if found != self._served:
            raise self._another(f"{self._served.sha256[:12]} that it ran before", [found] if found else [])
        self._seen = monotonic()

    def _newest(
        self, running: list[str], known: dict[str, ModelFingerprint], digest: str, path: Path
    ) -> tuple[str, ModelFingerprint]:
        """The newest version that the server runs of the model of `digest`.

        Raises:
            EdgefrError: it runs none.
        """
        exported = {version: known[version] for version in sorted(running, key=_number) if version in known}
        fitting = [version for version, served in exported.items() if served.stands_for(digest)]
        if not fitting:
            raise self._another(f"{digest[:12]} of {path}", list(exported.values()))
        return fitting[-1], exported[fitting[-1]]

    def _another(self, wanted: str, found: list[ModelFingerprint]) -> EdgefrError:
        told = ", ".join(f"{served.sha256[:12]} {served.precision}" for served in found)
        return EdgefrError(
            f"the model {wanted} as {self._name} on {self._address}",
            str(told or "one that does not say"),
            "give that one with --model, or serve this one with `edgefr export --triton`",
        )

    def _metadata(self) -> Any:
        return self._stub.ModelMetadata(self._messages.ModelMetadataRequest(name=self._name), timeout=QUESTION)

    def _config(self) -> Any:
        return self._stub.ModelConfig(self._messages.ModelConfigRequest(name=self._name), timeout=QUESTION).config

    def _channel(self) -> Any:
        """For TLS the server's certificate has to be of an authority that gRPC knows, or of one in the file that
        $GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names."""
        if self._address.tls:
            return self._grpc.secure_channel(self._address.target, self._grpc.ssl_channel_credentials(), CHANNEL)
        return self._grpc.insecure_channel(self._address.target, CHANNEL)

    def _patiently(self, ask: Callable[[], T], waits: tuple[float, ...]) -> T:
        """What `ask` gives; a server that cannot be reached is asked again after each of `waits`.

        Raises:
            EdgefrError: it cannot be reached, is too slow, or refuses.
        """
        for wait in (*waits, None):
            try:
                return ask()
            except self._grpc.RpcError as error:
                if wait is None or error.code() is not self._grpc.StatusCode.UNAVAILABLE:
                    raise self._failed(error, len(waits) + 1) from error
            self._seen = -inf  # who answers next may be another
            sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _failed(self, error: Any, attempts: int) -> EdgefrError:
        """gRPC's or the server's refusal as one sentence."""
        code, told = error.code(), last_line(Exception(error.details()))
        status = self._grpc.StatusCode
        if code is status.UNAVAILABLE:
            times = "" if attempts == 1 else f" in {attempts} attempts"
            return EdgefrError(
                f"a Triton server that answers at {self._address}",
                f"none{times} ({told})",
                "start it with `tritonserver --model-repository REPO`, or correct --runtime",
            )
        if code is status.DEADLINE_EXCEEDED:
            return EdgefrError(
                f"{self._address} to answer a question in {QUESTION:g} s and a batch in {self._deadline:g} s",
                "that it does not",
                "use a smaller --batch, or look whether the server is at work",
            )
        if code is status.NOT_FOUND:
            return EdgefrError(
                f"the model {self._name} on {self._address}",
                f"that the server has none ({told})",
                f"name another as {self._address}/NAME, or add it with `edgefr export --triton`",
            )
        return EdgefrError(f"{self._address} to run {self._name}", f"that it fails ({told})", "see the server's log")


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
