"""A gallery as one sealed file to carry elsewhere: everybody with all images, under a passphrase of its own.

A line of JSON with the lock, then sealed chunks with their lengths: what made the templates, each person, and at the
end how many they were and the digest of them all. Chunks are bound to their places, so that none is left out, moved or
doubled.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from os import SEEK_CUR
from pathlib import Path
from typing import BinaryIO

from edgefr.errors import EdgefrError
from edgefr.gallery.base import Entry, Gallery
from edgefr.gallery.crypto.encryption import SealContext, damaged, decrypt, encrypt, new_key
from edgefr.gallery.crypto.key_wrapping import Passphrase, unwrap_key, wrap_key
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import Event, FaceSample, Person, check_name
from edgefr.gallery.stores.row_codec import MODULUS
from edgefr.io.files import atomic_write

FORMAT = "edgefr gallery export 1"
LONGEST_LINE = 4096
LARGEST = 64 << 20
"""Bytes of a chunk: twice a person with as many images as there may be, each with its crop."""


def export_gallery(gallery: Gallery, path: Path, secret: Passphrase, advance: Callable[[int], None]) -> int:
    """Write everybody to `path`; how many they are.

    Raises:
        EdgefrError: the file cannot be written, or the gallery was rebuilt meanwhile.
    """
    place, key, names, binding = SealContext.new(), new_key(), gallery.names(), gallery.binding
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        line = json.dumps({"format": FORMAT, "place": place.identity, "lock": wrap_key(key, secret, place)})
        file.write(line.encode() + b"\n")
        whole = hashlib.sha256()
        for number, chunk in enumerate(_chunks(gallery, binding, names, advance)):
            whole.update(chunk)
            _write(file, encrypt(key, chunk, place.of("chunk", number)))
        if gallery.binding != binding:
            raise EdgefrError(
                f"{gallery.path} to stay bound to {binding.model} while it is exported",
                "it rebuilt",
                "run `edgefr gallery export` again",
            )
        end = json.dumps({"people": len(names), "sha256": whole.hexdigest()}).encode()
        _write(file, encrypt(key, end, place.of("end")))
    gallery.log([Event.now("exported", detail=f"{len(names)} people")])
    return len(names)


class Export:
    """An export, opened: what made its templates, and its people."""

    def __init__(self, path: Path, secret: Passphrase) -> None:
        """Unlock a file.

        Raises:
            EdgefrError: it is no export, the passphrase is wrong, or it is damaged.
        """
        self._path = path
        with path.open("rb") if path.is_file() else _refuse(path) as file:
            line = file.readline(LONGEST_LINE)
            self._start = file.tell()
            try:
                raw = json.loads(line)
                sound = raw["format"] == FORMAT and isinstance(raw["place"], str)
            except (ValueError, TypeError, KeyError, RecursionError):
                sound = False
            if not sound:
                _refuse(path)
            self._place = SealContext(raw["place"])
            self._key = unwrap_key(raw["lock"], secret, self._place, str(path))
            self.binding = ModelBinding(**json.loads(self._opened(_read(file, path), "chunk", 0)))

    def count(self) -> int:
        """How many people there are, by the file's structure: a number to expect, which nothing proves yet."""
        chunks = 0
        with self._path.open("rb") as file:
            file.seek(self._start)
            while len(head := file.read(4)) == 4:
                file.seek(int.from_bytes(head, "big"), SEEK_CUR)
                chunks += 1
        return max(chunks - 2, 0)  # what made the templates is the first, the end the last

    def people(self) -> Iterator[Entry]:
        """Everybody; only where the iteration ends without an error is it all of them.

        Raises:
            DamagedError: the file was changed or cut short.
        """
        whole, count = hashlib.sha256(), 0
        with self._path.open("rb") as file:
            file.seek(self._start)
            sealed = _read(file, self._path)
            while (following := _read(file, self._path)) is not None:
                chunk = self._opened(sealed, "chunk", count)
                whole.update(chunk)
                if count:
                    yield _entry(chunk)
                sealed, count = following, count + 1
        end = json.loads(self._opened(sealed, "end"))
        if end != {"people": count - 1, "sha256": whole.hexdigest()}:
            raise damaged(str(self._path))

    def _opened(self, sealed: bytes | None, kind: str, *number: int) -> bytes:
        return decrypt(self._key, sealed, self._place.of(kind, *number), str(self._path))


def import_people(gallery: Gallery, export: Export, advance: Callable[[int], None]) -> int:
    """Enrol everybody in an export, or nobody, and compare what is enrolled then with the export; how many they are.

    Whose time is over since the export is left out. `advance` is told of everybody twice.

    Raises:
        EdgefrError: another model made it, somebody's name is taken, the file is damaged, or the gallery gives back
            something else.
    """
    gallery.binding.require_compatible(export.binding, gallery.path)
    names, given = [], Tally()

    def told() -> Iterator[Entry]:
        for entry in export.people():
            if entry[0].expires is not None and entry[0].expires <= time.time():  # who would be gone when compared
                advance(2)
                continue
            names.append(entry[0].name)
            given.add(*entry)
            yield entry
            advance(1)

    count = gallery.import_all(told(), f"made by {export.binding.model}")
    found = Tally()
    for entry in gallery.entries(names):
        found.add(*entry)
        advance(1)
    if found != given:
        raise EdgefrError(
            f"{given} in {gallery.path} after the import",
            str(found),
            "see who else changed it meanwhile, remove who was imported, and import again",
        )
    return count


@dataclass
class Tally:
    """How many people, and the sum of the digests of all that is enrolled of them: the same in whatever order, and
    wherever they are kept."""

    people: int = 0
    digests: int = 0

    def add(self, person: Person, samples: Sequence[FaceSample]) -> None:
        chunk = _chunk(replace(person, images=()), samples)  # the rows of the images are others in every gallery
        self.people += 1
        self.digests = (self.digests + int.from_bytes(hashlib.sha256(chunk).digest(), "big")) % MODULUS

    def __str__(self) -> str:
        return f"{self.people:,} people with the digest {self.digests:064x}"


def _chunks(
    gallery: Gallery, binding: ModelBinding, names: Sequence[str], advance: Callable[[int], None]
) -> Iterator[bytes]:
    yield json.dumps(asdict(binding)).encode()
    for entry in gallery.entries(names):
        yield _chunk(*entry)
        advance(1)


def _chunk(person: Person, samples: Iterable[FaceSample]) -> bytes:
    parts = [person.part()]
    for sample in samples:
        parts += sample.parts()
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _entry(chunk: bytes) -> Entry:
    parts = []
    while chunk:
        size = 4 + int.from_bytes(chunk[:4], "big")
        parts.append(chunk[4:size])
        chunk = chunk[size:]
    person = Person.from_part(0, parts[0])
    check_name(person.name)
    return person, [FaceSample.from_parts(*parts[at : at + 2]) for at in range(1, len(parts), 2)]


def _write(file: BinaryIO, sealed: bytes) -> None:
    file.write(len(sealed).to_bytes(4, "big") + sealed)


def _read(file: BinaryIO, path: Path) -> bytes | None:
    """The next chunk, or None at the end of the file."""
    head = file.read(4)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    sealed = file.read(size) if len(head) == 4 and size <= LARGEST else b""
    if len(sealed) != size or not size:
        raise damaged(str(path))
    return sealed


def _refuse(path: Path) -> BinaryIO:
    found = "another or a damaged file" if path.is_file() else "no such file"
    raise EdgefrError(f"what `edgefr gallery export` wrote in {path}", found, "give an export of this version")
