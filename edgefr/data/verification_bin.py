"""Upstream's verification files (`lfw.bin`, `cfp_fp.bin`, ...): a pickle of encoded pictures and of which pairs match.

A pickle is a program. The few instructions that such a file consists of are read here as data, and every other one
is refused: there is nothing in this reader that could import or call what a file names.
"""

from __future__ import annotations

import mmap
import pickletools
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgefr.data.collections import MAX_PICTURE_BYTES, FaceFolder
from edgefr.errors import EdgefrError

MAX_BIN_BYTES = 1 << 30
"""Ten times the largest that upstream publishes."""

MAX_STEPS = 4_000_000
"""Instructions of a pickle: two for a picture kept as bytes, thirty for one kept as an array."""

PLAIN = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG1"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
"""Instructions that put their own argument on the stack."""

PYTHON_2_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

NUMPY = ("numpy.core.", "numpy._core.")
KNOWN = {
    "_codecs encode": "encode",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    **{core + "multiarray _reconstruct": "array" for core in NUMPY},
    **{core + "multiarray scalar": "scalar" for core in NUMPY},
    **{core + "numeric _frombuffer": "frombuffer" for core in NUMPY},
}
"""What these files name. Each is a word to this reader, not the function."""


@dataclass(frozen=True)
class BinPairs:
    """P pairs: `faces` are their 2 P pictures, pair p showing `record 2p` and `record 2p+1`; `same` is (P,) bool."""

    faces: FaceFolder
    same: npt.NDArray[np.bool_]


