"""Everybody's templates made anew by another model, from the aligned crops that were kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.gallery.base import Gallery
from edgefr.gallery.model_binding import ALIGNMENT, ModelBinding
from edgefr.gallery.records import FaceSample
from edgefr.recognition.verifier import Verifier


def rebuild(gallery: Gallery, verifier: Verifier, advance: Callable[[int], None]) -> None:
    """Embed all kept crops with `verifier` and bind the gallery to it; all or nothing.

    The detector stays the one that found the faces. `advance` is told of every person.

    Raises:
        EdgefrError: an image has no crop, or the crops were cut out otherwise than this version of edgefr does.
    """
    made = gallery.binding
    if made.alignment != ALIGNMENT:
        raise EdgefrError(
            f"crops that are aligned as {ALIGNMENT}",
            f"{made.alignment} in {gallery.path}",
            "enrol everybody again from photographs",
        )

    def remade(name: str, samples: list[FaceSample]) -> list[FaceSample]:
        crops = [entry.crop for entry in samples if entry.crop is not None]
        if len(crops) < len(samples):
            raise EdgefrError(
                f"a kept crop of every image in {gallery.path}",
                f"{len(samples) - len(crops)} without of {name}",
                "remove that person and enrol with --keep-crops; nothing was changed",
            )
        found = verifier.recogniser.embed(np.stack(crops))
        advance(1)
        return [
            replace(
                entry,
                embedding=found.embedding[row],
                norm=float(found.norm[row]),
                uncertainty=None if found.uncertainty is None else float(found.uncertainty[row]),
            )
            for row, entry in enumerate(samples)
        ]

    gallery.re_embed_all(replace(ModelBinding.of(verifier), detector=made.detector), remade)
