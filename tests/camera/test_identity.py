"""How many views in a row agree on a person, and how near the next one is."""

from __future__ import annotations

import numpy as np
import pytest

from edgefr.camera.identity import Identity
from edgefr.detection.base import Face
from edgefr.gallery.base import Hit
from edgefr.gallery.identifier import Identification
from edgefr.gallery.threshold import DecisionThreshold
from edgefr.recognition.verifier import EmbeddedFace
from edgefr.types import TEMPLATE, Floats

THRESHOLD = DecisionThreshold(0.6, 0.01, "a test")
LIKE, UNLIKE = np.eye(2, dtype=np.float32)
"""Embeddings of one person, and of somebody else."""


def view(embedding: Floats = LIKE) -> EmbeddedFace:
    face = Face((0, 0, 112, 112), TEMPLATE.astype(np.float32), 0.9)
    return EmbeddedFace("frame", face, embedding, 20.0, None, 2.0)


def found(ada: float, grace: float) -> Identification:
    hits = sorted([Hit("Ada", ada), Hit("Grace", grace)], key=lambda hit: -hit.similarity)
    return Identification(hits[0].name if hits[0].similarity >= THRESHOLD.value else None, tuple(hits), THRESHOLD)


def after(*answers: tuple[float, float]) -> Identity:
    """An identity after views for which the gallery gives these similarities to Ada and Grace."""
    identity = Identity()
    for number, similarities in enumerate(answers):
        identity.update(view(), float(number), lambda _, pair=similarities: found(*pair), 0.3)  # type: ignore[misc]
    return identity


@pytest.mark.parametrize(
    ("answers", "name", "agreeing"),
    [
        ([(0.8, 0.1)], None, 1),
        ([(0.8, 0.1)] * 3, "Ada", 3),
        ([(0.8, 0.1), (0.8, 0.1), (0.1, 0.8)], "Grace", 1),
        ([(0.8, 0.1), (0.1, 0.8), (0.8, 0.1)], "Ada", 1),
        ([(0.8, 0.1), (0.8, 0.1), (0.57, 0.1)], "Ada", 0),
        ([(0.8, 0.1), (0.8, 0.1), (0.57, 0.1), (0.8, 0.1)], "Ada", 1),
        ([(0.1, 0.1)] * 4, None, 0),
    ],
)
def test_views_agree_if_the_gallery_gives_the_same_person(
    answers: list[tuple[float, float]], name: str | None, agreeing: int
) -> None:
    identity = after(*answers)
    assert (identity.name, identity.agreeing) == (name, agreeing)
    assert identity.decided_at == len(answers) - 1


def test_the_rival_is_the_most_similar_other_person() -> None:
    assert after((0.8, 0.7), (0.8, 0.7)).rival == 0.7
    assert after((0.8, 0.1), (0.8, 0.1), (0.57, 0.59)).rival == 0.59, "Ada keeps her name, and Grace is nearer"


def test_a_view_of_somebody_else_ends_the_agreement_at_once() -> None:
    identity = after(*[(0.8, 0.1)] * 3)
    assert not identity.update(view(UNLIKE), 3.0, lambda _: found(0.8, 0.1), 0.3)
    assert (identity.name, identity.agreeing) == ("Ada", 0)
