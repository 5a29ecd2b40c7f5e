"""What the recogniser of a gallery computes, by which the same net is known in another file.

A contract holds the embeddings of a few generated pictures. It is kept encrypted beside the binding, so that older
versions read the gallery, too: they accept the file that the binding names, and no other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgefr.data.generated_pictures import generated_pictures
from edgefr.recognition.recogniser import Embeddings, Recogniser
from edgefr.types import Floats

SAME_NET = 0.99999
"""Cosine above which two FP32 embeddings of a picture are those of one net, as the parity gate demands of an FP32
engine. If that holds for a face as well, no similarity to it differs by more than 0.005."""
SAME_NORM = 0.01
"""Largest relative difference of norms, which weight the images of a person."""
SAME_UNCERTAINTY = 0.02
"""Largest difference of uncertainties (log-variances), which weight them as well: 2 % of a weight."""
PICTURES, MOST_NUMBERS = 8, 10_000
"""Number of pictures, and of all numbers of their embeddings: Milvus stores at most 48 KiB in a field."""
MOST_ACCEPTED = 50
"""Files that are remembered. The oldest one is measured again if there are more."""


@dataclass(frozen=True)
class Comparison:
    """How a net compares with the one of a contract.

    Attributes:
        lowest_cosine: Lowest cosine of the embeddings of a picture.
        pictures: Number of pictures.
        difference: What differs, as a part of a sentence; empty if it is the same net.
    """

    lowest_cosine: float
    pictures: int
    difference: str


@dataclass(frozen=True)
class EmbeddingContract:
    """The outputs of a recogniser for generated pictures, and the other files that give the same.

    Attributes:
        model_sha256: Digest of the recogniser, as in the binding of the gallery.
        outputs: Embeddings (N, K), norms and uncertainties, computed in FP32.
        accepted: Digests of other files of the same net.
    """

    model_sha256: str
    outputs: Embeddings
    accepted: tuple[str, ...] = ()

    @classmethod
    def of(cls, model_sha256: str, recogniser: Recogniser) -> EmbeddingContract:
        """Measure a recogniser that runs in FP32."""
        pictures = min(PICTURES, max(1, MOST_NUMBERS // recogniser.embedding_dim))
        return cls(model_sha256, recogniser.embed(generated_pictures(pictures)))

    def accepting(self, model_sha256: str) -> EmbeddingContract:
        """The contract with a further file."""
        kept = [digest for digest in self.accepted if digest != model_sha256]
        return replace(self, accepted=(*kept, model_sha256)[-MOST_ACCEPTED:])

    def compare(self, recogniser: Recogniser) -> Comparison:
        """Compare a recogniser that runs in FP32 and gives embeddings of the same length."""
        ours = self.outputs
        theirs = recogniser.embed(generated_pictures(len(ours.embedding)))
        cosines = _unit(ours.embedding) * _unit(theirs.embedding)
        lowest = float(cosines.sum(1).min())
        difference = ""
        if not lowest > SAME_NET:
            difference = f"a lowest cosine of {lowest:.6f}, where one net gives more than {SAME_NET}"
        elif not np.abs(theirs.norm / ours.norm - 1).max() <= SAME_NORM:
            difference = "the same directions, but other norms, by which images are weighted"
        elif not _alike(ours.uncertainty, theirs.uncertainty):
            difference = "the same directions, but another uncertainty, by which images are weighted"
        return Comparison(lowest, len(cosines), difference)

    def to_bytes(self) -> bytes:
        uncertainty = self.outputs.uncertainty
        meta = {
            "model_sha256": self.model_sha256,
            "accepted": self.accepted,
            "norm": self.outputs.norm.tolist(),
            "uncertainty": None if uncertainty is None else uncertainty.tolist(),
        }
        return json.dumps(meta).encode() + b"\n" + self.outputs.embedding.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, record: bytes) -> EmbeddingContract | None:
        """Read the result of `to_bytes`; None for something else, such as the contract of a later version."""
        line, _, raw = record.partition(b"\n")
        try:
            meta = json.loads(line)
            embedding = np.frombuffer(raw, "<f4").astype(np.float32).reshape(len(meta["norm"]), -1)
            uncertainty = meta["uncertainty"]
            outputs = Embeddings(
                embedding, _numbers(meta["norm"]), None if uncertainty is None else _numbers(uncertainty)
            )
            return cls(str(meta["model_sha256"]), outputs, tuple(map(str, meta["accepted"])))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


def _numbers(values: Sequence[float]) -> Floats:
    return np.array(values, np.float32)


def _unit(embedding: Floats) -> Floats:
    wide = embedding.astype(np.float64)
    unit: Floats = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


def _alike(ours: Floats | None, theirs: Floats | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return bool(np.abs(ours - theirs).max() <= SAME_UNCERTAINTY)
