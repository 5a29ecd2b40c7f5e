"""What the commands and the camera use of a gallery, wherever it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgefr.gallery.address import Address
from edgefr.gallery.crypto.key_wrapping import Secret
from edgefr.gallery.model_binding import Binding
from edgefr.gallery.records import Event, Person, Portrait
from edgefr.types import Floats

Entry = tuple[Person, list[Portrait]]


@dataclass(frozen=True)
class Hit:
    """An enrolled person's name and the cosine similarity to the template."""

    name: str
    similarity: float


class AnyGallery(AbstractContextManager["AnyGallery"], Protocol):
    """An open gallery: `gallery.Gallery` is one in a file, `served.ServedGallery` one in a database.

    The methods are described there; every one raises EdgefrError where the gallery cannot be read or written.
    """

    @property
    def path(self) -> Path | Address:
        """Where it is, for messages."""

    @property
    def binding(self) -> Binding: ...

    def __len__(self) -> int: ...

    def __contains__(self, name: str) -> bool: ...

    def names(self) -> list[str]: ...

    def people(self) -> Iterator[Person]: ...

    def entries(self, names: Iterable[str]) -> Iterator[Entry]: ...

    def person(self, name: str) -> Person: ...

    def portraits(self, name: str) -> list[Portrait]: ...

    def events(self) -> list[Event]: ...

    def stray_images(self) -> int: ...

    def search(self, embedding: Floats, top: int = 5) -> list[Hit]: ...

    def search_all(self, embeddings: Floats, top: int = 5) -> list[list[Hit]]: ...

    def enrol(self, name: str, portraits: Sequence[Portrait], keep: float | None = None) -> None: ...

    def add_all(self, entries: Iterable[tuple[Person, Sequence[Portrait]]], detail: str) -> int: ...

    def rename(self, name: str, other: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def log(self, events: Sequence[Event]) -> None: ...

    def rotate(self, secret: Secret) -> None: ...

    def exchange(self, binding: Binding, remade: Callable[[str, list[Portrait]], list[Portrait]]) -> None: ...

    def close(self) -> None: ...
