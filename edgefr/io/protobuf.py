"""Just enough of protobuf's wire format to look into an .onnx file, or change its metadata, without decoding it.

Neither the `onnx` package (not on devices) nor an inference session (a tenth of a second or more) is needed to
read what a file says of itself. Wire format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_METADATA, _KEY, _VALUE = 14, 1, 2
"""`ModelProto.metadata_props` and the fields of its entries, `StringStringEntryProto` (onnx.proto3)."""


def map_file(path: Path) -> memoryview:
    """The bytes of a file, read where they are looked at; let go of with the last view into them.

    Raises:
        OSError, ValueError: the file cannot be read, or is empty.
    """
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_metadata(model: memoryview) -> dict[str, str]:
    """The metadata of a `ModelProto`; its graph is stepped over.

    Raises:
        ValueError: the bytes are no model, or end too early.
    """
    return dict(_entry(value) for value in messages(model, _METADATA))


def with_metadata(model: memoryview, key: str, value: str) -> Iterator[memoryview | bytes]:
    """A `ModelProto` piece by piece, every byte as it is but for the one entry of its metadata.

    Raises:
        ValueError: the bytes are no model, or end too early.
    """
    for number, found, place in placed_fields(model):
        if not (number == _METADATA and isinstance(found, memoryview) and _entry(found)[0] == key):
            yield model[place]
    yield encoded(_METADATA, encoded(_KEY, key.encode()) + encoded(_VALUE, value.encode()))


def _entry(message: memoryview) -> tuple[str, str]:
    key, value = (messages(message, number) for number in (_KEY, _VALUE))
    if not (key and value):
        raise ValueError("metadata without a key or value")
    return bytes(key[0]).decode(), bytes(value[0]).decode()


def messages(message: memoryview, wanted: int) -> list[memoryview]:
    """The length-delimited fields of one number, undecoded.

    Raises:
        ValueError: the bytes are no protobuf message, or end too early.
    """
    return [value for number, value in fields(message) if number == wanted and isinstance(value, memoryview)]


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of one message as (number, value); nested messages stay undecoded.

    Raises:
        ValueError: the bytes are no protobuf message, or end too early.
    """
    return ((number, value) for number, value, _ in placed_fields(message))


def placed_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview, slice]]:
    """As `fields`, and which of the message's bytes the field takes, its key among them.

    Raises:
        ValueError: the bytes are no protobuf message, or end too early.
    """
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value, slice(start, at)
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError("bytes that are no protobuf")
        if at + length > len(message):
            raise ValueError("that it ends too early")
        yield number, message[at : at + length], slice(start, at + length)
        at += length


def encoded(number: int, value: bytes) -> bytes:
    """A length-delimited field, such as `messages` reads."""
    return _encoded_varint(number << 3 | _BYTES) + _encoded_varint(len(value)) + value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("that it ends too early")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("bytes that are no protobuf")


def _encoded_varint(value: int) -> bytes:
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
