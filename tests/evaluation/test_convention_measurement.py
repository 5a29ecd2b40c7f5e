"""The convention that separates people best is found, and a guess is refused."""

from __future__ import annotations

import numpy as np
import pytest

from edgefr.evaluation.convention_measurement import ProbeSet, UnclearConventionError, measure_conventions

PEOPLE = 400


def probe_set() -> ProbeSet:
    """Two pictures of each person; the first pixel of a picture holds its number, by which `embed` finds it."""
    count = 2 * PEOPLE
    references = np.zeros((count, 112, 112, 3), np.uint8)
    references[:, 0, 0, 0], references[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    probes = references.copy()
    probes[:, 0, 0, 2] = 1
    return ProbeSet(references, probes, np.repeat(np.arange(PEOPLE), 2))


SET = probe_set()
RNG = np.random.default_rng(0)
IDENTITY = RNG.normal(size=(PEOPLE, 64)).astype(np.float32)
NOISE = RNG.normal(size=(2, 2 * PEOPLE, 64)).astype(np.float32)


def embedder(*noises: float):
    """Candidate -> identities with that much noise; the noise of a picture is the same for every candidate."""

    def embed(index: int, faces: np.ndarray) -> np.ndarray:
        number = faces[:, 0, 0, 0].astype(int) + 256 * faces[:, 0, 0, 1].astype(int)
        kind = faces[:, 0, 0, 2].astype(int)
        return IDENTITY[number // 2] + noises[index] * NOISE[kind, number]

    return embed


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_best_candidate_comes_first_wherever_it_stands(best: int) -> None:
    noises = [1.6, 1.6, 1.6]
    noises[best] = 1.2
    table = measure_conventions(embedder(*noises), ["a", "b", "c"], SET)
    assert table[0].index == best
    assert table[0].behind == (0, 0, 0)
    assert all(entry.behind[1] > 0 for entry in table[1:])


def test_candidates_with_the_same_embeddings_count_as_one() -> None:
    table = measure_conventions(embedder(1.2, 1.2, 1.6), ["a", "b", "c"], SET)
    assert (table[0].name, table[0].alike) == ("a", ("b",))
    assert {entry.name for entry in table} == {"a", "c"}


def test_candidates_that_cannot_be_told_apart_are_refused() -> None:
    other = np.random.default_rng(1).normal(size=NOISE.shape).astype(np.float32)

    def embed(index: int, faces: np.ndarray) -> np.ndarray:
        number = faces[:, 0, 0, 0].astype(int) + 256 * faces[:, 0, 0, 1].astype(int)
        noise = (NOISE, other)[index][faces[:, 0, 0, 2].astype(int), number]
        return IDENTITY[number // 2] + 1.4 * noise

    with pytest.raises(UnclearConventionError, match=r"2 that cannot be told apart on 800 faces") as refusal:
        measure_conventions(embed, ["a", "b"], SET)
    assert len(refusal.value.table) == 2


def test_a_net_that_knows_nobody_is_refused() -> None:
    with pytest.raises(UnclearConventionError, match=r"recognises faces"):
        measure_conventions(embedder(60.0, 90.0), ["a", "b"], SET)


def test_answers_that_are_not_finite_lose() -> None:
    good = embedder(1.2, 1.2)

    def embed(index: int, faces: np.ndarray) -> np.ndarray:
        return good(0, faces) if index else np.full((len(faces), 64), np.nan, np.float32)

    assert measure_conventions(embed, ["broken", "good"], SET)[0].name == "good"
