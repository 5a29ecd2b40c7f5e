"""Protobuf's wire format, as far as ONNX files need it (protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Message:
    """A protobuf message as its fields by number. Nested messages are not decoded before they are asked for.

    Raises:
        ValueError: The bytes are not a protobuf message, or end too early.
    """

    def __init__(self, data: memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = defaultdict(list)
        for number, value, _ in fields(data):
            self._fields[number].append(value)

    def views(self, number: int) -> list[memoryview]:
        """The bytes of all length-delimited fields of this number."""
        return [value for value in self._fields.get(number, ()) if isinstance(value, memoryview)]

    def messages(self, *path: int) -> list[Message]:
        """All nested messages that a path of field numbers leads to."""
        found = [self]
        for number in path:
            found = [Message(value) for message in found for value in message.views(number)]
        return found

    def texts(self, number: int) -> list[str]:
        """All text fields of this number."""
        return [bytes(value).decode() for value in self.views(number)]

    def text(self, number: int) -> str:
        """The text field of this number, empty if there is none."""
        return (self.texts(number) or [""])[0]

    def integer(self, number: int) -> int | None:
        """The integer field of this number, if there is one. Of several, the last counts, as in protobuf."""
        return next((value for value in reversed(self._fields.get(number, ())) if isinstance(value, int)), None)


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview, slice]]:
    """The fields of a protobuf message: number, value, and the place of the whole field in the message.

    Raises:
        ValueError: The bytes are not a protobuf message, or end too early.
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
            raise ValueError("it is not protobuf")
        if at + length > len(message):
            raise ValueError("it ends too early")
        yield number, message[at : at + length], slice(start, at + length)
        at += length


def encode_field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(value)) + value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends too early")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is not protobuf")


def _encode_varint(value: int) -> bytes:
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
