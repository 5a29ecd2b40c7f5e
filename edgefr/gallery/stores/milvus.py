"""A gallery's rows in two collections of Milvus: a server's, or those of Milvus Lite in a local file.

Milvus has no transactions, and keeps text where it keeps bytes: what is sealed is written in base64. Every read asks
for strong consistency, which waits for the server's next tick of time, 200 ms apart unless it is configured otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from edgefr.errors import EdgefrError
from edgefr.gallery.address import LITE, Address
from edgefr.gallery.stores.base import HEADER, IMAGE, PAGE, SECONDS, Blob, Mend, PendingWrite, PersonRow
from edgefr.gallery.stores.milvus_collections import LITE_SECONDS, Collections, connected
from edgefr.gallery.stores.milvus_errors import explained
from edgefr.gallery.stores.milvus_rows import PERSON, THING, parts, person, person_row, texts, thing, thing_row
from edgefr.gallery.stores.writer_lease import CLAIM, WriterLease
from edgefr.types import Floats

HALF_MADE_SECONDS, HALF_MADE_LITE_SECONDS = 60.0, 2.0
"""From when on a gallery without a header is one whose creation was cut short: a server's may be under way in another
process, Milvus Lite's only in another thread."""
MADE_SECONDS = HALF_MADE_SECONDS - SECONDS
"""How long a creation may take before its header is written: later, another client may have taken its place."""