def open_bin(path: Path) -> BinPairs:
    """Read the pickle `(bins, issame)` of Python 3, or of Python 2 in its binary protocols, which upstream's tools
    write; pictures are decoded when `faces` is asked for them.

    Raises:
        EdgefrError: no such file, too large, no such pickle, or one that would do more than hold pictures; the record
            is named where one is to blame.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if len(data) > MAX_BIN_BYTES:
                raise ValueError(f"{len(data) >> 20} MiB where {MAX_BIN_BYTES >> 20} are the most")
            pictures, same = _checked(_Reader(encodable=len(data)).read(data))
    except (OSError, ValueError, struct.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise EdgefrError(
            f"a pickle of (pictures, same or not) in {path}",
            str(reason.splitlines()[0][:200]),
            "get the file from its publisher again",
        ) from error
    named = {f"record {number}": picture for number, picture in enumerate(pictures)}
    return BinPairs(FaceFolder(path, tuple(named), named.__getitem__), same)


@dataclass
class _Array:
    """A numpy array, as far as it is needed here: its type and its bytes."""

    kind: str = ""
    raw: bytes = b""


@dataclass(frozen=True)
class _Dtype:
    kind: str


@dataclass(frozen=True)
class _Name:
    word: str


@dataclass
class _Reader:
    """The stack machine of `pickletools`, less everything that acts.

    `encodable` bounds the bytes made from text: what is read once from a file can be encoded over and over.
    """

    encodable: int
    stack: list[object] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[object, object] = field(default_factory=dict)

    def read(self, data: mmap.mmap) -> object:
        """The pickled object; ValueError where there is none."""
        for step, (op, argument, _) in enumerate(pickletools.genops(data)):  # type: ignore[arg-type]
            if step >= MAX_STEPS:
                raise ValueError(f"more than {MAX_STEPS:,} instructions")
            try:
                if op.name == "STOP":
                    return self.stack.pop()
                self._step(op.name, argument)
            except LookupError as error:  # of the stack, the marks or the memo
                raise ValueError(f"nothing that {op.name} could work on") from error
        raise ValueError("no end")

    def _step(self, name: str, argument: object) -> None:
        push = self.stack.append
        match name:
            case "PROTO" | "FRAME":
                pass
            case _ if name in PLAIN:
                push(bytes(argument) if isinstance(argument, bytearray) else argument)
            case _ if name in PYTHON_2_STRINGS:
                push(str(argument).encode("latin-1"))
            case _ if name in CONSTANTS:
                push(CONSTANTS[name])
            case _ if name in TUPLES:
                push(tuple(self._last(TUPLES[name])))
            case "MARK":
                self.marks.append(len(self.stack))
            case "EMPTY_LIST" | "EMPTY_TUPLE":
                push([] if name == "EMPTY_LIST" else ())
            case "LIST" | "TUPLE":
                items = self._marked()
                push(items if name == "LIST" else tuple(items))
            case "APPEND" | "APPENDS":
                self._extend(self._last(1) if name == "APPEND" else self._marked())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                push(self.memo[argument])
            case "GLOBAL":
                push(_known(argument))
            case "STACK_GLOBAL":
                module, what = self._last(2)
                push(_known(f"{module} {what}" if isinstance(module, str) and isinstance(what, str) else None))
            case "REDUCE":
                what, arguments = self._last(2)
                push(self._made(what, arguments))
            case "BUILD":
                (state,) = self._last(1)
                _filled(self.stack[-1], state)
            case _:
                raise ValueError(f"an instruction that no such file needs, {name}")

    def _last(self, count: int) -> list[object]:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _marked(self) -> list[object]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _extend(self, items: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("items for something that is no list")
        target.extend(items)

    def _made(self, what: object, arguments: object) -> object:
        match what, arguments:
            case _Name("encode"), (str(text), "latin1"):  # how Python 3 writes bytes for Python 2
                self.encodable -= len(text)
                if self.encodable < 0:
                    raise ValueError("more text than the file holds")
                return text.encode("latin-1")
            case _Name("dtype"), ((str() | bytes()) as kind, *_):
                return _Dtype(kind if isinstance(kind, str) else kind.decode("ascii"))
            case _Name("array"), (_Name("ndarray"), *_):
                return _Array()
            case _Name("frombuffer"), (bytes(raw), _Dtype(kind), *_):
                return _Array(kind, raw)
            case _Name("scalar"), (_Dtype("b1"), bytes(raw)):
                return raw != b"\0"
        raise ValueError("a call that no such file needs")


def _known(name: object) -> _Name:
    if not isinstance(name, str) or name not in KNOWN:
        raise ValueError(f"that it wants to run {str(name or 'what is no name').replace(' ', '.')!a}")
    return _Name(KNOWN[name])


def _filled(target: object, state: object) -> None:
    """BUILD: the content of an array; the byte order and the like of a type, which one byte has none of."""
    match target, state:
        case _Dtype(), tuple():
            return
        case _Array(), (int(), tuple(), _Dtype(kind), _, bytes(raw)):
            target.kind, target.raw = kind, raw
        case _:
            raise ValueError("a state for something that has none")


def _checked(content: object) -> tuple[list[bytes], npt.NDArray[np.bool_]]:
    """The pictures and which pairs match; ValueError where the content is something else."""
    match content:
        case ((list() | tuple()) as bins, (list() | tuple() | _Array("b1")) as issame):
            same = _truths(issame)
        case _:
            raise ValueError("one of other content")
    if not len(same) or len(bins) != 2 * len(same):
        raise ValueError(f"{len(bins):,} pictures for {len(same):,} pairs")
    return [_picture(item, f"record {number}") for number, item in enumerate(bins)], same


def _truths(issame: list[object] | tuple[object, ...] | _Array) -> npt.NDArray[np.bool_]:
    if isinstance(issame, _Array):
        return np.frombuffer(issame.raw, np.uint8).astype(bool)
    for number, item in enumerate(issame):
        if item not in (True, False):
            raise ValueError(f"neither true nor false for pair {number}")
    return np.array(issame, bool)


def _picture(item: object, name: str) -> bytes:
    raw = item.raw if isinstance(item, _Array) and item.kind == "u1" else item
    if not isinstance(raw, bytes):
        raise ValueError(f"no encoded picture as {name}")
    if len(raw) > MAX_PICTURE_BYTES:
        raise ValueError(f"{len(raw) >> 20} MiB as {name} where {MAX_PICTURE_BYTES >> 20} are the most")
    return raw
