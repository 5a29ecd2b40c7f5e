"""Embed a gallery again with another model, from the aligned crops that it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgefr.errors import InvalidArgumentError
from edgefr.gallery.base import Gallery
from edgefr.gallery.model_binding import ALIGNMENT, ModelBinding
from edgefr.gallery.model_check import record_model
from edgefr.gallery.records import FaceSample
from edgefr.recognition.verifier import Verifier


def rebuild(gallery: Gallery, verifier: Verifier, on_progress: Callable[[int], None]) -> None:
    """Embed all kept crops with another model and bind the gallery to it, in one change.

    The binding keeps the detector, because it found the faces.

    Args:
        gallery: A gallery in a file.
        verifier: The new model.
        on_progress: Called with 1 after each person.

    Raises:
        InvalidArgumentError: An image has no crop, the alignment of edgefr has changed since, or the gallery is in a
            database.
    """
    binding = gallery.binding
    if binding.alignment != ALIGNMENT:
        raise InvalidArgumentError(
            f"crops with the alignment {ALIGNMENT}",
            f"{binding.alignment} in {gallery.path}",
            "enrol everyone again from photographs",
        )

    def re_embed(name: str, samples: list[FaceSample]) -> list[FaceSample]:
        crops = [entry.crop for entry in samples if entry.crop is not None]
        if len(crops) < len(samples):
            raise InvalidArgumentError(
                f"a kept crop for every image in {gallery.path}",
                f"{len(samples) - len(crops)} missing for {name}",
                "remove that person and enrol again with --keep-crops; nothing was changed",
            )
        embeddings = verifier.recogniser.embed(np.stack(crops))
        on_progress(1)
        return [
            replace(
                entry,
                embedding=embeddings.embedding[row],
                norm=float(embeddings.norm[row]),
                uncertainty=None if embeddings.uncertainty is None else float(embeddings.uncertainty[row]),
            )
            for row, entry in enumerate(samples)
        ]

    gallery.re_embed_all(replace(ModelBinding.of(verifier), detector=binding.detector), re_embed)
    record_model(gallery, verifier)
