"""Reads the people of a gallery in a file, most of them from a snapshot of the index, and updates the snapshot.

The snapshot saves an opening the decryption of every record. It is never trusted by itself: each part has the digests
of the rows that it was made from, and those of all parts and of the people beside them must add up to the digests in
the header of the gallery, which every change of a person changes. So a snapshot that is older than the people, for
example because a version of edgefr without snapshots has removed somebody, is noticed and made again.

A change writes the parts of the people that it changes in its own transaction. People who were added stay beside the
parts until they are `FOLD_ROWS`, or are packed into parts at once by an import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from edgefr.errors import UnavailableError
from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.records import MAX_ID
from edgefr.gallery.search.index_chunk import IndexChunk
from edgefr.gallery.stores.row_codec import MODULUS, Header, Row
from edgefr.gallery.stores.sqlite import MIN_ROW, SqliteStore
from edgefr.gallery.stores.sqlite_schema import translate_errors
from edgefr.gallery.stores.sqlite_snapshot import Range, SnapshotTable
from edgefr.gallery.stores.sqlite_transaction import SqliteTransaction

CHUNK_ROWS = 2048
"""Most people of a part: 1.2 MB with templates of 512 numbers. A removal encrypts the part of the person again."""
FOLD_ROWS = 1024
"""People beside the parts, from which on an opening packs them. It reads so many in about 0.1 s."""


@dataclass
class People:
    """All people of a gallery, as they were read.

    Attributes:
        header: The header that they match.
        chunks: Parts of the index, in the order of ids.
        loose: People beside them.
        unsaved: The parts that are not in the snapshot.
        stored: The ranges in the snapshot.
        unused: Those of damaged or outdated parts.
    """

    header: Header
    chunks: list[IndexChunk]
    loose: list[Row] = field(default_factory=list)
    unsaved: list[IndexChunk] = field(default_factory=list)
    stored: list[Range] = field(default_factory=list)
    unused: list[Range] = field(default_factory=list)

    def match_header(self) -> bool:
        """Whether they are the people of the header, all of them and no others."""
        totals = [
            *(chunk.total() for chunk in self.chunks),
            *((1, int.from_bytes(row.digest, "big")) for row in self.loose),
        ]
        count, total = sum(one for one, _ in totals), sum(digest for _, digest in totals) % MODULUS
        return (count, total) == (self.header.people, self.header.rows)


def read_people(store: SqliteStore) -> People:
    """Read and verify all people.

    Raises:
        DamagedError: They do not match the header.
    """
    with translate_errors(store.path):
        header, stored = store.header(), store.snapshot.ranges()
        people = _read(store, header, _parts(store.snapshot, stored, header.binding.embedding_dim))
        if stored and not people.match_header():
            store.check_structure()
            people = _read(store, header, [])
    if not people.match_header():
        raise store.wrong_people()
    used = {(chunk.first, chunk.last) for chunk in people.chunks} - {
        (chunk.first, chunk.last) for chunk in people.unsaved
    }
    people.stored, people.unused = stored, [one for one in stored if one not in used]
    return people


def save(store: SqliteStore, people: People) -> bool:
    """Write the parts that are not in the snapshot, and delete those that nobody can use, unless another process has
    changed something since, or the file cannot be written now.

    Returns:
        Whether parts were deleted. They may have people who are gone, and are in the file until it is erased.
    """
    deleted = False
    if people.unsaved or people.unused:
        with suppress(UnavailableError, DamagedError), store.saving() as table:
            header = store.header()
            found = header.people, header.rows, table.ranges()
            if found == (people.header.people, people.header.rows, people.stored):
                for one in people.unused:
                    table.delete(one)
                for chunk in people.unsaved:
                    table.write((chunk.first, chunk.last), chunk.to_bytes())
                deleted = bool(people.unused)
    people.unsaved.clear()
    return deleted


def update(change: SqliteTransaction) -> None:
    """Write the parts again that have people whom a change has removed or changed."""
    numbers: dict[Range, list[int]] = {}
    for number in {*change.removed, *(one for one in change.written if not change.is_new(one))}:
        if (place := change.snapshot.around(number)) is not None:
            numbers.setdefault(place, []).append(number)
    for place, changed in numbers.items():
        chunk = next(iter(_parts(change.snapshot, [place], change.header.binding.embedding_dim)), None)
        rows = [change.written[number] for number in sorted(changed) if number in change.written]
        rest = None if chunk is None else chunk.changed(changed, rows)
        if rest is None:
            change.snapshot.delete(place)  # people of a damaged part are read one by one by the next opening
        else:
            change.snapshot.write(place, rest.to_bytes())


def pack(change: SqliteTransaction) -> list[IndexChunk]:
    """Write the people that a change has added into a part of the snapshot as soon as they fill one, and forget them in
    `change.written`; returns the part."""
    if len(change.written) < CHUNK_ROWS:
        return []
    chunk = IndexChunk.of([row for _, row in sorted(change.written.items())])
    change.snapshot.write((chunk.first, chunk.last), chunk.to_bytes())
    change.written.clear()
    return [chunk]


def _parts(table: SnapshotTable, ranges: Sequence[Range], dim: int) -> list[IndexChunk]:
    """The parts that are intact, in the order of ids."""
    chunks: list[IndexChunk] = []
    for first, last in ranges:
        data = table.get((first, last))
        if data is None or (chunks and first <= chunks[-1].last):
            continue
        with suppress(ValueError, KeyError, TypeError):  # another format
            chunks.append(IndexChunk.from_bytes(first, last, dim, data))
    return chunks


def _read(store: SqliteStore, header: Header, chunks: list[IndexChunk]) -> People:
    """The people of some parts, and those beside them."""
    people, rests = People(header, chunks), []
    for first, last in _gaps(chunks):
        rows: list[Row] = []
        for row in store.rows(first, last):
            rows.append(row)
            if len(rows) == CHUNK_ROWS:
                people.unsaved.append(IndexChunk.of(rows))
                rows = []
        rests.append(rows)
    if sum(map(len, rests)) < FOLD_ROWS:
        people.loose = [row for rows in rests for row in rows]
    else:
        people.unsaved += [IndexChunk.of(rows) for rows in rests if rows]
    people.chunks = sorted([*chunks, *people.unsaved], key=lambda chunk: chunk.first)
    return people


def _gaps(chunks: Sequence[IndexChunk]) -> Iterator[Range]:
    """The ranges of ids that no part stands for."""
    first = MIN_ROW
    for chunk in chunks:
        if first < chunk.first:
            yield first, chunk.first - 1
        first = chunk.last + 1
    yield first, MAX_ID
