"""A gallery in two collections of a Milvus server, or of Milvus Lite in a local file.

Milvus has no transactions, so a lease admits one writer at a time. It has no field for bytes, so ciphertexts are stored
in base64. Every read asks for strong consistency, which waits for the server's next time tick: every 200 ms by default.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from edgefr.errors import EdgefrError, UnavailableError
from edgefr.gallery.address import LITE, Address
from edgefr.gallery.records import MAX_ID
from edgefr.gallery.stores.base import (
    CALL_TIMEOUT_S,
    HEADER,
    IMAGE,
    PAGE_ROWS,
    Blob,
    NoGalleryError,
    PendingWrite,
    PersonRow,
    Recover,
    gallery_exists_already,
    privacy_notice,
)
from edgefr.gallery.stores.milvus_collections import LITE_TIMEOUT_S, Collections, connect_milvus
from edgefr.gallery.stores.milvus_errors import translate_milvus_errors
from edgefr.gallery.stores.milvus_rows import (
    BLOB_FIELDS,
    PERSON_FIELDS,
    batches,
    blob_from_row,
    blob_to_row,
    person_from_row,
    person_to_row,
    string_list,
)
from edgefr.gallery.stores.writer_lease import LEASE_KIND, WriterLease
from edgefr.types import Floats

ABANDONED_S, LITE_ABANDONED_S = 60.0, 2.0
"""Age from which on collections without a header count as an interrupted creation. On a server another process may
still be creating the gallery; in Milvus Lite only another thread can."""
MAX_CREATION_S = ABANDONED_S - CALL_TIMEOUT_S
"""A creation that takes longer writes no header, because another client may have taken its place."""


class MilvusStore:
    """Implements `GalleryStore` with Milvus."""

    def __init__(self, address: Address) -> None:
        """Connect.

        Raises:
            MissingExtraError: pymilvus is not installed.
            UnavailableError: The server does not respond, or another process has the file of Milvus Lite open.
        """
        self.address = address
        self._lite = address.kind == LITE
        reader = "Anyone with this file" if self._lite else f"The administrator of Milvus at {address.authority}"
        self.privacy_notice = privacy_notice(reader)
        self._client = connect_milvus(address)
        self._collections = Collections(self._client, address)
        self._people, self._blobs = self._collections.people, self._collections.blobs
        self._lease = WriterLease(self, str(address), self._lite)

    def close(self) -> None:
        self._client.close()

    @property
    def _seconds(self) -> float:
        return LITE_TIMEOUT_S if self._lite else CALL_TIMEOUT_S

    def exists(self) -> bool:
        present = self._collections.present()
        return len(present) == 2 and bool(self._query(self._blobs, f'kind == "{HEADER}"', ("id",)))

    def create(self, dim: int, header: Blob) -> None:
        deadline = time.monotonic() + (LITE_ABANDONED_S if self._lite else ABANDONED_S)
        while not self.exists() and self._collections.present() and time.monotonic() < deadline:
            time.sleep(0.5)  # another client may be creating it
        if self.exists():
            raise gallery_exists_already(self.address)
        self._collections.drop_abandoned()
        start = time.monotonic()
        self._collections.create(dim, header.body[:16].hex())
        if not self._lite and (duration := time.monotonic() - start) > MAX_CREATION_S:
            raise UnavailableError(
                f"a gallery at {self.address} within {MAX_CREATION_S:.0f} seconds",
                f"that creating its collections took {duration:.0f}",
                "check that the server runs, and try again",
            )
        self._upsert(self._blobs, [blob_to_row(header)])

    def header(self) -> Blob:
        if not self.exists():
            raise NoGalleryError.at(self.address)
        return blob_from_row(self._query(self._blobs, f'kind == "{HEADER}"', BLOB_FIELDS)[0])

    def count(self, now: int) -> int:
        return int(self._query(self._people, f"due == 0 or due > {now}", ("count(*)",))[0]["count(*)"])

    def find(self, name_hashes: Sequence[str]) -> list[PersonRow]:
        return self._query_people(f"token in {string_list(name_hashes)}")

    def get(self, number: int) -> PersonRow | None:
        return next(iter(self._query_people(f"id == {number}")), None)

    def nearest(self, queries: Floats, top: int) -> list[list[PersonRow]]:
        with translate_milvus_errors(self.address):
            found = self._client.search(
                self._people,
                data=list(queries),
                limit=top,
                output_fields=list(PERSON_FIELDS),
                anns_field="template",
                search_params={"metric_type": "IP"},
                consistency_level="Strong",
                timeout=self._seconds,
            )
        return [[person_from_row(hit["entity"]) for hit in hits] for hits in found]

    def people_page(self, after: int) -> list[PersonRow]:
        return self._query_people(f"id > {after}", PAGE_ROWS)

    def expired(self, now: int) -> list[PersonRow]:
        return self._query_people(f"due > 0 and due <= {now}", PAGE_ROWS)

    def blobs(self, kind: str, owners: Sequence[int]) -> list[Blob]:
        found: list[Blob] = []
        condition = f'kind == "{kind}" and owner in {list(owners)}'
        while owners:
            after = found[-1].id if found else 0
            rows = self._query(self._blobs, f"{condition} and id > {after}", BLOB_FIELDS, PAGE_ROWS)
            found += map(blob_from_row, rows)
            if len(rows) < PAGE_ROWS:
                break
        return found

    def blob_page(self, kind: str, after: int, before: int = MAX_ID) -> list[Blob]:
        condition = f'kind == "{kind}" and id > {after} and id < {before}'
        rows = self._query(self._blobs, condition, BLOB_FIELDS[:-1], PAGE_ROWS)
        return [blob_from_row(row) for row in rows]

    @contextmanager
    def changing(self, recover: Recover, wait: float) -> Iterator[None]:
        with self._lease.hold(recover, wait):
            yield

    def begin(self, pending: PendingWrite) -> None:
        self._lease.begin(pending)

    def put_people(self, people: Sequence[PersonRow], templates: Sequence[Floats]) -> None:
        rows = [person_to_row(row, template) for row, template in zip(people, templates, strict=True)]
        self._upsert(self._people, rows)

    def put_blobs(self, blobs: Sequence[Blob]) -> None:
        self._upsert(self._blobs, [blob_to_row(blob) for blob in blobs])

    def delete_range(self, first: int, last: int) -> None:
        self._delete_where(self._people, f"id >= {first} and id <= {last}")
        self._delete_where(self._blobs, f'kind == "{IMAGE}" and owner >= {first} and owner <= {last}')

    def delete_people(self, ids: Sequence[int]) -> None:
        self._delete_where(self._blobs, f'kind == "{IMAGE}" and owner in {list(ids)}')
        self._delete(self._people, ids)

    def delete_blobs(self, kind: str, ids: Sequence[int]) -> None:
        for start in range(0, len(ids), PAGE_ROWS):
            self._delete(self._blobs, ids[start : start + PAGE_ROWS])

    def vacuum(self) -> None:
        """Compaction rewrites the collections without deleted rows. The server limits how often it can be requested,
        and also compacts from time to time by itself."""
        for collection in (self._people, self._blobs):
            with suppress(EdgefrError), translate_milvus_errors(self.address):
                self._client.flush(collection, timeout=self._seconds)
                self._client.compact(collection, timeout=self._seconds)

    def leases(self) -> list[Blob]:
        return [blob_from_row(row) for row in self._query(self._blobs, f'kind == "{LEASE_KIND}"', BLOB_FIELDS)]

    def put_lease(self, lease: Blob) -> None:
        with translate_milvus_errors(self.address):
            self._client.upsert(self._blobs, [blob_to_row(lease)], timeout=self._seconds)

    def delete_lease(self, number: int) -> None:
        with translate_milvus_errors(self.address):
            self._client.delete(self._blobs, filter=f"id in [{number}]", timeout=self._seconds)

    def _query_people(self, condition: str, limit: int | None = None) -> list[PersonRow]:
        return [person_from_row(row) for row in self._query(self._people, condition, PERSON_FIELDS, limit)]

    def _query(self, collection: str, condition: str, fields: Sequence[str], limit: int | None = None) -> list[Any]:
        """All rows, or with a limit the first ones by id, which is the order that `iterator` asks for."""
        paged = {} if limit is None else {"limit": limit, "iterator": "True"}
        with translate_milvus_errors(self.address):
            return list(
                self._client.query(
                    collection,
                    filter=condition,
                    output_fields=list(fields),
                    consistency_level="Strong",
                    timeout=self._seconds,
                    **paged,
                )
            )

    def _upsert(self, collection: str, rows: Sequence[dict[str, Any]]) -> None:
        for batch in batches(rows):
            self._lease.check()
            with translate_milvus_errors(self.address):
                self._client.upsert(collection, batch, timeout=self._seconds)

    def _delete_where(self, collection: str, condition: str) -> None:
        while found := self._query(collection, condition, ("id",), PAGE_ROWS):
            self._delete(collection, [row["id"] for row in found])

    def _delete(self, collection: str, ids: Sequence[int]) -> None:
        self._lease.check()
        with translate_milvus_errors(self.address):
            self._client.delete(collection, filter=f"id in {list(ids)}", timeout=self._seconds)
