"""Export a gallery to one encrypted file with a passphrase of its own, and import it into any gallery.

The file is a line of JSON with the lock, followed by encrypted chunks, each after its length: the model binding, each
person, and a trailer with the number of people and the digest of all chunks. The index of a chunk is part of its
associated data, so that no chunk can be left out, moved or repeated.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgefr.errors import InvalidArgumentError, UnavailableError
from edgefr.gallery.base import Gallery
from edgefr.gallery.crypto.encryption import SealContext, damaged, decrypt, encrypt, new_key
from edgefr.gallery.crypto.key_wrapping import Passphrase, unwrap_key, wrap_key
from edgefr.gallery.export_chunks import (
    InvalidExportError,
    count_chunks,
    parse_binding,
    parse_entry,
    read_chunk,
    serialise_entry,
    write_chunk,
)
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.model_check import require_known
from edgefr.gallery.record_checks import InvalidRecordError
from edgefr.gallery.records import Entry, Event, FaceSample, Person
from edgefr.gallery.stores.row_codec import MODULUS
from edgefr.io.files import atomic_write

FORMAT = "edgefr gallery export 1"
LONGEST_LINE = 4096


def export_gallery(gallery: Gallery, path: Path, secret: Passphrase, on_progress: Callable[[int], None]) -> int:
    """Write all people to an encrypted file.

    Args:
        gallery: The gallery to export.
        path: The file to write.
        secret: Passphrase of the file.
        on_progress: Called with 1 after each person.

    Returns:
        Number of people.

    Raises:
        UnavailableError: The file cannot be written, or the gallery was rebuilt during the export.
    """
    context, key, names, binding = SealContext.new(), new_key(), gallery.names(), gallery.binding
    with atomic_write(path, private=True) as temporary, temporary.open("wb") as file:
        line = json.dumps({"format": FORMAT, "place": context.identity, "lock": wrap_key(key, secret, context)})
        file.write(line.encode() + b"\n")
        digest = hashlib.sha256()
        for number, chunk in enumerate(_chunks(gallery, binding, names, on_progress)):
            digest.update(chunk)
            write_chunk(file, encrypt(key, chunk, context.associated_data("chunk", number)))
        if gallery.binding != binding:
            raise UnavailableError(
                "", f"{gallery.path} was rebuilt during the export", "run `edgefr gallery export` again"
            )
        trailer = json.dumps({"people": len(names), "sha256": digest.hexdigest()}).encode()
        write_chunk(file, encrypt(key, trailer, context.associated_data("end")))
    gallery.log([Event.now("exported", detail=f"{len(names)} people")])
    return len(names)


class Export:
    """An unlocked export.

    Attributes:
        binding: The models that its templates come from.
    """

    def __init__(self, path: Path, secret: Passphrase) -> None:
        """Unlock a file.

        Args:
            path: A file that `export_gallery` wrote.
            secret: Its passphrase.

        Raises:
            InvalidArgumentError: It is not an export.
            LockedError: The passphrase is wrong.
            DamagedError: It is damaged.
            InvalidExportError: It names a model that cannot be.
        """
        self._path = path
        if not path.is_file():
            raise _not_an_export(path, "no such file")
        with path.open("rb") as file:
            line = file.readline(LONGEST_LINE)
            self._start = file.tell()
            try:
                raw = json.loads(line)
                valid = raw["format"] == FORMAT and isinstance(raw["place"], str)
            except (ValueError, TypeError, KeyError, RecursionError):
                valid = False
            if not valid:
                raise _not_an_export(path, "another file, or a damaged one")
            self._context = SealContext(raw["place"])
            self._key = unwrap_key(raw["lock"], secret, self._context, str(path))
            try:
                self.binding = parse_binding(self._decrypt(read_chunk(file, path), "chunk", 0))
            except InvalidRecordError as error:
                raise InvalidExportError.of(path, error) from error

    def count(self) -> int:
        """Number of people by the structure of the file, for a progress bar. It is not authenticated.

        Raises:
            DamagedError: The file has another structure.
        """
        with self._path.open("rb") as file:
            file.seek(self._start)
            return max(count_chunks(file, self._path) - 2, 0)  # without the binding and the trailer

    def check(self, on_progress: Callable[[int], None]) -> None:
        """Read and check the whole file, so that nothing has to be undone after an import has begun.

        Args:
            on_progress: Called with 1 after each person.

        Raises:
            DamagedError: The file was changed or truncated.
            InvalidExportError: A record claims what cannot be true, or a name occurs twice.
        """
        for _ in self.people():
            on_progress(1)

    def people(self) -> Iterator[Entry]:
        """All people with their images. They are complete only if the iteration ends without an error.

        Raises:
            DamagedError: The file was changed or truncated.
            InvalidExportError: A record claims what cannot be true, or a name occurs twice.
        """
        digest, count, names = hashlib.sha256(), 0, set[str]()
        with self._path.open("rb") as file:
            file.seek(self._start)
            encrypted = read_chunk(file, self._path)
            while (following := read_chunk(file, self._path)) is not None:
                chunk = self._decrypt(encrypted, "chunk", count)
                digest.update(chunk)
                if count:
                    yield self._entry(chunk, names)
                encrypted, count = following, count + 1
        trailer = json.dumps({"people": count - 1, "sha256": digest.hexdigest()}).encode()
        if self._decrypt(encrypted, "end") != trailer:
            raise damaged(str(self._path))

    def _entry(self, chunk: bytes, names: set[str]) -> Entry:
        """A person who is not among the names, to which the name is added."""
        try:
            person, samples = parse_entry(chunk, self.binding.embedding_dim)
            if person.name in names:
                raise InvalidRecordError.of("each name once", f"{person.name} twice")
        except InvalidRecordError as error:
            raise InvalidExportError.of(self._path, error) from error
        names.add(person.name)
        return person, samples

    def _decrypt(self, encrypted: bytes | None, kind: str, *number: int) -> bytes:
        return decrypt(self._key, encrypted, self._context.associated_data(kind, *number), str(self._path))


def import_people(gallery: Gallery, export: Export, on_progress: Callable[[int], None]) -> int:
    """Enrol all people of an export or none, and verify that the gallery returns what was imported.

    People who have expired since the export are left out.

    Args:
        gallery: The gallery to import into.
        export: The unlocked export.
        on_progress: Called with 1 after each person was written and again after it was verified.

    Returns:
        Number of people.

    Raises:
        WrongModelError: The templates come from another model.
        InvalidArgumentError: A name is enrolled already.
        DamagedError: The export is damaged.
        InvalidExportError: A record of the export claims what cannot be true.
        UnavailableError: The gallery returns something else.
    """
    require_known(gallery, export.binding)
    names, imported = [], Checksum()

    def entries() -> Iterator[Entry]:
        for entry in export.people():
            if entry[0].expires is not None and entry[0].expires <= time.time():
                on_progress(2)
                continue
            names.append(entry[0].name)
            imported.add(*entry)
            yield entry
            on_progress(1)

    count = gallery.import_all(entries(), f"made by {export.binding.model}")
    stored = Checksum()
    for entry in gallery.entries(names):
        stored.add(*entry)
        on_progress(1)
    if stored != imported:
        raise UnavailableError(
            f"{imported} in {gallery.path} after the import",
            str(stored),
            "check who else changes the gallery, remove the imported people and import again",
        )
    return count


@dataclass
class Checksum:
    """A checksum of people and images that does not depend on their order or on their ids."""

    people: int = 0
    digests: int = 0

    def add(self, person: Person, samples: Sequence[FaceSample]) -> None:
        chunk = serialise_entry(replace(person, images=()), samples)  # every gallery gives images other ids
        self.people += 1
        self.digests = (self.digests + int.from_bytes(hashlib.sha256(chunk).digest(), "big")) % MODULUS

    def __str__(self) -> str:
        return f"{self.people:,} people with the checksum {self.digests:064x}"


def _chunks(
    gallery: Gallery, binding: ModelBinding, names: Sequence[str], on_progress: Callable[[int], None]
) -> Iterator[bytes]:
    yield json.dumps(asdict(binding)).encode()
    for entry in gallery.entries(names):
        yield serialise_entry(*entry)
        on_progress(1)


def _not_an_export(path: Path, found: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"a file of `edgefr gallery export` at {path}", found, "give an export from this version of edgefr"
    )
