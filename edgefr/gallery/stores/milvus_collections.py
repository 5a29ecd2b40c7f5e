"""A gallery's two collections in Milvus: made, recognised, and cleared away where their making was cut short."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefr.errors import EdgefrError, require_extra
from edgefr.gallery.address import LITE, Address
from edgefr.gallery.stores.base import SECONDS
from edgefr.gallery.stores.milvus_errors import explained
from edgefr.gallery.stores.milvus_rows import PERSON, THING, people_schema, things_schema

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TOKEN_VARIABLE = "MILVUS_TOKEN"  # noqa: S105
LOAD_SECONDS = 60.0
"""How long creating or loading a collection may take."""
LITE_SECONDS = 3600.0
"""How long a call of Milvus Lite may take: among some 40,000 people writing a batch once took longer than SECONDS, and
no network is waited for."""

TEMPLATE, NOWHERE = "template", "nowhere"
"""The collections' vectors; things have one because Milvus 2.3 demands it."""


class Collections:
    """The collections of the gallery at an address."""

    def __init__(self, client: MilvusClient, address: Address) -> None:
        self.people, self.things = f"{address.name}_people", f"{address.name}_things"
        self._client = client
        self._address = address
        self._lite = address.kind == LITE
        self._seconds = LITE_SECONDS if self._lite else SECONDS
        self._load_seconds = LITE_SECONDS if self._lite else LOAD_SECONDS

    def there(self) -> list[str]:
        """Those of the two that are there, loaded.

        Raises:
            EdgefrError: one of them is somebody else's.
        """
        shapes = {self.people: (*PERSON, TEMPLATE), self.things: (*THING, NOWHERE)}
        return [collection for collection, fields in shapes.items() if self._is_ours(collection, fields)]

    def create(self, dim: int, mark: str) -> None:
        """Make both; `mark` makes them differ from others' of the same name, so that the second of two who create them
        is refused."""
        self._create(self.people, people_schema(dim, mark), TEMPLATE)
        self._create(self.things, things_schema(mark), NOWHERE)

    def clear(self) -> None:
        """Drop what a creation left that was cut short: without a header nobody can have been enrolled.

        Raises:
            EdgefrError: somebody was, so the header is what was lost.
        """
        there = self.there()
        for collection in there:
            with explained(self._address):
                rows = self._client.query(
                    collection,
                    filter="id >= 0",
                    output_fields=["id"],
                    limit=1,
                    consistency_level="Strong",
                    timeout=self._seconds,
                )
            if rows:
                raise EdgefrError(
                    f"a gallery or none at {self._address}",
                    "one that lost its header",
                    "restore it from a backup of the server, or choose another name",
                )
        for collection in there:
            with explained(self._address):
                self._client.drop_collection(collection, timeout=self._load_seconds)

    def _is_ours(self, collection: str, fields: Sequence[str]) -> bool:
        with explained(self._address):
            if not self._client.has_collection(collection, timeout=self._seconds):
                return False
            described = self._client.describe_collection(collection, timeout=self._seconds)
        found = {field["name"] for field in described["fields"]}
        if found != {*fields}:
            raise EdgefrError(
                f"the gallery {self._address.name} at {self._address}",
                (f"something else in the collection {collection} (with the fields {', '.join(sorted(found))[:200]})"),
                "choose another name",
            )
        with explained(self._address):  # Milvus Lite forgets what is loaded when it ends
            self._client.load_collection(collection, timeout=self._load_seconds)
        return True

    def _create(self, collection: str, schema: Any, vector: str) -> None:
        index = self._client.prepare_index_params()
        index.add_index(vector, index_type="FLAT", metric_type="IP")
        if collection == self.people and not self._lite:
            index.add_index("token", index_type="Trie")
        with explained(self._address):
            self._client.create_collection(
                collection,
                schema=schema,
                index_params=index,
                consistency_level="Strong",
                num_shards=1,
                timeout=self._load_seconds,
            )


def connected(address: Address) -> MilvusClient:
    """A client of the server, or of the local file.

    Raises:
        EdgefrError: pymilvus is missing, nobody answers, or another process has the file of Milvus Lite open.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it tells stderr that Milvus Lite finds an idle client too lively
    client = require_extra("pymilvus", "scale").MilvusClient
    for chatty in ("pymilvus", "milvus_lite", "grpc._server"):  # tracebacks of errors that are told in a sentence
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    if address.kind == LITE:
        require_extra("milvus_lite", "scale")
        file = Path(address.host).absolute()
        with explained(address):
            file.parent.mkdir(parents=True, exist_ok=True)
            return client(str(file), timeout=SECONDS)
    with explained(address):
        return client(f"http://{address.authority}", token=os.environ.get(TOKEN_VARIABLE, ""), timeout=SECONDS)
