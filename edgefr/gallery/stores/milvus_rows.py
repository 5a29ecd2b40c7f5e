"""Convert people and blobs to rows of Milvus. Ciphertexts are base64, because Milvus has no field for bytes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from typing import Any

from edgefr.errors import InvalidArgumentError
from edgefr.gallery.stores.base import PAGE_ROWS, Blob, PersonRow
from edgefr.types import Floats

MAX_TEXT = 65_535
"""Characters of a text field."""
MAX_INSERT = 16 << 20
"""Bytes of one insert. Milvus accepts 64 MiB."""
PERSON_FIELDS = ("id", "token", "due", "key", "record")
"""Fields of a `PersonRow`, in the order of its attributes."""
BLOB_FIELDS = ("id", "kind", "owner", "body", "extra")
PLACEHOLDER_VECTOR = [1.0, 0.0]
"""Every collection must have a vector field. The one of blobs is not used."""


def people_schema(dim: int, description: str) -> Any:
    """The fields of the collection of people."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, description=description)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("token", DataType.VARCHAR, max_length=64)
    schema.add_field("due", DataType.INT64)
    schema.add_field("key", DataType.VARCHAR, max_length=128)
    schema.add_field("record", DataType.VARCHAR, max_length=MAX_TEXT)
    schema.add_field("template", DataType.FLOAT_VECTOR, dim=dim)
    return schema


def blobs_schema(description: str) -> Any:
    """The fields of the collection of blobs."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, description=description)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("kind", DataType.VARCHAR, max_length=16)
    schema.add_field("owner", DataType.INT64)
    schema.add_field("body", DataType.VARCHAR, max_length=MAX_TEXT)
    schema.add_field("extra", DataType.VARCHAR, max_length=MAX_TEXT)
    schema.add_field("nowhere", DataType.FLOAT_VECTOR, dim=len(PLACEHOLDER_VECTOR))
    return schema


def person_to_row(row: PersonRow, template: Floats) -> dict[str, Any]:
    ciphertexts = {"key": _encode(row.key), "record": _encode(row.record)}
    return {"id": row.id, "token": row.name_hash, "due": row.expires_at, **ciphertexts, "template": template}


def person_from_row(row: dict[str, Any]) -> PersonRow:
    return PersonRow(row["id"], row["token"], row["due"], b64decode(row["key"]), b64decode(row["record"]))


def blob_to_row(blob: Blob) -> dict[str, Any]:
    ciphertexts = {"body": _encode(blob.body), "extra": _encode(blob.extra)}
    return {"id": blob.id, "kind": blob.kind, "owner": blob.owner, **ciphertexts, "nowhere": PLACEHOLDER_VECTOR}


def blob_from_row(row: dict[str, Any]) -> Blob:
    return Blob(row["kind"], row["id"], row["owner"], b64decode(row["body"]), b64decode(row.get("extra", "")))


def _encode(data: bytes) -> str:
    text = b64encode(data).decode()
    if len(text) > MAX_TEXT:
        raise InvalidArgumentError(
            f"at most {MAX_TEXT * 3 // 4:,} bytes for a person or an image, the maximum of Milvus",
            f"{len(data):,}",
            "enrol fewer images of one person, or use a gallery in a file or in PostgreSQL",
        )
    return text


def string_list(values: Sequence[str]) -> str:
    """A list of strings in a filter expression. The strings must be hexadecimal digits: they are not escaped."""
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def batches(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Split rows into batches of at most `PAGE_ROWS` rows and about `MAX_INSERT` bytes."""
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        length = sum(len(value) for value in row.values() if isinstance(value, str)) + 4 * len(row.get("template", ()))
        if batch and (len(batch) == PAGE_ROWS or size + length > MAX_INSERT):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch
