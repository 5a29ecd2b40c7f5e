"""Whether a model may search a gallery: the file that it was enrolled with, or a file of the same net."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from edgefr.errors import MissingExtraError, UnavailableError, WrongModelError
from edgefr.gallery.base import Gallery
from edgefr.gallery.embedding_contract import EmbeddingContract
from edgefr.gallery.model_binding import MIXABLE, REBUILD_ADVICE, ModelBinding
from edgefr.gallery.records import Event
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.recognition.verifier import Verifier


def require_model(gallery: Gallery, verifier: Verifier, on_notice: Callable[[str], None]) -> None:
    """Check that a model fits a gallery. A file with another digest is measured, unless it was before.

    A file that gives the same embeddings as the model of the gallery is accepted, which `on_notice`, the log and the
    gallery are told. On media that cannot be written it is measured at every opening.

    Args:
        gallery: The gallery.
        verifier: The model.
        on_notice: Receives a sentence about a file that is accepted.

    Raises:
        WrongModelError: It is another model, its embeddings cannot be compared, or nothing is known to compare it by.
    """
    binding, found = gallery.binding, ModelBinding.of(verifier)
    if is_known(gallery, found.model_sha256) or not _differs_in_file_alone(binding, found):
        require_known(gallery, found)
        return
    contract, recogniser = gallery.contract(), _fp32(verifier)
    own, other = binding.model_text, found.model_text
    if contract is None or recogniser is None:
        reason = "which cannot be compared, because the gallery does not hold what its model computes"
        if contract is not None:
            reason = "which is not in FP32"
        raise WrongModelError(
            f"the model of {gallery.path}, {own}",
            f"{other}, {reason}",
            f"use that one, whose next enrolment in FP32 lets other files of the same net in, or {REBUILD_ADVICE}",
        )
    compared = contract.compare(recogniser)
    if compared.difference:
        raise WrongModelError(
            f"the model of {gallery.path}, {own}",
            f"{other}, which gives {compared.difference}",
            f"use that one, or {REBUILD_ADVICE}",
        )
    measured = f"lowest cosine 1 - {max(0.0, 1 - compared.lowest_cosine):.1e} of {compared.pictures} pictures"
    accepted = contract.accepting(found.model_sha256)
    _keep(gallery, accepted, [Event.now("accepted", detail=f"{other} gives the embeddings of {own}: {measured}")])
    on_notice(
        f"{gallery.path} was enrolled with {own}; {other} is accepted because it is the same net ({measured}), and "
        "decides by its own thresholds"
    )


def require_known(gallery: Gallery, binding: ModelBinding) -> None:
    """Check that templates of a binding fit a gallery, by what was measured before.

    Raises:
        WrongModelError: They do not.
    """
    own = gallery.binding
    if is_known(gallery, binding.model_sha256):
        binding = replace(binding, model=own.model, model_sha256=own.model_sha256)
    own.require_compatible(binding, gallery.path)


def is_known(gallery: Gallery, model_sha256: str) -> bool:
    """Whether a digest is that of the gallery's model, or of a file that was accepted."""
    if model_sha256 == gallery.binding.model_sha256:
        return True
    contract = gallery.contract()
    return contract is not None and model_sha256 in contract.accepted


def record_model(gallery: Gallery, verifier: Verifier) -> None:
    """Keep what the model of a gallery computes, if it is not kept yet and this is the model in FP32 or bf16."""
    binding = gallery.binding
    if ModelBinding.of(verifier).model_sha256 != binding.model_sha256 or gallery.contract() is not None:
        return
    if (recogniser := _fp32(verifier)) is not None:
        _keep(gallery, EmbeddingContract.of(binding.model_sha256, recogniser), [])


def _differs_in_file_alone(binding: ModelBinding, found: ModelBinding) -> bool:
    return binding.mismatch(replace(found, model=binding.model, model_sha256=binding.model_sha256)) is None


def _fp32(verifier: Verifier) -> Recogniser | None:
    """The recogniser in FP32. One that runs in bf16 is opened again; None in other precisions, for bf16 engines, and
    without onnxruntime.

    In bf16 the same net differs so much between runtimes that a fine-tuned one would pass, too.
    """
    precision = verifier.recogniser.description.precision
    if precision == "fp32":
        return verifier.recogniser
    if precision in MIXABLE and verifier.model.suffix.lower() == ".onnx":
        with suppress(MissingExtraError):  # a device may have OpenVINO only
            return open_recogniser(verifier.model, "onnxruntime", "fp32")
    return None


def _keep(gallery: Gallery, contract: EmbeddingContract, events: list[Event]) -> None:
    """Keep a contract, unless the gallery cannot be written."""
    try:
        gallery.keep_contract(contract, events)
    except UnavailableError:  # read-only media and full disks must not make a search fail
        return
