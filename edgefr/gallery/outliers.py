"""Finds images in a gallery that look unlike their person, and people who look alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgefr.errors import WrongModelError
from edgefr.gallery.base import Gallery
from edgefr.gallery.enrolment_review import Limits, compare_images
from edgefr.gallery.model_binding import model_identity
from edgefr.gallery.model_check import is_known
from edgefr.gallery.records import FaceSample, Person
from edgefr.manifest import model_digest, model_manifest
from edgefr.runtimes import FAKE
from edgefr.types import Floats

BATCH = 1000
"""People that are searched for at a time."""
TOP = 5
"""Most similar people of each person that are considered."""


@dataclass(frozen=True)
class ImageOutlier:
    """An image that looks unlike the other images of its person, and its similarity to their template."""

    name: str
    source: str
    similarity: float


@dataclass(frozen=True)
class LookAlikes:
    """Two people whose templates are similar."""

    name: str
    other: str
    similarity: float


@dataclass
class Outliers:
    """What should be checked in a gallery. The names of the fields are keys of `gallery audit --json`.

    Attributes:
        images: Images that look unlike the others of their person.
        people: Pairs of people who look alike.
    """

    images: list[ImageOutlier] = field(default_factory=list)
    people: list[LookAlikes] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """A sentence for each outlier."""
        return [
            *(
                f"{one.source} looks unlike the other images of {one.name} (similarity {one.similarity:.3f})"
                for one in self.images
            ),
            *(f"{one.name} looks like {one.other} (similarity {one.similarity:.3f})" for one in self.people),
        ]


def outlier_limits(gallery: Gallery, model: Path) -> Limits:
    """The similarities by which a gallery is examined, from the manifest of its model.

    Args:
        gallery: The gallery.
        model: File of its model, which is not opened.

    Raises:
        WrongModelError: It is not the model of the gallery, or it has no calibrated threshold.
        EdgefrError: It cannot be read.
    """
    binding, manifest = gallery.binding, model_manifest(model)
    name, digest = model_identity(model, manifest, lambda: None if model == FAKE else model_digest(model))
    if not is_known(gallery, digest):
        raise WrongModelError(
            f"the model {binding.model} ({binding.model_sha256[:12]}) to find outliers with",
            f"{name} ({digest[:12]})",
            "give it with --model",
        )
    limits = Limits.of(manifest, binding.precision)
    if limits is None:
        raise WrongModelError(
            f"a calibrated threshold of {name} to find outliers with",
            "none",
            f"measure one with `edgefr calibrate {model} FACES`",
        )
    return limits


class OutlierSearch:
    """Collects the outliers while all people of a gallery are read once."""

    def __init__(self, gallery: Gallery, limits: Limits) -> None:
        self._gallery, self._limits = gallery, limits
        self._outliers = Outliers()
        self._pairs: dict[tuple[str, str], float] = {}
        self._batch: list[tuple[str, Floats]] = []

    def add(self, person: Person, samples: list[FaceSample]) -> None:
        """Examine a person."""
        comparison = compare_images([], samples, self._limits.pair)
        self._outliers.images += (
            ImageOutlier(person.name, samples[index].source, float(comparison.similarities[index]))
            for index in sorted(comparison.unlike)
        )
        self._batch.append((person.name, person.template))
        if len(self._batch) == BATCH:
            self._search()

    def finish(self) -> Outliers:
        """All outliers of the people that were added."""
        self._search()
        self._outliers.people = [LookAlikes(*names, similarity) for names, similarity in sorted(self._pairs.items())]
        return self._outliers

    def _search(self) -> None:
        if not self._batch:
            return
        hits = self._gallery.search_all(np.stack([template for _, template in self._batch]), TOP)
        for (name, _), found in zip(self._batch, hits, strict=True):
            for hit in found:
                if hit.name != name and hit.similarity >= self._limits.gallery:
                    self._pairs[min(name, hit.name), max(name, hit.name)] = hit.similarity
        self._batch.clear()
