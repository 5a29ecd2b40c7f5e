"""Upstream's verification files (`lfw.bin`, `cfp_fp.bin`, ...): a pickle of encoded pictures and which pairs match."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgefr.data.collections import FaceFolder
from edgefr.errors import EdgefrError
from edgefr.io.jpeg import MAX_PICTURE_BYTES
from edgefr.io.restricted_unpickler import RestrictedUnpickler, check_instructions, refusal_reason
from edgefr.types import Bools

MAX_BIN_BYTES = 1 << 30
"""Ten times the largest file that upstream publishes."""

MAX_STEPS = 4_000_000
"""Instructions of a pickle. A picture takes two if it is kept as bytes, and thirty if it is kept as an array."""

INSTRUCTIONS = {
    *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG1"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
"""All that Python 2, Python 3 and numpy write for bytes, booleans, arrays, lists and tuples of them."""


@dataclass(frozen=True)
class BinPairs:
    """P pairs of pictures.

    Attributes:
        faces: The 2 P pictures. Pair p shows `record 2p` and `record 2p+1`.
        same: (P,) bool, whether both pictures show the same person.
    """

    faces: FaceFolder
    same: Bools


def open_bin(path: Path) -> BinPairs:
    """Read a verification file: the pickle `(bins, issame)` of Python 3, or of Python 2 with protocol 1 or 2.

    Args:
        path: A .bin file as upstream's tools write it.

    Returns:
        The pairs. Pictures are decoded when they are read from `faces`.

    Raises:
        EdgefrError: The file is missing, too large, damaged, or a pickle that would do more than hold pictures. The
            error names the record if one is to blame.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if len(data) > MAX_BIN_BYTES:
                raise ValueError(f"{len(data) >> 20} MiB, more than {MAX_BIN_BYTES >> 20}")
            check_instructions(data, INSTRUCTIONS, MAX_STEPS)  # type: ignore[arg-type]
            data.seek(0)
            pictures, same = _check_content(_BinUnpickler(data, len(data)).load())  # type: ignore[arg-type]
    except Exception as error:  # a hostile pickle can raise anything that its instructions reach
        raise EdgefrError(
            f"a pickle of (pictures, same or not) in {path}",
            getattr(error, "strerror", None) or refusal_reason(error),
            "get the file from its publisher again",
        ) from error
    named = {f"record {number}": picture for number, picture in enumerate(pictures)}
    return BinPairs(FaceFolder(path, tuple(named), named.__getitem__), same)


class _Array:
    """Stands for a numpy array: its type and its bytes. Shapes are not needed, and could ask for any memory."""

    def __init__(self, kind: str = "", raw: bytes = b"") -> None:
        self.kind, self.raw = kind, raw

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, _, dtype, _, raw = state
        self.kind, self.raw = _kind(dtype), bytes(_data(raw))


class _Dtype:
    """Stands for a numpy dtype of single bytes, which have no byte order."""

    def __init__(self, kind: str | bytes, *_: object) -> None:
        self.kind = kind if isinstance(kind, str) else kind.decode("ascii")

    def __setstate__(self, _state: object) -> None:
        """Byte order and alignment mean nothing for single bytes."""


class _BinUnpickler(RestrictedUnpickler):
    def __init__(self, file: IO[bytes], encodable: int) -> None:
        super().__init__(file, encoding="bytes")
        self._encodable = encodable

    def resolve(self, module: str, name: str) -> Any:
        functions: dict[tuple[str, str], Callable[..., Any]] = {
            ("_codecs", "encode"): self._encode,
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Dtype,
            ("multiarray", "_reconstruct"): lambda *_: _Array(),
            ("multiarray", "scalar"): _scalar,
            ("numeric", "_frombuffer"): lambda raw, dtype, *_: _Array(_kind(dtype), bytes(_data(raw))),
        }
        for package in ("numpy.core.", "numpy._core."):
            module = module.removeprefix(package)
        return functions.get((module, name))

    def _encode(self, text: str, encoding: str) -> bytes:
        """How Python 3 writes bytes for Python 2. The same text can be encoded over and over, so the sum is bounded."""
        if encoding != "latin1":
            raise ValueError(f"text in the encoding {encoding!a}")
        self._encodable -= len(text)
        if self._encodable < 0:
            raise ValueError("more text than the file holds")
        return text.encode("latin-1")


def _scalar(dtype: object, raw: object) -> bool:
    if _kind(dtype) != "b1":
        raise ValueError("a number instead of true or false")
    return _data(raw) != b"\0"


def _kind(dtype: object) -> str:
    if not isinstance(dtype, _Dtype):
        raise TypeError("an array without a type")
    return dtype.kind


def _data(raw: object) -> bytes | bytearray:
    if not isinstance(raw, bytes | bytearray):
        raise TypeError("an array without bytes")
    return raw


def _check_content(content: object) -> tuple[list[bytes], Bools]:
    """The pictures and which pairs match; ValueError if the content is something else."""
    match content:
        case ((list() | tuple()) as bins, (list() | tuple()) as issame):
            if wrong := [number for number, item in enumerate(issame) if item not in (True, False)]:
                raise ValueError(f"neither true nor false for pair {wrong[0]}")
            same = np.array(issame, bool)
        case ((list() | tuple()) as bins, _Array(kind="b1") as issame):
            same = np.frombuffer(issame.raw, np.uint8).astype(bool)
        case _:
            raise ValueError("other content")
    if not len(same) or len(bins) != 2 * len(same):
        raise ValueError(f"{len(bins):,} pictures for {len(same):,} pairs")
    return [_check_picture(item, f"record {number}") for number, item in enumerate(bins)], same


def _check_picture(item: object, name: str) -> bytes:
    raw = item.raw if isinstance(item, _Array) and item.kind == "u1" else item
    if not isinstance(raw, bytes | bytearray):
        raise ValueError(f"no encoded picture as {name}")
    if len(raw) > MAX_PICTURE_BYTES:
        raise ValueError(f"{len(raw) >> 20} MiB as {name}, more than {MAX_PICTURE_BYTES >> 20}")
    return bytes(raw)
