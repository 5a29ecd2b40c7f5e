"""Just enough of protobuf's wire format to look into an .onnx file without decoding it.

Neither the `onnx` package (not on devices) nor an inference session (a tenth of a second or more) is needed to
read what a file says of itself. Wire format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


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
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError("bytes that are no protobuf")
        if at + length > len(message):
            raise ValueError("that it ends too early")
        yield number, message[at : at + length]
        at += length


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
