"""Finds images that may show somebody else than the person who is enrolled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgefr.errors import ImageError
from edgefr.gallery.base import Gallery, Hit
from edgefr.gallery.records import FaceSample, fuse_template
from edgefr.manifest import Manifest
from edgefr.recognition.template_fusion import confidence_weights
from edgefr.recognition.verifier import Verifier
from edgefr.types import Floats

Candidate = tuple[str, Sequence[FaceSample], Sequence[FaceSample]]
"""Name, enrolled images and new images of a person."""


class DoubtfulImageError(ImageError):
    """An image may show another person."""


@dataclass(frozen=True)
class Review:
    """Which new images of a person may show somebody else.

    Attributes:
        accepted: Images that look like the person and like nobody else.
        doubtful: The others, each with the reason.
        unlike: Those of them that do not look like the other images of the person.
        similar: People of other names who look the same; None if the model has no threshold to decide by.
    """

    accepted: Sequence[FaceSample]
    doubtful: Sequence[tuple[FaceSample, DoubtfulImageError]] = ()
    unlike: Sequence[FaceSample] = ()
    similar: tuple[Hit, ...] | None = None


@dataclass(frozen=True)
class Limits:
    """Similarities from which images show one person.

    Attributes:
        pair: For images under one name, the threshold of `verify`.
        gallery: For images of different names, the strictest calibrated threshold.
    """

    pair: float
    gallery: float

    @classmethod
    def of(cls, manifest: Manifest | None, precision: str) -> Limits | None:
        """The limits of a model in a precision; None if it has no calibrated threshold."""
        manifest = manifest or Manifest("", "")
        calibrated = [(entry.fmr, entry.value) for entry in manifest.thresholds_for(precision) if entry.fmr is not None]
        pair = manifest.threshold_for(precision)
        if pair is None or not calibrated:
            return None
        return cls(pair.value, min(calibrated, key=lambda rate_and_value: rate_and_value[0])[1])


def review_images(
    gallery: Gallery, verifier: Verifier, people: Sequence[Candidate], labels: Mapping[int, str]
) -> list[Review]:
    """Find images that do not look like their person, or that look like another one.

    The images of a person are compared with each other, see `compare_images`, and with other people by a stricter
    threshold, because the whole gallery is searched. People who precede a person in `people` count as enrolled. An
    image that is more similar to the others of its person than to anybody else is accepted: in a large gallery, many
    people have a neighbour beyond the threshold, and twins need to be forced only once.

    Args:
        gallery: The gallery.
        verifier: The models of the gallery.
        people: Name, enrolled images and new images of each person.
        labels: `id` of an image -> its name in messages, if that is not its source.

    Returns:
        A review for each person.
    """
    limits = Limits.of(verifier.manifest, verifier.recogniser.description.precision)
    if limits is None:
        return [Review(new) for _, _, new in people]
    examined = [_Examined.of(candidate, limits) for candidate in people]
    neighbours = _Neighbours(gallery, examined)
    reviews = []
    for person in examined:
        review = _review(person, neighbours, limits, labels)
        neighbours.add(person.name, [*person.existing, *review.accepted])
        reviews.append(review)
    return reviews


@dataclass(frozen=True)
class Comparison:
    """How similar the new images of a person are to the other images of the person.

    Attributes:
        similarities: (N,) float32, cosine similarity of each new image to the template of the others that look like the
            person; -1 if there are none.
        unlike: Indices of the images that do not look like the person.
    """

    similarities: Floats
    unlike: frozenset[int]


def compare_images(existing: Sequence[FaceSample], new: Sequence[FaceSample], limit: float) -> Comparison:
    """Find the images of a person that do not look like the others.

    Enrolled images are not doubted: the most similar new image joins them, and so on, as long as it is similar enough.
    If there are none, the image that is least similar to all others is removed, and so on, until the rest are similar
    enough. If no more than half of them remain, it is unknown which show the person, and none does.

    Args:
        existing: Enrolled images.
        new: Images to compare.
        limit: Lowest similarity of images of one person.
    """
    if existing:
        return _compare_with_enrolled(existing, new, limit)
    kept, similarities = list(range(len(new))), np.full(len(new), -1.0, np.float32)
    while len(kept) > 1:
        similarities[kept] = _leave_one_out([new[index] for index in kept])
        worst = min(kept, key=lambda index: similarities[index])
        if similarities[worst] >= limit:
            break
        kept.remove(worst)
    if 2 * len(kept) <= len(new):
        similarities, kept = _leave_one_out(new) if len(new) > 1 else similarities, []
    return Comparison(similarities, frozenset(range(len(new))) - set(kept))


def _compare_with_enrolled(existing: Sequence[FaceSample], new: Sequence[FaceSample], limit: float) -> Comparison:
    samples, pending = list(existing), set(range(len(new)))
    embeddings = np.stack([entry.embedding for entry in new]) if new else np.zeros((0, 1), np.float32)
    similarities = np.full(len(new), -1.0, np.float32)
    while pending:
        waiting = sorted(pending)
        similarities[waiting] = embeddings[waiting] @ fuse_template(samples)
        best = max(waiting, key=lambda index: similarities[index])
        if similarities[best] < limit:
            break
        samples.append(new[best])
        pending.remove(best)
    return Comparison(similarities, frozenset(pending))


def _leave_one_out(samples: Sequence[FaceSample]) -> Floats:
    """Similarity of each of N images to the template of the others, (N,); -1 if these cancel each other out."""
    weights = confidence_weights([entry.norm for entry in samples], [entry.uncertainty for entry in samples])
    embeddings = np.stack([entry.embedding for entry in samples]).astype(np.float64)  # (N, K)
    weighted = weights[:, None] * embeddings
    others = weighted.sum(axis=0) - weighted
    lengths = np.linalg.norm(others, axis=1)
    products = (embeddings * others).sum(axis=1)
    return np.where(lengths > 1e-6, products / np.maximum(lengths, 1e-6), -1.0).astype(np.float32)


@dataclass(frozen=True)
class _Examined:
    """A candidate whose images are compared with each other, and the template of those that look like the person."""

    name: str
    existing: Sequence[FaceSample]
    new: Sequence[FaceSample]
    comparison: Comparison
    template: Floats | None

    @classmethod
    def of(cls, candidate: Candidate, limits: Limits) -> _Examined:
        name, existing, new = candidate
        comparison = compare_images(existing, new, limits.pair)
        consistent = [entry for index, entry in enumerate(new) if index not in comparison.unlike]
        samples = [*existing, *(consistent or new)]
        return cls(name, existing, new, comparison, fuse_template(samples) if samples else None)

    def cohesion(self) -> float:
        """Mean similarity of the images that look like the person; -1 if there are no several."""
        indices = [index for index in range(len(self.new)) if index not in self.comparison.unlike]
        return float(self.comparison.similarities[indices].mean()) if indices else -1.0


class _Neighbours:
    """The people of other names who are most similar to the images and templates of candidates."""

    def __init__(self, gallery: Gallery, people: Sequence[_Examined]) -> None:
        vectors: dict[bytes, Floats] = {}
        for person in people:
            for vector in (*(entry.embedding for entry in person.new), person.template):
                if vector is not None:
                    vectors[vector.tobytes()] = vector
        hits = gallery.search_all(np.stack(list(vectors.values())), top=3) if vectors else []
        self._hits = dict(zip(vectors, hits, strict=True))
        self._names: list[str] = []
        self._templates = np.empty((len(people), gallery.binding.embedding_dim), np.float32)

    def add(self, name: str, samples: Sequence[FaceSample]) -> None:
        """Count a person with these images as enrolled."""
        if samples:
            self._templates[len(self._names)] = fuse_template(samples)
            self._names.append(name)

    def find(self, name: str, vector: Floats) -> list[Hit]:
        """People of other names, the most similar first."""
        hits = {hit.name: hit for hit in self._hits[vector.tobytes()]}
        similarities = self._templates[: len(self._names)] @ vector
        for index in np.argsort(-similarities)[:3]:
            other = self._names[index]
            hits[other] = Hit(other, float(similarities[index]))
        return sorted((hit for hit in hits.values() if hit.name != name), key=lambda hit: -hit.similarity)


def _review(person: _Examined, neighbours: _Neighbours, limits: Limits, labels: Mapping[int, str]) -> Review:
    hits = [] if person.template is None else neighbours.find(person.name, person.template)
    similar = tuple(hit for hit in hits if hit.similarity >= limits.gallery)
    # The templates of one person under two names are more similar than each image is to a template.
    same = similar[0] if similar and not person.existing and similar[0].similarity >= person.cohesion() else None
    accepted, doubtful = [], []
    for index, sample in enumerate(person.new):
        label, own = labels.get(id(sample), sample.source), float(person.comparison.similarities[index])
        hits = neighbours.find(person.name, sample.embedding)
        other = hits[0] if hits and hits[0].similarity >= max(limits.gallery, own) else None
        if index in person.comparison.unlike:
            doubtful.append((sample, _unlike_error(label, person.name, own, other, limits)))
        elif (resembled := other or same) is not None:
            doubtful.append((sample, _similar_error(label, resembled)))
        else:
            accepted.append(sample)
    return Review(accepted, doubtful, [person.new[index] for index in sorted(person.comparison.unlike)], similar)


def _unlike_error(label: str, name: str, similarity: float, other: Hit | None, limits: Limits) -> DoubtfulImageError:
    also = "" if other is None else f", but like {other.name} (similarity {other.similarity:.3f})"
    return DoubtfulImageError(
        "",
        f"{label} does not look like the other images of {name} (similarity {similarity:.3f}, below "
        f"{limits.pair:.3f}){also}",
        "check the photograph, or enrol it with --force",
    )


def _similar_error(label: str, other: Hit) -> DoubtfulImageError:
    return DoubtfulImageError(
        "",
        f"{label} looks like {other.name}, who is enrolled (similarity {other.similarity:.3f})",
        "check whether they are the same person, or enrol it with --force",
    )
