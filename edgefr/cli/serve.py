"""edgefr serve"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.gallery_options import Access, PlainOption, open_or_create, with_access
from edgefr.cli.options import (
    NO_LIVENESS,
    DetectorOption,
    LivenessOption,
    LivenessThresholdOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    chosen_model,
    liveness_check,
)
from edgefr.cli.output import warn
from edgefr.cli.service_log import note, with_log_format
from edgefr.cli.tokens import DEFAULT_NAME, TokensOption, named_tokens
from edgefr.errors import InvalidArgumentError, NoThresholdError, require_extra

if TYPE_CHECKING:
    from edgefr.gallery.identifier import Identifier
    from edgefr.server.api.tokens import TokenSet


@with_log_format
@with_access
def serve(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. One that other machines reach needs a certificate, or a proxy with TLS."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8766,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file with the certificate of the server and its chain, for TLS.")
    ] = None,
    private_key: Annotated[Path | None, typer.Option(help="PEM file with the key of the certificate.")] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address or network of a proxy with TLS whose X-Forwarded-For and X-Forwarded-Proto are believed. May "
            "be repeated.",
        ),
    ] = None,
    tokens: TokensOption = None,
    fpir: Annotated[
        float, typer.Option(min=0, max=1, help="Share of strangers that may be taken for an enrolled person.")
    ] = 0.01,
    fmr: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Verify by the threshold at this false match rate. Default: 1e-3."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Similarity to identify and verify by, instead of the model's thresholds."),
    ] = None,
    attempts: Annotated[
        int,
        typer.Option(
            min=1,
            help="Faces that are not accepted which one token at one address may send a minute; then it has to wait.",
        ),
    ] = 300,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads that work on pictures. Default: one on each core.")
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option(min=0, max=10_000, help="Requests with pictures that may wait. Default: 8 for each worker."),
    ] = None,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings", help="Let tokens of the role admin read embeddings, which are biometric data."),
    ] = False,
    keep_crops: Annotated[
        bool, typer.Option("--keep-crops", help="Keep the aligned faces of enrolled people, for `gallery rebuild`.")
    ] = False,
    plain: PlainOption = False,
    *,
    access: Access,
    model: ModelOption = None,
    detector: DetectorOption = None,
    liveness: LivenessOption = None,
    liveness_threshold: LivenessThresholdOption = 0.5,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Serve an HTTP API to verify, identify and enrol.

    Requests need a token: make one with `edgefr tokens add`. A gallery that does not exist is created. The command ends
    on Ctrl-C or SIGTERM, after the requests that run. See docs/serve.md.
    """
    for module in ("uvicorn", "fastapi", "python_multipart", "prometheus_client"):
        require_extra(module, "serve")
    from edgefr.gallery.identifier import Identifier
    from edgefr.io.service_manager import ServiceManager
    from edgefr.recognition.verifier import Verifier
    from edgefr.server.api.api_server import ApiServer, Binding
    from edgefr.server.api.service import ApiService, ApiSettings
    from edgefr.server.api.worker_pool import WorkerPool

    if threshold is not None and fmr is not None:
        raise InvalidArgumentError("--threshold or --fmr", "both", "give one of them")
    binding = Binding(host, port, certificate, private_key, trusted_proxy or ())
    binding.check()
    accepted = _accepted_tokens(tokens)
    settings = ApiSettings(fmr, threshold, embeddings, keep_crops, attempts, binding.needs_tls)
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision)
    verifier.liveness = liveness_check(liveness, liveness_threshold)
    if verifier.liveness is None:
        note(NO_LIVENESS)
    verifier.threshold(threshold, fmr)  # a model without one is an error now, and not at the first request
    with ExitStack() as stack:
        opened = stack.enter_context(open_or_create(access, plain, verifier))
        identifier = Identifier(verifier, opened, fpir, threshold, lambda text: warn(f"edgefr: {text}"))
        _check_threshold(identifier)
        pool = WorkerPool(verifier, workers, queue)
        stack.callback(pool.close)
        server = ApiServer(
            ApiService(identifier, pool, accepted, settings, warn), binding, ServiceManager.from_environment()
        )
        warn(f"edgefr: the API is at {server.url}/v1")
        server.run()


def _accepted_tokens(tokens: Path | None) -> TokenSet:
    """The tokens of the environment and of the file. The default file need not exist, nor a home directory."""
    from edgefr.io.user_folders import user_folder
    from edgefr.server.api.tokens import TokenSet, read_tokens, tokens_of_environment

    found, file = tokens_of_environment(), named_tokens(tokens)
    if file is None and (home := user_folder("data")) is not None and (home / DEFAULT_NAME).exists():
        file = home / DEFAULT_NAME
    return TokenSet(found if file is None else [*found, *read_tokens(file)])


def _check_threshold(identifier: Identifier) -> None:
    """Warn if nobody can be identified yet; people may be removed. A model without any threshold is an error."""
    try:
        _ = identifier.threshold
    except NoThresholdError as error:
        warn(f"edgefr: nobody is identified: {error}")