class MilvusStore:
    """As `shelf.Shelf` says."""

    def __init__(self, address: Address) -> None:
        """Connect.

        Raises:
            EdgefrError: pymilvus is missing, nobody answers, or another process has the file of Milvus Lite open.
        """
        self.address = address
        self._lite = address.kind == LITE
        self.sees = (
            "Whoever has this file" if self._lite else f"Whoever administers the Milvus server at {address.authority}"
        ) + (
            " sees every template in clear, how many images each person has and when each is to be removed; names, "
            "images, times and the log are sealed, unless the gallery is --plain"
        )
        self._client = connected(address)
        self._collections = Collections(self._client, address)
        self._people, self._things = self._collections.people, self._collections.things
        self._claims = WriterLease(self, str(address), self._lite)

    def close(self) -> None:
        self._client.close()

    @property
    def _seconds(self) -> float:
        return LITE_SECONDS if self._lite else SECONDS

    def exists(self) -> bool:
        there = self._collections.there()
        return len(there) == 2 and bool(self._query(self._things, f'kind == "{HEADER}"', ("id",)))

    def create(self, dim: int, header: Blob) -> None:
        end = time.monotonic() + (HALF_MADE_LITE_SECONDS if self._lite else HALF_MADE_SECONDS)
        while not self.exists() and self._collections.there() and time.monotonic() < end:
            time.sleep(0.5)  # another client may be making it
        if self.exists():
            raise EdgefrError(f"no gallery at {self.address}", "one", "choose another name")
        self._collections.clear()
        begun = time.monotonic()
        self._collections.create(dim, header.body[:16].hex())
        if not self._lite and (taken := time.monotonic() - begun) > MADE_SECONDS:
            raise EdgefrError(
                f"the gallery at {self.address} to be made within {MADE_SECONDS:.0f} seconds",
                f"that its collections took {taken:.0f}",
                "see that the server runs, and try again",
            )
        self._upsert(self._things, [thing_row(header)])

    def header(self) -> Blob:
        if not self.exists():
            raise EdgefrError(
                f"a gallery at {self.address}",
                "none",
                (
                    f"make one with `edgefr gallery enroll NAME IMAGE --gallery {self.address}`, or choose another "
                    "--gallery"
                ),
            )
        return thing(self._query(self._things, f'kind == "{HEADER}"', THING)[0])

    def count(self) -> int:
        with explained(self.address):
            found = self._client.query(
                self._people, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=self._seconds
            )
        return int(found[0]["count(*)"])

    def named(self, tokens: Sequence[str]) -> list[PersonRow]:
        return [person(row) for row in self._query(self._people, f"token in {texts(tokens)}", PERSON)]

    def numbered(self, number: int) -> PersonRow | None:
        found = self._query(self._people, f"id == {number}", PERSON)
        return person(found[0]) if found else None

    def nearest(self, queries: Floats, top: int) -> list[list[PersonRow]]:
        with explained(self.address):
            found = self._client.search(
                self._people,
                data=list(queries),
                limit=top,
                output_fields=list(PERSON),
                anns_field="template",
                search_params={"metric_type": "IP"},
                consistency_level="Strong",
                timeout=self._seconds,
            )
        return [[person(hit["entity"]) for hit in hits] for hits in found]

    def page(self, after: int) -> list[PersonRow]:
        return [person(row) for row in self._query(self._people, f"id > {after}", PERSON, PAGE)]

    def due(self, now: int) -> list[PersonRow]:
        return [person(row) for row in self._query(self._people, f"due > 0 and due <= {now}", PERSON, PAGE)]

    def things(self, kind: str, owners: Sequence[int]) -> list[Blob]:
        found: list[Blob] = []
        mine = f'kind == "{kind}" and owner in {list(owners)}'
        while owners:
            rows = self._query(self._things, f"{mine} and id > {found[-1].id if found else 0}", THING, PAGE)
            found += map(thing, rows)
            if len(rows) < PAGE:
                break
        return found

    def thing_page(self, kind: str, after: int) -> list[Blob]:
        rows = self._query(self._things, f'kind == "{kind}" and id > {after}', THING[:-1], PAGE)
        return [thing(row) for row in rows]

    @contextmanager
    def changing(self, mend: Mend, wait: float) -> Iterator[None]:
        with self._claims.held(mend, wait):
            yield

    def intend(self, intent: PendingWrite) -> None:
        self._claims.intend(intent)

    def put(self, people: Sequence[PersonRow], templates: Sequence[Floats]) -> None:
        self._upsert(self._people, [person_row(row, template) for row, template in zip(people, templates, strict=True)])

    def put_things(self, things: Sequence[Blob]) -> None:
        self._upsert(self._things, [thing_row(thing) for thing in things])

    def drop(self, first: int, last: int) -> None:
        self._drop(self._people, f"id >= {first} and id <= {last}")
        self._drop(self._things, f'kind == "{IMAGE}" and owner >= {first} and owner <= {last}')

    def drop_people(self, numbers: Sequence[int]) -> None:
        self._drop(self._things, f'kind == "{IMAGE}" and owner in {list(numbers)}')
        self._delete(self._people, numbers)

    def drop_things(self, kind: str, numbers: Sequence[int]) -> None:
        for start in range(0, len(numbers), PAGE):
            self._delete(self._things, numbers[start : start + PAGE])

    def forget(self) -> None:
        """Compaction writes the collections anew without what was deleted; the server limits how often it is asked,
        and compacts from time to time unasked."""
        for collection in (self._people, self._things):
            with suppress(EdgefrError), explained(self.address):
                self._client.flush(collection, timeout=self._seconds)
                self._client.compact(collection, timeout=self._seconds)

    def claims(self) -> list[Blob]:
        return [thing(row) for row in self._query(self._things, f'kind == "{CLAIM}"', THING)]

    def put_claim(self, claim: Blob) -> None:
        with explained(self.address):
            self._client.upsert(self._things, [thing_row(claim)], timeout=self._seconds)

    def drop_claim(self, number: int) -> None:
        with explained(self.address):
            self._client.delete(self._things, filter=f"id in [{number}]", timeout=self._seconds)

    def _query(self, collection: str, where: str, fields: Sequence[str], limit: int | None = None) -> list[Any]:
        """Rows; where there is a limit the first by number, which is what `iterator` asks for."""
        paged = {} if limit is None else {"limit": limit, "iterator": "True"}
        with explained(self.address):
            return list(
                self._client.query(
                    collection,
                    filter=where,
                    output_fields=list(fields),
                    consistency_level="Strong",
                    timeout=self._seconds,
                    **paged,
                )
            )

    def _upsert(self, collection: str, rows: Sequence[dict[str, Any]]) -> None:
        for part in parts(rows):
            self._claims.check()
            with explained(self.address):
                self._client.upsert(collection, part, timeout=self._seconds)

    def _drop(self, collection: str, where: str) -> None:
        while found := self._query(collection, where, ("id",), PAGE):
            self._delete(collection, [row["id"] for row in found])

    def _delete(self, collection: str, numbers: Sequence[int]) -> None:
        self._claims.check()
        with explained(self.address):
            self._client.delete(collection, filter=f"id in {list(numbers)}", timeout=self._seconds)
