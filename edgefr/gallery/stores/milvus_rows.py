"""Rows as Milvus keeps them: its fields, and sealed bytes as text in base64, for it has no field of bytes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from typing import Any

from edgefr.errors import EdgefrError
from edgefr.gallery.stores.base import PAGE, Blob, PersonRow
from edgefr.types import Floats

LONGEST = 65_535
"""Characters of a text in Milvus."""
LARGEST = 16 << 20
"""Bytes of one insert; Milvus takes 64 MiB."""
PERSON = ("id", "token", "due", "key", "record")
THING = ("id", "kind", "owner", "body", "extra")
NOWHERE = [1.0, 0.0]
"""Every collection must have a vector; a thing's says nothing."""


def people_schema(dim: int, description: str) -> Any:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, description=description)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("token", DataType.VARCHAR, max_length=64)
    schema.add_field("due", DataType.INT64)
    schema.add_field("key", DataType.VARCHAR, max_length=128)
    schema.add_field("record", DataType.VARCHAR, max_length=LONGEST)
    schema.add_field("template", DataType.FLOAT_VECTOR, dim=dim)
    return schema


def things_schema(description: str) -> Any:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, description=description)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("kind", DataType.VARCHAR, max_length=16)
    schema.add_field("owner", DataType.INT64)
    schema.add_field("body", DataType.VARCHAR, max_length=LONGEST)
    schema.add_field("extra", DataType.VARCHAR, max_length=LONGEST)
    schema.add_field("nowhere", DataType.FLOAT_VECTOR, dim=len(NOWHERE))
    return schema


def person_row(row: PersonRow, template: Floats) -> dict[str, Any]:
    sealed = {"key": _text(row.key), "record": _text(row.record)}
    return {"id": row.id, "token": row.token, "due": row.due, **sealed, "template": template}


def person(row: dict[str, Any]) -> PersonRow:
    return PersonRow(row["id"], row["token"], row["due"], b64decode(row["key"]), b64decode(row["record"]))


def thing_row(thing: Blob) -> dict[str, Any]:
    sealed = {"body": _text(thing.body), "extra": _text(thing.extra)}
    return {"id": thing.id, "kind": thing.kind, "owner": thing.owner, **sealed, "nowhere": NOWHERE}


def thing(row: dict[str, Any]) -> Blob:
    return Blob(row["kind"], row["id"], row["owner"], b64decode(row["body"]), b64decode(row.get("extra", "")))


def _text(data: bytes) -> str:
    text = b64encode(data).decode()
    if len(text) > LONGEST:
        raise EdgefrError(
            f"at most {LONGEST * 3 // 4:,} bytes of a person or an image, which Milvus can keep",
            f"{len(data):,}",
            "enrol fewer images of one person, or use a gallery in a file or in PostgreSQL",
        )
    return text


def texts(tokens: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{token}"' for token in tokens) + "]"


def parts(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in parts of at most PAGE rows and about LARGEST bytes."""
    part: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        length = sum(len(value) for value in row.values() if isinstance(value, str)) + 4 * len(row.get("template", ()))
        if part and (len(part) == PAGE or size + length > LARGEST):
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    if part:
        yield part
