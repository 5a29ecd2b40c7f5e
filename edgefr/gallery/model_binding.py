"""The models that the templates of a gallery come from, and which templates can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from edgefr.errors import UnavailableError, WrongModelError
from edgefr.gallery.address import Address
from edgefr.gallery.record_checks import MAX_DIM, InvalidRecordError, check_integer, check_text
from edgefr.manifest import Manifest, model_digest
from edgefr.recognition.verifier import Verifier
from edgefr.types import FACE_SIZE, TEMPLATE

ALIGNMENT = "umeyama-1/" + hashlib.sha256(TEMPLATE.tobytes() + bytes([FACE_SIZE])).hexdigest()[:16]
"""Version of the alignment. Increase the number when `recognition.alignment` crops the same face differently; the
digest covers the positions of the landmarks."""

MIXABLE = frozenset({"fp32", "bf16"})
"""Precisions of one model whose templates can be compared. `bench/mixed_precision.py` enrolled 500 people of LFW in
FP32 and searched in bf16: the nearest person was always the same, all decisions at FMR 1e-3 were the same, and no
similarity changed by more than 0.005. Other precisions were not measured."""

REBUILD_ADVICE = "re-embed the gallery from its kept crops with `edgefr gallery rebuild --model MODEL`"
"""What to do with a gallery of another model."""

LONGEST_TEXT = 1024
"""Characters of a name or a digest in a binding."""


@dataclass(frozen=True)
class ModelBinding:
    """The models that templates come from. Templates of different models cannot be compared.

    Attributes:
        model: Name of the recogniser.
        model_sha256: Its digest.
        detector: Name of the detector.
        alignment: Version of the alignment.
        precision: Precision of the recogniser.
        embedding_dim: K.
    """

    model: str
    model_sha256: str
    detector: str
    alignment: str
    precision: str
    embedding_dim: int

    @classmethod
    def from_dict(cls, raw: object) -> ModelBinding:
        """Read the fields from JSON.

        Raises:
            InvalidRecordError: They are not those of a binding.
        """
        if not isinstance(raw, dict) or set(raw) != {field.name for field in fields(cls)}:
            raise InvalidRecordError.of("the model of a gallery", raw)
        dim = check_integer(raw["embedding_dim"], "the length of embeddings", 1, MAX_DIM)
        texts = {key: check_text(raw[key], f"the {key}", LONGEST_TEXT) for key in raw if key != "embedding_dim"}
        return cls(**texts, embedding_dim=dim)

    @classmethod
    def of(cls, verifier: Verifier) -> ModelBinding:
        """The binding of embeddings from a verifier."""
        recogniser = verifier.recogniser
        return cls(
            *model_identity(verifier.model, verifier.manifest, verifier.digest),
            verifier.detector.name,
            ALIGNMENT,
            recogniser.description.precision,
            recogniser.embedding_dim,
        )

    @property
    def model_text(self) -> str:
        """Name and digest of the model, for messages."""
        return f"{self.model} ({self.model_sha256[:12]})"

    def require_compatible(self, other: ModelBinding, path: Path | Address) -> None:
        """Check that embeddings can be compared with the templates of this binding.

        Args:
            other: The binding of the embeddings.
            path: The gallery or folder of this binding, for the error.

        Raises:
            WrongModelError: Model, detector, alignment or length of embeddings differ, or the precisions cannot be
                mixed.
        """
        if (mismatch := self.mismatch(other)) is not None:
            what, own, found = mismatch
            raise WrongModelError(f"the {what} of {path}, {own}", found, f"use that one, or {REBUILD_ADVICE}")

    def mismatch(self, other: ModelBinding) -> tuple[str, str, str] | None:
        """The first part in which embeddings differ from the templates of this binding: its name, and both values.
        None if they can be compared."""
        parts = (
            ("model", self.model_text, other.model_text),
            ("detector", self.detector, other.detector),
            ("alignment", self.alignment, other.alignment),
            ("precision", self.precision, other.precision),
            ("length of embeddings", str(self.embedding_dim), str(other.embedding_dim)),
        )
        same = (
            self.model_sha256 == other.model_sha256,
            self.detector == other.detector,
            self.alignment == other.alignment,
            self.precision == other.precision or {self.precision, other.precision} <= MIXABLE,
            self.embedding_dim == other.embedding_dim,
        )
        return next((part for part, fits in zip(parts, same, strict=True) if not fits), None)


def model_identity(model: Path, manifest: Manifest | None, digest: Callable[[], str | None]) -> tuple[str, str]:
    """Name and digest of a model.

    An engine has those of its ONNX model, because every driver update builds another engine from it. The digest of an
    INT8 engine also covers the quantised file beside it, because other calibration faces give other embeddings.

    Args:
        model: File of the model.
        manifest: Its manifest.
        digest: Computes the digest of the file, None for the fake model.

    Raises:
        UnavailableError: A file that belongs to the engine is missing.
    """
    key = {} if manifest is None else manifest.engine.get("key", {})
    if manifest is None or "onnx" not in key:
        return model.name, digest() or "none"
    if key["precision"] != "int8":
        return manifest.name, key["onnx"]
    quantised = model.with_name("model.onnx")
    if not quantised.is_file():
        raise UnavailableError(
            f"{quantised}, which belongs to the INT8 engine",
            "no such file",
            "copy the engine's whole folder, or build it again with `edgefr build-engine`",
        )
    return manifest.name, hashlib.sha256((key["onnx"] + model_digest(quantised)).encode()).hexdigest()
