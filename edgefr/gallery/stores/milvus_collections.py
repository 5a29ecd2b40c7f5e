"""Connect to Milvus, and create, recognise and drop the two collections of a gallery."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgefr.errors import InvalidArgumentError, UnavailableError, require_extra
from edgefr.gallery.address import LITE, Address
from edgefr.gallery.stores.base import CALL_TIMEOUT_S
from edgefr.gallery.stores.milvus_errors import translate_milvus_errors
from edgefr.gallery.stores.milvus_rows import BLOB_FIELDS, PERSON_FIELDS, blobs_schema, people_schema
from edgefr.io.credentials import secret_value
from edgefr.io.private_files import make_library_folder

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TOKEN_VARIABLE = "MILVUS_TOKEN"  # noqa: S105
LOAD_TIMEOUT_S = 60.0
"""For creating or loading a collection."""
LITE_TIMEOUT_S = 3600.0
"""For a call of Milvus Lite. It uses no network, and with some 40,000 people one batch took longer than
CALL_TIMEOUT_S to write."""

TEMPLATE, PLACEHOLDER = "template", "nowhere"
"""The vector fields of the two collections. Blobs have one because Milvus 2.3 requires it."""


class Collections:
    """The collections of a gallery: people; and blobs, which are images, events, header and leases."""

    def __init__(self, client: MilvusClient, address: Address) -> None:
        self.people, self.blobs = f"{address.name}_people", f"{address.name}_things"
        self._client = client
        self._address = address
        self._lite = address.kind == LITE
        self._seconds = LITE_TIMEOUT_S if self._lite else CALL_TIMEOUT_S
        self._load_seconds = LITE_TIMEOUT_S if self._lite else LOAD_TIMEOUT_S

    def present(self) -> list[str]:
        """Load the collections that exist and return their names.

        Raises:
            InvalidArgumentError: One of them holds something else.
        """
        fields = {self.people: (*PERSON_FIELDS, TEMPLATE), self.blobs: (*BLOB_FIELDS, PLACEHOLDER)}
        return [collection for collection, names in fields.items() if self._load(collection, names)]

    def create(self, dim: int, description: str) -> None:
        """Create both. The server refuses to create a collection that exists with another description, so that of two
        clients that create a gallery at the same time one fails.
        """
        self._create(self.people, people_schema(dim, description), TEMPLATE)
        self._create(self.blobs, blobs_schema(description), PLACEHOLDER)

    def drop_abandoned(self) -> None:
        """Drop the collections of an interrupted creation. Without a header they must be empty.

        Raises:
            UnavailableError: They are not, so the header was lost.
        """
        present = self.present()
        for collection in present:
            with translate_milvus_errors(self._address):
                rows = self._client.query(
                    collection,
                    filter="id >= 0",
                    output_fields=["id"],
                    limit=1,
                    consistency_level="Strong",
                    timeout=self._seconds,
                )
            if rows:
                raise UnavailableError(
                    "",
                    f"The gallery at {self._address} has lost its header",
                    "restore it from a backup of the server, or choose another name",
                )
        for collection in present:
            with translate_milvus_errors(self._address):
                self._client.drop_collection(collection, timeout=self._load_seconds)

    def _load(self, collection: str, fields: Sequence[str]) -> bool:
        """Load a collection, if it exists."""
        with translate_milvus_errors(self._address):
            if not self._client.has_collection(collection, timeout=self._seconds):
                return False
            described = self._client.describe_collection(collection, timeout=self._seconds)
        found = {field["name"] for field in described["fields"]}
        if found != {*fields}:
            raise InvalidArgumentError(
                f"the gallery {self._address.name} at {self._address}",
                f"something else in the collection {collection} (with the fields {', '.join(sorted(found))[:200]})",
                "choose another name",
            )
        with translate_milvus_errors(self._address):  # Milvus Lite unloads all collections when it ends
            self._client.load_collection(collection, timeout=self._load_seconds)
        return True

    def _create(self, collection: str, schema: Any, vector: str) -> None:
        index = self._client.prepare_index_params()
        index.add_index(vector, index_type="FLAT", metric_type="IP")
        if collection == self.people and not self._lite:
            index.add_index("token", index_type="Trie")
        with translate_milvus_errors(self._address):
            self._client.create_collection(
                collection,
                schema=schema,
                index_params=index,
                consistency_level="Strong",
                num_shards=1,
                timeout=self._load_seconds,
            )


def _import_pymilvus() -> ModuleType:
    """Import pymilvus (3.0.2). Its import configures logging, which closes all handlers of the program: log files, and
    streams of the standard output that something has captured."""
    handlers, names = logging._handlerList[:], dict(logging._handlers)  # type: ignore[attr-defined]
    del logging._handlerList[:]  # type: ignore[attr-defined]
    try:
        return require_extra("pymilvus", "scale")
    finally:
        logging._handlerList[:0] = handlers  # type: ignore[attr-defined]
        logging._handlers.update(names)  # type: ignore[attr-defined]


def connect_milvus(address: Address) -> MilvusClient:
    """Connect to the server, or open the local file.

    Raises:
        MissingExtraError: pymilvus is not installed.
        UnavailableError: The server does not respond, or another process has the file of Milvus Lite open.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # Milvus Lite makes gRPC warn about the keep-alive of idle clients
    client = _import_pymilvus().MilvusClient
    for name in ("pymilvus", "milvus_lite", "grpc._server"):  # these log the traceback of every error
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address.kind == LITE:
        require_extra("milvus_lite", "scale")
        file = Path(address.host).absolute()
        with translate_milvus_errors(address):
            make_library_folder(file)
            return client(str(file), timeout=CALL_TIMEOUT_S)
    with translate_milvus_errors(address):
        token = secret_value(TOKEN_VARIABLE) or ""
        return client(f"http://{address.authority}", token=token, timeout=CALL_TIMEOUT_S)
