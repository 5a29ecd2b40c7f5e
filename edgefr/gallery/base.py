"""The interface of a gallery, and the changes that work alike wherever it is stored."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from edgefr.errors import InvalidArgumentError
from edgefr.gallery.address import Address
from edgefr.gallery.crypto.key_wrapping import Secret
from edgefr.gallery.embedding_contract import EmbeddingContract
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.pin import GalleryState
from edgefr.gallery.record_checks import InvalidPerson, InvalidRecordError
from edgefr.gallery.records import (
    MAX_IMAGES,
    Entry,
    Event,
    FaceSample,
    NumberedEvent,
    Person,
    check_name,
    checked_entry,
    expiry_date,
    fuse_template,
    is_name,
    without_duplicates,
)
from edgefr.types import Floats

Self = TypeVar("Self", bound="Gallery")
ReEmbed = Callable[[str, list[FaceSample]], list[FaceSample]]
"""Name and images of a person -> the same images with other embeddings."""


@dataclass(frozen=True)
class Hit:
    """An enrolled person and the cosine similarity of the template to a face."""

    name: str
    similarity: float


class GalleryChange(Protocol):
    """The writes of one change. See `Gallery` for what is written when a change fails."""

    def add(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Enrol a new person under a new id with these images."""

    def update(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Replace the record of a person and add images to it."""

    def remove(self, person: Person) -> None:
        """Delete a person with all images and the key that encrypts them."""

    def remove_image(self, person: Person, image: int) -> None:
        """Replace the record of a person, which no longer lists an image, and delete this image."""

    def log(self, events: Sequence[Event]) -> None:
        """Append events to the log."""

    def forget(self, names: Sequence[str]) -> list[str]:
        """Replace the names of people who are about to be removed in the whole log; returns their pseudonyms."""

    def keep_contract(self, record: bytes) -> None:
        """Replace the record of the embedding contract."""


def removals_of_invalid(change: GalleryChange, people: Sequence[InvalidPerson]) -> list[Event]:
    """The events of the removal of people whose records are not valid, after the log has forgotten their names."""
    pseudonyms = change.forget([entry.name for entry in people if entry.name])
    nameless = [""] * sum(not entry.name for entry in people)
    return [Event.now("removed", name, "the record was not valid") for name in (*pseudonyms, *nameless)]


def not_enrolled(name: str, source: object) -> InvalidArgumentError:
    """The error for a name that nobody in the gallery has."""
    return InvalidArgumentError("", f"{name} is not enrolled in {source}", "see `edgefr gallery list`")


def name_taken(name: str, source: object) -> InvalidArgumentError:
    """The error for a person of an import whose name is enrolled already."""
    return InvalidArgumentError(
        "",
        f"{name} is enrolled in {source} already, so nothing was imported",
        "rename or remove that person with `edgefr gallery rename` or `remove`",
    )


def _checked_sample(sample: FaceSample, dim: int) -> FaceSample:
    try:
        return sample.checked(dim)
    except InvalidRecordError as error:
        raise InvalidArgumentError(
            error.expected, error.found, "check the model that made this embedding; nothing was enrolled"
        ) from error


def _index_of_image(name: str, samples: Sequence[FaceSample], source: str) -> int:
    found = [index for index, entry in enumerate(samples) if entry.source == source]
    number = source.removeprefix("#")
    if not found and number != source and number.isdecimal() and 0 < int(number) <= len(samples):
        found = [int(number) - 1]
    if len(found) != 1:
        raise InvalidArgumentError(
            f"one image {source} of {name}",
            f"{len(found)}" if found else "none",
            f"see `edgefr gallery show {name}`, and give the number of an image as '#2', for example",
        )
    if len(samples) == 1:
        raise InvalidArgumentError(
            "", f"{source} is the only image of {name}", f"remove the person with `edgefr gallery remove {name}`"
        )
    return found[0]


class Gallery(ABC):
    """An open gallery of enrolled people.

    Several threads may share one object, and several processes may open one gallery at the same time. A file and
    PostgreSQL write a change completely or not at all; docs/stores.md describes Milvus.

    Every method raises `UnavailableError` if the gallery cannot be read or written, and `DamagedError` if it was
    changed by another program. A change that raises is not made.

    Attributes:
        traces: Why data that was deleted, or a former key, can still be read from the disk, as a sentence; empty if it
            is erased, or if its erasure is left to a database server.
        clock_notice: How the clock differed from the latest use of the gallery when it was opened, as a sentence; empty
            if it did not (`clock`).
        log_days: Days that events are kept in the log, None for ever. Changes delete older ones (`event_log`).
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.traces, self.clock_notice = "", ""
        self.log_days: float | None = None

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None: ...

    @property
    @abstractmethod
    def path(self) -> Path | Address:
        """The file or the address, for messages."""

    @property
    @abstractmethod
    def binding(self) -> ModelBinding:
        """The models that the templates come from."""

    @abstractmethod
    def state(self) -> GalleryState:
        """Identity, kind of lock and generation, by which a pin recognises the gallery."""

    @property
    def has_transform(self) -> bool:
        """Whether a database stores templates that are transformed by a secret."""
        return False

    @abstractmethod
    def __len__(self) -> int:
        """Number of people."""

    def __contains__(self, name: str) -> bool:
        """Whether a person of this name is enrolled."""
        with self._reading():
            return is_name(name) and self._find(check_name(name)) is not None

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all people, sorted."""

    @abstractmethod
    def people(self) -> Iterator[Person]:
        """All people: in the order of enrolment from a file, in any order from a database."""

    @abstractmethod
    def people_after(self, number: int, limit: int) -> list[Person]:
        """Up to `limit` people whose ids are above a number, in the order of ids."""

    @abstractmethod
    def person_of_id(self, number: int) -> Person | None:
        """The person with an id, None if there is none. An id stays with its person and is never used again."""

    @abstractmethod
    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """People with their images.

        Args:
            names: The people to return, in this order.

        Raises:
            InvalidArgumentError: A name is not enrolled.
        """

    def person(self, name: str) -> Person:
        """One person.

        Raises:
            InvalidArgumentError: The name is not enrolled.
        """
        with self._reading():
            return self._get(name)

    def samples(self, name: str) -> list[FaceSample]:
        """The images of a person.

        Raises:
            InvalidArgumentError: The name is not enrolled.
        """
        with self._reading():
            return self._samples(self._get(name))

    @abstractmethod
    def events(self) -> list[Event]:
        """The whole log, oldest event first."""

    @abstractmethod
    def events_before(self, number: int | None, limit: int) -> list[NumberedEvent]:
        """The last `limit` events with ids below a number, or of all events, newest first.

        Each is authentic. That none is missing is checked by `events`, which reads the whole log.
        """

    @abstractmethod
    def events_after(self, number: int, limit: int) -> list[NumberedEvent]:
        """The first `limit` events with ids above a number, oldest first, like `events_before`."""

    @abstractmethod
    def orphan_images(self) -> int:
        """Number of images that belong to no person.

        In a file there are none unless another program wrote to it. In a database an interrupted or a running change
        can leave some; the next change deletes them.
        """

    @abstractmethod
    def invalid_people(self) -> list[InvalidPerson]:
        """People whose records claim what cannot be true. No other method returns them, and no search finds them.

        An older version of edgefr imported records without checking them.
        """

    @abstractmethod
    def checked_entries(self, names: Iterable[str]) -> Iterator[Entry | InvalidPerson]:
        """People with their images, all checked.

        Args:
            names: The people to return, in this order.

        Yields:
            A person with the images, or what is wrong with them.

        Raises:
            InvalidArgumentError: A name is not enrolled.
        """

    @abstractmethod
    def remove_invalid(self, people: Sequence[InvalidPerson]) -> None:
        """Delete people from `invalid_people` and `checked_entries` with all images, in one change."""

    def search(self, embedding: Floats, top: int = 5) -> list[Hit]:
        """Search for one face. `Identifier` decides whether a hit is a match.

        Args:
            embedding: (K,) float32 of unit length.
            top: Number of people to return.

        Returns:
            The most similar people, best first.
        """
        return self.search_all(embedding[None], top)[0]

    @abstractmethod
    def search_all(self, embeddings: Floats, top: int = 5) -> list[list[Hit]]:
        """Search for several faces.

        Args:
            embeddings: (N, K) float32 of unit length.
            top: Number of people to return for each.

        Returns:
            The result of `search` for each embedding.
        """

    def enrol(self, name: str, samples: Sequence[FaceSample], expires_in_s: float | None = None) -> None:
        """Enrol a person, or add images to a person who is enrolled. Images that are enrolled already are left out.

        Args:
            name: The name, 1 to 200 printable characters.
            samples: The images to add. They may be empty if the person is enrolled.
            expires_in_s: Seconds from now until the person is removed, up to a hundred years. None keeps the present
                date; a new person then stays until removed.

        Raises:
            InvalidArgumentError: The name or `expires_in_s` is not valid, there are more than 1,000 images, or the
                embeddings cancel each other out or are not of unit length.
        """
        name = check_name(name)
        samples = [_checked_sample(entry, self.binding.embedding_dim) for entry in samples]
        now = time.time()
        expires = expiry_date(now, expires_in_s)
        with self._changing() as change:
            person = self._find(name) if samples else self._get(name)
            if person is None:
                self._remove_expired(name, change)
                change.add(Person(0, name, now, expires, fuse_template(samples), ()), samples)
            else:
                existing = self._samples(person)
                samples = without_duplicates(existing, samples)  # another client may have added one since
                together = [*existing, *samples]
                if len(together) > MAX_IMAGES:
                    raise InvalidArgumentError(
                        f"at most {MAX_IMAGES:,} images of {name}", f"{len(together):,}", "enrol fewer"
                    )
                expires = person.expires if expires is None else expires
                change.update(replace(person, template=fuse_template(together), expires=expires), samples)
            what = "enrolled" if person is None else "extended"
            change.log([Event.now(what, name, f"{len(samples)} images")])

    def import_all(self, entries: Iterable[tuple[Person, Sequence[FaceSample]]], detail: str) -> int:
        """Enrol people with their images and dates, all of them or none.

        In Milvus, which has no transactions, some people can be found before the import is complete. If it fails they
        are removed again; if the process is killed the next change removes them.

        Args:
            entries: The people with their images. Their ids are replaced.
            detail: Where they come from, for the log.

        Returns:
            Number of people.

        Raises:
            InvalidArgumentError: A name is enrolled already.
            InvalidRecordError: A person or an image has a value of another type or out of range, or a template is not
                the one that is fused from the images.
        """
        dim = self.binding.embedding_dim
        with self._changing() as change:
            count = self._add_all((checked_entry(*entry, dim) for entry in entries), change)
            change.log([Event.now("imported", detail=detail)])
            return count

    def rename(self, name: str, other: str) -> None:
        """Give a person another name.

        Args:
            name: The present name.
            other: The new name.

        Raises:
            InvalidArgumentError: The person is not enrolled, or the new name is taken or not valid.
        """
        other = check_name(other)
        with self._changing() as change:
            if self._find(other) is not None:
                raise InvalidArgumentError("", f"{other} is enrolled already", "choose another name")
            self._remove_expired(other, change)
            person = self._get(name)
            change.update(replace(person, name=other), ())
            change.log([Event.now("renamed", other, f"from {person.name}")])

    def remove(self, name: str) -> None:
        """Delete a person, all images and the key that encrypts them. In the log a pseudonym replaces the name.

        A person who has expired is kept for a grace period (`clock`), and can be deleted before its end.

        docs/stores.md describes how long the files of a database server keep deleted data.

        Raises:
            InvalidArgumentError: The name is not enrolled.
        """
        with self._lock:
            with self._changing() as change:
                person = self._find_expired(check_name(name)) or self._get(name)
                pseudonyms = change.forget([person.name])
                change.remove(person)
                change.log([Event.now("removed", pseudonym) for pseudonym in pseudonyms])
            self._erase()

    def remove_image(self, name: str, source: str) -> FaceSample:
        """Delete one image of a person, and fuse the template of the others.

        Args:
            name: The person.
            source: Source of the image, or `#` and its number in the order of `samples`, from 1.

        Returns:
            The image that was deleted.

        Raises:
            InvalidArgumentError: The person is not enrolled, has no such image or several of them, or it is the only
                image.
        """
        with self._lock:
            with self._changing() as change:
                person = self._get(name)
                samples = self._samples(person)
                index = _index_of_image(person.name, samples, source)
                others = [*samples[:index], *samples[index + 1 :]]
                images = (*person.images[:index], *person.images[index + 1 :])
                shorter = replace(person, template=fuse_template(others), images=images)
                change.remove_image(shorter, person.images[index])
                change.log([Event.now("image removed", person.name, samples[index].source)])
            self._erase()
        return samples[index]

    def log(self, events: Sequence[Event]) -> None:
        """Append events to the log."""
        with self._changing() as change:
            change.log(events)

    def contract(self) -> EmbeddingContract | None:
        """What the recogniser of the gallery computes, None if that is not known."""
        with self._reading():
            record = self._contract_record()
        contract = None if record is None else EmbeddingContract.from_bytes(record)
        return contract if contract and contract.model_sha256 == self.binding.model_sha256 else None

    def keep_contract(self, contract: EmbeddingContract, events: Sequence[Event]) -> None:
        """Keep what the recogniser computes, and append events to the log."""
        with self._changing() as change:
            change.keep_contract(contract.to_bytes())
            change.log(events)

    @abstractmethod
    def rotate(self, secret: Secret) -> None:
        """Lock the gallery with a new secret. The former secret no longer opens it.

        A file gets a new gallery key as well. A database keeps the gallery key: a client that has copied the former
        lock and has its secret still has that key.
        """

    @abstractmethod
    def re_embed_all(self, binding: ModelBinding, re_embed: ReEmbed) -> None:
        """Replace the embeddings of all people in one change.

        Args:
            binding: The models that the new embeddings come from.
            re_embed: Returns the images of a person with new embeddings.

        Raises:
            InvalidArgumentError: The gallery is in a database.
        """

    def _get(self, name: str) -> Person:
        person = self._find(check_name(name))
        if person is None:
            raise not_enrolled(name, self.path)
        return person

    @abstractmethod
    def _reading(self) -> AbstractContextManager[None]:
        """Lock this object for reading."""

    @abstractmethod
    def _changing(self) -> AbstractContextManager[GalleryChange]:
        """Lock this object and the gallery for a change."""

    @abstractmethod
    def _find(self, name: str) -> Person | None:
        """The person of a checked name."""

    @abstractmethod
    def _find_expired(self, name: str) -> Person | None:
        """The person of a checked name who has expired and is not removed yet."""

    def _remove_expired(self, name: str, change: GalleryChange) -> None:
        """Make a name free that an expired person has."""
        if (person := self._find_expired(name)) is not None:
            pseudonyms = change.forget([person.name])
            change.remove(person)
            change.log([Event.now("expired", pseudonym) for pseudonym in pseudonyms])

    @abstractmethod
    def _contract_record(self) -> bytes | None:
        """What `GalleryChange.keep_contract` has stored; None if there is nothing, or it cannot be decrypted."""

    @abstractmethod
    def _samples(self, person: Person) -> list[FaceSample]:
        """The images of the person that `_find` returned last."""

    @abstractmethod
    def _add_all(self, entries: Iterable[tuple[Person, Sequence[FaceSample]]], change: GalleryChange) -> int:
        """Add people of an import; returns their number."""

    @abstractmethod
    def _erase(self) -> None:
        """Erase what was deleted from the files of the database, or say in `traces` why not."""
