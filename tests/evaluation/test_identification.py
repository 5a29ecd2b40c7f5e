"""Searches of a gallery equal a count from scratch, and failures are never found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.evaluation.identification import Identities, closed_set, open_set, split


def people(count: int, images: int, noise: float = 0.6, seed: int = 0) -> Identities:
    rng = np.random.default_rng(seed)
    embedding = (rng.normal(size=(count, 1, 8)) + noise * rng.normal(size=(count, images, 8))).reshape(-1, 8)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    return Identities(embedding.astype(np.float32), np.repeat(np.arange(count) * 3 + 5, images))


def only(templates: Identities, index: np.ndarray) -> Identities:
    return Identities(templates.embedding[index], templates.person[index])


def search(noise: float = 0.6, strangers: int = 320) -> tuple[Identities, Identities, Identities]:
    """A gallery of 40 people, 3 probes of each, and probes of strangers."""
    everybody = people(40, 4, noise)
    enrolled = np.arange(160) % 4 == 0
    others = people(strangers, 1, seed=1)
    return (
        only(everybody, enrolled),
        only(everybody, ~enrolled),
        Identities(others.embedding, others.person + 10_000),
    )


def joined(first: Identities, second: Identities) -> Identities:
    return Identities(
        np.concatenate([first.embedding, second.embedding]), np.concatenate([first.person, second.person])
    )


def ranked(gallery: Identities, embedding: np.ndarray) -> list[tuple[float, int]]:
    """From scratch: everyone in the gallery, the most similar first."""
    found = [(float(embedding @ entry), int(who)) for entry, who in zip(gallery.embedding, gallery.person, strict=True)]
    return sorted(found, reverse=True)


def test_ranks_are_those_of_a_sorted_gallery() -> None:
    gallery, probes, _ = search()
    ranks = []
    for embedding, who in zip(probes.embedding, probes.person, strict=True):
        ranks.append([other for _, other in ranked(gallery, embedding)].index(who) + 1)
    found = closed_set(gallery, probes)
    assert found.probes == 120
    assert found.rank1.value == pytest.approx(np.mean(np.array(ranks) <= 1))
    assert found.rank5.value == pytest.approx(np.mean(np.array(ranks) <= 5))
    assert 0.3 < found.rank1.value < found.rank5.value < 1, "a test where all succeed or fail would show nothing"
    for rank in (1, 2, 5, 40):
        assert found.cmc[rank - 1] == pytest.approx(np.mean(np.array(ranks) <= rank))
    for estimate in (found.rank1, found.rank5):
        assert estimate.ci95[0] < estimate.value < estimate.ci95[1]


@pytest.mark.parametrize("fpir", [0.1, 0.25])
def test_false_negatives_are_those_of_a_search_from_scratch(fpir: float) -> None:
    gallery, mated, strangers = search(0.5)
    found = open_set(gallery, joined(strangers, mated), fpir)
    assert (found.mated, found.non_mated) == (120, 320)
    best = [ranked(gallery, embedding)[0][0] for embedding in strangers.embedding]
    assert np.mean(np.array(best) >= found.threshold) <= fpir
    assert np.mean(np.array(best) >= found.threshold) > fpir - 2 / 320
    missed = []
    for embedding, who in zip(mated.embedding, mated.person, strict=True):
        similarity, first = ranked(gallery, embedding)[0]
        missed.append(first != who or similarity < found.threshold)
    assert found.fnir.value == pytest.approx(np.mean(missed))
    assert 0 < found.fnir.ci95[0] < found.fnir.value < found.fnir.ci95[1] < 1


def test_a_face_that_was_not_found_is_never_found_in_a_gallery() -> None:
    gallery, mated, strangers = search(0.0)
    assert closed_set(gallery, mated).rank1.value == 1
    lost = mated.embedding.copy()
    lost[:12] = np.nan
    failing = Identities(lost, mated.person)
    small = Identities(gallery.embedding[:4], gallery.person[:4])
    of_small = only(failing, np.isin(mated.person, small.person))
    assert closed_set(gallery, failing).rank1.value == pytest.approx(0.9)
    assert closed_set(small, of_small).rank5.value == 0, "not even where the gallery has fewer than five"
    assert open_set(gallery, joined(failing, strangers), 0.25).fnir.value == pytest.approx(0.1)
    not_enrolled = gallery.embedding.copy()
    not_enrolled[0] = np.nan
    assert closed_set(Identities(not_enrolled, gallery.person), mated).rank1.value == pytest.approx(1 - 3 / 120)


def test_an_equally_similar_person_ranks_before_the_mate() -> None:
    """Equal similarities flatter nobody."""
    gallery, mated, _ = search(0.0)
    twins = Identities(np.repeat(gallery.embedding, 2, axis=0), np.repeat(gallery.person, 2) + np.tile([0, 1], 40))
    found = closed_set(twins, mated)
    assert (found.rank1.value, found.cmc[1]) == (0, 1)


def test_a_rate_that_the_non_mated_probes_cannot_support_is_refused() -> None:
    gallery, mated, strangers = search()
    with pytest.raises(EdgefrError, match=r"at least 3,000 probes of people who are not enrolled .* found 320"):
        open_set(gallery, joined(mated, strangers), 0.01)


def test_an_invalid_search_is_refused() -> None:
    gallery, mated, strangers = search()
    with pytest.raises(EdgefrError, match="Measure those as an open set"):
        closed_set(gallery, joined(mated, strangers))
    with pytest.raises(EdgefrError, match="Fuse the embeddings of each person into one"):
        closed_set(joined(gallery, gallery), mated)
    with pytest.raises(EdgefrError, match="Fuse the embeddings of each person into one"):
        closed_set(only(gallery, np.zeros(40, bool)), mated)
    with pytest.raises(EdgefrError, match="expected genuine and impostor"):
        open_set(gallery, strangers, 0.5)
    with pytest.raises(EdgefrError, match="Correct the labels"):
        Identities(gallery.embedding, gallery.person[:3])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=60), st.integers(0, 3))
def test_a_split_enrols_one_image_of_everyone_who_has_several(people: list[int], seed: int) -> None:
    labels = np.array(people, np.int64)
    found = split(labels, seed)
    together = np.concatenate([found.gallery, found.mated, found.non_mated])
    assert sorted(together.tolist()) == list(range(len(labels)))
    counts = {who: people.count(who) for who in people}
    assert sorted(labels[found.gallery]) == sorted(who for who, count in counts.items() if count > 1)
    assert all(counts[who] > 1 for who in labels[found.mated])
    assert all(counts[who] == 1 for who in labels[found.non_mated])
    assert all((a == b).all() for a, b in zip(vars(found).values(), vars(split(labels, seed)).values(), strict=True))


def test_the_enrolled_image_is_drawn_and_not_the_first() -> None:
    labels = np.repeat(np.arange(200), 4)
    place = split(labels).gallery % 4
    assert (np.bincount(place, minlength=4) > 30).all()
