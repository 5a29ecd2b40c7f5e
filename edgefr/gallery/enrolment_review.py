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

    The images of a person are compared by the threshold of `verify`, see `find_unlike`. They are compared with other
    people by the strictest calibrated threshold, because the whole gallery is searched. People who precede a person in
    `people` count as enrolled. An image that is more similar to the enrolled images of its person than to anybody else
    is accepted, so that twins need to be forced only once.

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
    neighbours = _Neighbours(gallery, people, limits)
    reviews = []
    for candidate in people:
        review = _review(candidate, neighbours, limits, labels)
        neighbours.add(candidate[0], [*candidate[1], *review.accepted])
        reviews.append(review)
    return reviews


def find_unlike(existing: Sequence[FaceSample], new: Sequence[FaceSample], limit: float) -> dict[int, float]:
    """Find the images of a person that do not look like the others.

    The image that is least similar to the template of all others is removed, until the rest are similar enough. If
    nothing is enrolled and no more than half of the images remain, it is unknown which of them show the person, so that
    all of them are returned.

    Args:
        existing: Enrolled images, which are not doubted.
        new: Images to compare.
        limit: Lowest similarity of images of one person.

    Returns:
        Index in `new` -> similarity to the other images, for each image that does not look like them.
    """
    kept, unlike = list(range(len(new))), dict[int, float]()
    while kept and len(kept) + len(existing) > 1:
        similarities = _leave_one_out([*existing, *(new[index] for index in kept)])[len(existing) :]
        worst = int(similarities.argmin())
        if similarities[worst] >= limit:
            break
        unlike[kept.pop(worst)] = float(similarities[worst])
    if unlike and not existing and 2 * len(kept) <= len(new):
        similarities = _leave_one_out(new)
        unlike.update((index, float(similarities[index])) for index in kept)
    return unlike


def _leave_one_out(samples: Sequence[FaceSample]) -> Floats:
    """Similarity of each of N images to the template of the others, (N,); -1 if these cancel each other out."""
    weights = confidence_weights([entry.norm for entry in samples], [entry.uncertainty for entry in samples])
    embeddings = np.stack([entry.embedding for entry in samples]).astype(np.float64)  # (N, K)
    weighted = weights[:, None] * embeddings
    others = weighted.sum(axis=0) - weighted
    lengths = np.linalg.norm(others, axis=1)
    products = (embeddings * others).sum(axis=1)
    return np.where(lengths > 1e-6, products / np.maximum(lengths, 1e-6), -1.0).astype(np.float32)


class _Neighbours:
    """The people of other names who are most similar to the images and templates of candidates."""

    def __init__(self, gallery: Gallery, people: Sequence[Candidate], limits: Limits) -> None:
        vectors: dict[bytes, Floats] = {}
        for _, existing, new in people:
            for vector in (*(entry.embedding for entry in new), _template(existing, new, limits)):
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


def _template(existing: Sequence[FaceSample], new: Sequence[FaceSample], limits: Limits) -> Floats | None:
    """The template of the images that look like one person, or of all if none do."""
    unlike = find_unlike(existing, new, limits.pair)
    consistent = [entry for index, entry in enumerate(new) if index not in unlike]
    samples = [*existing, *(consistent or new)]
    return fuse_template(samples) if samples else None


def _review(candidate: Candidate, neighbours: _Neighbours, limits: Limits, labels: Mapping[int, str]) -> Review:
    name, existing, new = candidate
    unlike = find_unlike(existing, new, limits.pair)
    template = _template(existing, new, limits)
    hits = [] if template is None else neighbours.find(name, template)
    similar = tuple(hit for hit in hits if hit.similarity >= limits.gallery)
    own = fuse_template(existing) if existing else None
    accepted, doubtful = [], []
    for index, sample in enumerate(new):
        label = labels.get(id(sample), sample.source)
        other = _resembled(sample, own, neighbours.find(name, sample.embedding), limits)
        if own is None and other is None and similar and index not in unlike:
            other = similar[0]  # the template of all images is more similar than each of them
        if index in unlike:
            doubtful.append((sample, _unlike_error(label, name, unlike[index], other, limits)))
        elif other is not None:
            doubtful.append((sample, _similar_error(label, other)))
        else:
            accepted.append(sample)
    return Review(accepted, doubtful, [new[index] for index in sorted(unlike)], similar)


def _resembled(sample: FaceSample, own: Floats | None, hits: Sequence[Hit], limits: Limits) -> Hit | None:
    """The other person that an image looks like, unless it is more similar to the enrolled images of its own."""
    if not hits or hits[0].similarity < limits.gallery:
        return None
    return None if own is not None and float(own @ sample.embedding) > hits[0].similarity else hits[0]


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
