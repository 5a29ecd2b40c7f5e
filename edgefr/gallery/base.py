"""What the commands and the camera use of a gallery, wherever it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgefr.gallery.address import Address
from edgefr.gallery.crypto.key_wrapping import Secret
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import Event, FaceSample, Person
from edgefr.types import Floats

Entry = tuple[Person, list[FaceSample]]


@dataclass(frozen=True)
class Hit:
    """An enrolled person's name and the cosine similarity to the template."""

    name: str
    similarity: float


class Gallery(AbstractContextManager["Gallery"], Protocol):
    """An open gallery: `gallery.Gallery` is one in a file, `served.ServedGallery` one in a database.

    The methods are described there; every one raises EdgefrError where the gallery cannot be read or written.
    """

    @property
    def path(self) -> Path | Address:
        """Where it is, for messages."""

    @property
    def binding(self) -> ModelBinding: ...

    def __len__(self) -> int: ...

    def __contains__(self, name: str) -> bool: ...

    def names(self) -> list[str]: ...

    def people(self) -> Iterator[Person]: ...

    def entries(self, names: Iterable[str]) -> Iterator[Entry]: ...

    def person(self, name: str) -> Person: ...

    def samples(self, name: str) -> list[FaceSample]: ...

    def events(self) -> list[Event]: ...

    def orphan_images(self) -> int: ...

    def search(self, embedding: Floats, top: int = 5) -> list[Hit]: ...

    def search_all(self, embeddings: Floats, top: int = 5) -> list[list[Hit]]: ...

    def enrol(self, name: str, samples: Sequence[FaceSample], keep: float | None = None) -> None: ...

    def import_all(self, entries: Iterable[tuple[Person, Sequence[FaceSample]]], detail: str) -> int: ...

    def rename(self, name: str, other: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def log(self, events: Sequence[Event]) -> None: ...

    def rotate(self, secret: Secret) -> None: ...

    def re_embed_all(
        self, binding: ModelBinding, remade: Callable[[str, list[FaceSample]], list[FaceSample]]
    ) -> None: ...

    def close(self) -> None: ...
