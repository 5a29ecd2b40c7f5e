"""A gallery's rows in two collections of Milvus: a server's, or those of Milvus Lite in a local file.

Milvus has no transactions, and keeps text where it keeps bytes: what is sealed is written in base64. Every read asks
for strong consistency, which waits for the server's next tick of time, 200 ms apart unless it is configured otherwise.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefr.errors import EdgefrError, need
from edgefr.gallery.address import LITE, Address
from edgefr.gallery.claim import CLAIM, Claims
from edgefr.gallery.milvus_errors import explained
from edgefr.gallery.milvus_rows import (
    PERSON,
    THING,
    parts,
    people_schema,
    person,
    person_row,
    texts,
    thing,
    thing_row,
    things_schema,
)
from edgefr.gallery.shelf import (
    HEADER,
    IMAGE,
    PAGE,
    SECONDS,
    Intent,
    Mend,
    PersonRow,
    Thing,
)
from edgefr.spec import Floats

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TOKEN_VARIABLE = "MILVUS_TOKEN"  # noqa: S105
LOAD_SECONDS = 60.0
"""How long creating or loading a collection may take."""
LITE_SECONDS = 3600.0
"""How long a call of Milvus Lite may take: among some 40,000 people writing a batch once took longer than SECONDS, and
no network is waited for."""


class MilvusShelf:
    """As `shelf.Shelf` says."""

    def __init__(self, address: Address) -> None:
        """Connect.

        Raises:
            EdgefrError: pymilvus is missing, nobody answers, or another process has the file of Milvus Lite open.
        """
        self.address = address
        self._lite = address.kind == LITE
        self._seconds = LITE_SECONDS if self._lite else SECONDS
        self._load_seconds = LITE_SECONDS if self._lite else LOAD_SECONDS
        self.sees = (
            "Whoever has this file" if self._lite else f"Whoever administers the Milvus server at {address.authority}"
        ) + (
            " sees every template in clear, how many images each person has and when each is to be removed; names, "
            "images, times and the log are sealed, unless the gallery is --plain"
        )
        self._people, self._things = f"{address.name}_people", f"{address.name}_things"
        self._client = _connected(address)
        self._claims = Claims(self, str(address), self._lite)

    def close(self) -> None:
        self._client.close()

    def exists(self) -> bool:
        there = [self._is_ours(self._people, PERSON, "template"), self._is_ours(self._things, THING, "nowhere")]
        if any(there) and not (all(there) and self._query(self._things, f'kind == "{HEADER}"', ("id",))):
            raise EdgefrError(
                f"expected a gallery at {self.address}, found one whose creation was cut short or is under way: wait a "
                f"moment, or have the collections {self._people} and {self._things} dropped and make it again"
            )
        return all(there)

    def create(self, dim: int, header: Thing) -> None:
        if self.exists():
            raise EdgefrError(f"expected no gallery at {self.address}, found one: choose another name")
        # The description makes the collections differ, so that the second of two who create them is refused.
        self._create(self._people, people_schema(dim, header.body[:16].hex()), "template")
        self._create(self._things, things_schema(header.body[:16].hex()), "nowhere")
        self._upsert(self._things, [thing_row(header)])

    def header(self) -> Thing:
        if not self.exists():
            raise EdgefrError(
                f"expected a gallery at {self.address}, found none: make one with `edgefr gallery enroll NAME IMAGE "
                f"--gallery {self.address}`, or choose another --gallery"
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

    def things(self, kind: str, owners: Sequence[int]) -> list[Thing]:
        found: list[Thing] = []
        mine = f'kind == "{kind}" and owner in {list(owners)}'
        while owners:
            rows = self._query(self._things, f"{mine} and id > {found[-1].id if found else 0}", THING, PAGE)
            found += map(thing, rows)
            if len(rows) < PAGE:
                break
        return found

    def thing_page(self, kind: str, after: int) -> list[Thing]:
        rows = self._query(self._things, f'kind == "{kind}" and id > {after}', THING[:-1], PAGE)
        return [thing(row) for row in rows]

    @contextmanager
    def changing(self, mend: Mend, wait: float) -> Iterator[None]:
        with self._claims.held(mend, wait):
            yield

    def intend(self, intent: Intent) -> None:
        self._claims.intend(intent)

    def put(self, people: Sequence[PersonRow], templates: Sequence[Floats]) -> None:
        self._upsert(self._people, [person_row(row, template) for row, template in zip(people, templates, strict=True)])

    def put_things(self, things: Sequence[Thing]) -> None:
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

    def claims(self) -> list[Thing]:
        return [thing(row) for row in self._query(self._things, f'kind == "{CLAIM}"', THING)]

    def put_claim(self, claim: Thing) -> None:
        with explained(self.address):
            self._client.upsert(self._things, [thing_row(claim)], timeout=self._seconds)

    def drop_claim(self, number: int) -> None:
        with explained(self.address):
            self._client.delete(self._things, filter=f"id in [{number}]", timeout=self._seconds)

    def _is_ours(self, collection: str, fields: Sequence[str], vector: str) -> bool:
        with explained(self.address):
            if not self._client.has_collection(collection, timeout=self._seconds):
                return False
            found = {
                field["name"] for field in self._client.describe_collection(collection, timeout=self._seconds)["fields"]
            }
        if found != {*fields, vector}:
            raise EdgefrError(
                f"expected the gallery {self.address.name} at {self.address}, found something else in the collection "
                f"{collection} (with the fields {', '.join(sorted(found))[:200]}): choose another name"
            )
        with explained(self.address):  # Milvus Lite forgets what is loaded when it ends
            self._client.load_collection(collection, timeout=self._load_seconds)
        return True

    def _create(self, collection: str, schema: Any, vector: str) -> None:
        index = self._client.prepare_index_params()
        index.add_index(vector, index_type="FLAT", metric_type="IP")
        if collection == self._people and not self._lite:
            index.add_index("token", index_type="Trie")
        with explained(self.address):
            self._client.create_collection(
                collection,
                schema=schema,
                index_params=index,
                consistency_level="Strong",
                num_shards=1,
                timeout=self._load_seconds,
            )

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


def _connected(address: Address) -> MilvusClient:
    client = need("pymilvus", "scale").MilvusClient
    for chatty in ("pymilvus", "milvus_lite", "grpc._server"):  # tracebacks of errors that are told in a sentence
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    if address.kind == LITE:
        need("milvus_lite", "scale")
        file = Path(address.host).absolute()
        with explained(address):
            file.parent.mkdir(parents=True, exist_ok=True)
            return client(str(file), timeout=SECONDS)
    with explained(address):
        return client(f"http://{address.authority}", token=os.environ.get(TOKEN_VARIABLE, ""), timeout=SECONDS)
