"""What made a gallery's templates, and what may stand beside them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.gallery.address import Address
from edgefr.manifest import model_digest
from edgefr.recognition.verifier import Verifier
from edgefr.types import FACE_SIZE, TEMPLATE

ALIGNMENT = "umeyama-1/" + hashlib.sha256(TEMPLATE.tobytes() + bytes([FACE_SIZE])).hexdigest()[:16]
"""How faces are cut out: the number is to rise when `face.align` cuts the same face otherwise, the digest is of where
the landmarks come to lie."""

MIXABLE = frozenset({"fp32", "bf16"})
"""Precisions of one model that may meet in a gallery. `bench/mixed_precision.py` enrolled 500 people of LFW in FP32 and
searched for them in bf16: the same nearest person for each, no decision other than in FP32 at an FMR of 1e-3, no
similarity changed by more than 0.005. The others were not measured."""


@dataclass(frozen=True)
class ModelBinding:
    """What made a gallery's templates; those of anything else mean nothing beside them."""

    model: str
    model_sha256: str
    detector: str
    alignment: str
    precision: str
    embedding_dim: int

    @classmethod
    def of(cls, verifier: Verifier) -> ModelBinding:
        """What this verifier's embeddings are made by."""
        recogniser = verifier.recogniser
        return cls(
            *_model_of(verifier),
            verifier.detector.name,
            ALIGNMENT,
            recogniser.description.precision,
            recogniser.embedding_dim,
        )

    def require_compatible(self, other: ModelBinding, path: Path | Address) -> None:
        """Refuse embeddings made by `other` in the gallery at `path`, which this is the binding of.

        Raises:
            EdgefrError: model, detector or alignment is another, or the precisions may not be mixed.
        """
        parts = (
            ("model", f"{self.model} ({self.model_sha256[:12]})", f"{other.model} ({other.model_sha256[:12]})"),
            ("detector", self.detector, other.detector),
            ("alignment", self.alignment, other.alignment),
            ("precision", self.precision, other.precision),
        )
        same = (
            self.model_sha256 == other.model_sha256,
            self.detector == other.detector,
            self.alignment == other.alignment,
            self.precision == other.precision or {self.precision, other.precision} <= MIXABLE,
        )
        for (what, made, found), fits in zip(parts, same, strict=True):
            if not fits:
                raise EdgefrError(
                    f"the {what} that {path} was made with, {made}",
                    found,
                    (
                        "use that one, or make the templates anew from kept crops with `edgefr gallery rebuild "
                        "--model MODEL`"
                    ),
                )


def _model_of(verifier: Verifier) -> tuple[str, str]:
    """Name and digest of the model; an engine's are those of the model that it was made from, for every update of a
    driver makes another engine of it.

    An INT8 engine's digest is also of the converted file that lies beside it: other faces to calibrate on give other
    embeddings.

    Raises:
        EdgefrError: the converted file is not there.
    """
    manifest = verifier.manifest
    made = {} if manifest is None else manifest.engine.get("key", {})
    if manifest is None or "onnx" not in made:
        return verifier.model.name, verifier.digest() or "none"
    if made["precision"] != "int8":
        return manifest.name, made["onnx"]
    converted = verifier.model.with_name("model.onnx")
    if not converted.is_file():
        raise EdgefrError(
            f"{converted}, which the INT8 engine beside it was made from",
            "none",
            "copy the engine's whole folder, or build it again with `edgefr build-engine`",
        )
    return manifest.name, hashlib.sha256((made["onnx"] + model_digest(converted)).encode()).hexdigest()
