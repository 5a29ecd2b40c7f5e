"""Upstream's .bin files are read as Python 2 and 3 write them, damage is reported, and no code of theirs runs."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefr.data import verification_bin as bin_file
from edgefr.data.verification_bin import open_bin
from edgefr.errors import EdgefrError

SAME = [True, False, False]


def encoded(seed: int, kind: str = ".jpg", side: int = 112) -> bytes:
    """A red gradient with a little noise, so that colour and place show."""
    noise = np.random.default_rng(seed).integers(0, 20, (side, side, 3))
    noise[..., 2] += np.linspace(0, 200, side).astype(int)  # BGR
    return cv2.imencode(kind, noise.astype(np.uint8))[1].tobytes()


PICTURES = [encoded(seed, ".png" if seed % 2 else ".jpg") for seed in range(6)]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def python_2(pictures: list[bytes], same: list[bool]) -> bytes:
    """What Python 2's pickle writes with protocol 2: str as BINSTRING."""
    items = b"".join(b"T" + struct.pack("<i", len(item)) + item + b"q\x01" for item in pictures)
    truths = b"".join(b"\x88" if item else b"\x89" for item in same)
    return b"\x80\x02]q\x00(" + items + b"e]q\x02(" + truths + b"e\x86q\x03."


def array_form(shape: tuple[int, ...]) -> list[np.ndarray]:
    return [np.frombuffer(item, np.uint8).reshape(shape) for item in PICTURES]


FORMS: dict[str, Callable[[], bytes]] = {
    "python 2": lambda: python_2(PICTURES, SAME),
    **{f"protocol {p}": lambda p=p: pickle.dumps((PICTURES, SAME), p) for p in range(6)},
    **{f"arrays, protocol {p}": lambda p=p: pickle.dumps((array_form((-1,)), SAME), p) for p in range(6)},
    "columns, as older OpenCV encodes": lambda: pickle.dumps((array_form((-1, 1)), SAME), 4),
    "truth as an array": lambda: pickle.dumps((PICTURES, np.array(SAME)), 4),
    "truth as an array, protocol 5": lambda: pickle.dumps((PICTURES, np.array(SAME)), 5),
    "truth as numpy's bools": lambda: pickle.dumps((PICTURES, list(np.array(SAME))), 4),
    "truth as numbers": lambda: pickle.dumps([tuple(PICTURES), [1, 0, 0]], 2),
    "numpy before 2": lambda: pickle.dumps((array_form((-1,)), SAME), 2).replace(b"numpy._core.", b"numpy.core."),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_python_writes_is_read(form: str, tmp_path: Path) -> None:
    pairs = open_bin(write(tmp_path / "lfw.bin", FORMS[form]()))
    assert pairs.same.dtype == bool
    assert pairs.same.tolist() == SAME
    faces = pairs.faces.read_faces()
    for face, picture in zip(faces, PICTURES, strict=True):
        wanted = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(face, wanted[..., ::-1])
    assert faces[..., 0].mean() > 50 + faces[..., 2].mean()  # the gradient is red


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ((PICTURES, [True, False]), "6 pictures for 2 pairs"),
        ((PICTURES[:5], SAME), "5 pictures for 3 pairs"),
        (([], []), "0 pictures for 0 pairs"),
        ((PICTURES, [True, None, False]), "neither true nor false for pair 1"),
        ((PICTURES, [True, False, 2]), "neither true nor false for pair 2"),
        (([*PICTURES[:4], "text", PICTURES[5]], SAME), "no encoded picture as record 4"),
        (([*PICTURES[:2], np.zeros(4, np.float32), *PICTURES[3:]], SAME), "no encoded picture as record 2"),
        (PICTURES, "found other content"),
        (None, "found other content"),
        ((PICTURES, SAME, 1), "found other content"),
        ({"bins": PICTURES}, "the instruction EMPTY_DICT, which no such file needs"),
        (([*PICTURES[:5], {1}], SAME), "the instruction EMPTY_SET, which no such file needs"),
        (([*PICTURES[:5], np.array([None])], SAME), "no encoded picture as record 5|without bytes"),
    ],
)
def test_other_content_is_refused(content: object, complaint: str, tmp_path: Path) -> None:
    path = write(tmp_path / "lfw.bin", pickle.dumps(content, 4))
    with pytest.raises(EdgefrError, match=rf"lfw\.bin, .*({complaint})"):
        open_bin(path)


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        (b"", "no picture"),
        (b"GIF9", "no picture"),
        (PICTURES[0][:700], "ends too early"),
        (PICTURES[1][:-30], "ends too early|checksum"),
        (encoded(0, side=64), "64x64"),
    ],
)
def test_a_damaged_picture_is_named_by_its_record(picture: bytes, complaint: str, tmp_path: Path) -> None:
    damaged = [*PICTURES[:3], picture, *PICTURES[4:]]
    pairs = open_bin(write(tmp_path / "lfw.bin", pickle.dumps((damaged, SAME))))
    with pytest.raises(EdgefrError, match=rf"record 3[, ].*({complaint})"):
        pairs.faces.read_faces()


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "lfw.bin", pickle.dumps((PICTURES, SAME)))
    for name, limit, complaint in (
        ("MAX_STEPS", 20, "more than 20 instructions"),
        ("MAX_PICTURE_BYTES", 1000, "as record 0"),
        ("MAX_BIN_BYTES", 1000, "more than 0"),
    ):
        with monkeypatch.context() as limited:
            limited.setattr(bin_file, name, limit)
            with pytest.raises(EdgefrError, match=complaint):
                open_bin(path)


@pytest.mark.parametrize(
    "content", [None, b"", b"\x80", b"\x80\x04", b".", b"e.", b"R.", b"\x89b.", b"0", b"t.", b"h\x05."]
)
def test_a_file_that_is_not_a_pickle_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "lfw.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EdgefrError, match="expected a pickle of") as caught:
        open_bin(path)
    assert "\n" not in str(caught.value)


class Runs:
    """Asks to be unpickled by a call."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call[0], self.call[1:]  # type: ignore[return-value]


def attacks(target: Path) -> dict[str, bytes]:
    """Each makes `target` when an ordinary unpickler reads it."""
    shell = f"touch {target}"
    text = b"X" + struct.pack("<I", len(shell)) + shell.encode()
    code = f"open({str(target)!r}, 'w').close()"
    inside = ([*PICTURES[:5], Runs(os.system, shell)], SAME)
    return {
        **{f"os.system, protocol {p}": pickle.dumps(Runs(os.system, shell), p) for p in range(6)},
        "beside good pictures": pickle.dumps(inside),
        "builtins.eval": pickle.dumps(Runs(eval, code)),
        "builtins.exec, protocol 0": pickle.dumps(Runs(exec, code), 0),
        "INST": b"(S" + repr(shell).encode() + b"\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + text + b"o.",
        "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93" + text + b"\x85R.",
        "a known name's attribute": b"\x8c\x07_codecs\x8c\x0fencode.__self__\x93" + text + b"\x85R.",
        "BUILD of a known function": b"c_codecs\nencode\n}X\x08\x00\x00\x00__code__Nsb.",
        "EXT1": b"\x82\x01.",
        "persistent id": b"Pos.system\n.",
        "numpy's own loader": b"cnumpy\nload\n" + text + b"\x85R.",
    }


RUN_FOR_REAL = {
    "os.system, protocol 0",
    "os.system, protocol 4",
    "beside good pictures",
    "builtins.eval",
    "INST",
    "OBJ",
    "STACK_GLOBAL",
}


@pytest.mark.parametrize("name", attacks(Path("x")))
def test_a_hostile_pickle_runs_nothing(name: str, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    content = attacks(target)[name]
    if name in RUN_FOR_REAL:  # the attack is one
        with contextlib.suppress(Exception):
            pickle.loads(content)
        assert target.exists()
        target.unlink()
    with pytest.raises(EdgefrError, match=r"a call of '|instruction \w+, which no such file needs") as caught:
        open_bin(write(tmp_path / "lfw.bin", content))
    assert not target.exists()
    assert "\n" not in str(caught.value)


def bombs() -> dict[str, bytes]:
    """Small files that would fill the memory, or the stack, of an ordinary unpickler or of a careless check."""
    text = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000
    encode = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    array = pickle.dumps(np.zeros(3, np.uint8), 2)
    return {
        "memo index": b"]r\xff\xff\xff\xff.",
        "BINUNICODE8 length": b"\x8d" + b"\xff" * 7 + b"\x7f" + b"abc.",
        "BINBYTES8 length": b"\x8e" + struct.pack("<Q", 1 << 40) + b"abc.",
        "BYTEARRAY8 length": b"\x96" + struct.pack("<Q", 1 << 40) + b"abc.",
        "FRAME length": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
        "LONG4 length": b"\x8b" + struct.pack("<i", 0x7FFFFFFF) + b"abc.",
        "LONG1": b"\x8a\xff" + b"\xff" * 255 + b".",
        "digits": b"I" + b"9" * 100_000 + b"\n.",
        "lists of lists of the last": b"]q\x00" + b"(h\x00h\x00lq\x00" * 60 + b".",
        "names of such lists": b"]q\x00" + b"(h\x00h\x00lq\x00" * 60 + b"h\x00\x93.",
        "depth": b"(" * 40_000 + b"t" * 40_000 + b"(\x88l\x86.",
        "depth of lists": b"]" * 40_000 + b"a" * 39_999 + b"(\x88l\x86.",
        "a list in itself": b"]q\x00h\x00a(\x88l\x86.",
        "text encoded again and again": b"(" + text + b"q\x00" + encode * 10_000 + b"l.",
        "array of a shape too large": array.replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
    }  # fmt: skip


@pytest.mark.parametrize("name", bombs())
def test_memory_stays_bounded(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "lfw.bin", bombs()[name])
    tracemalloc.start()
    try:
        with pytest.raises(EdgefrError) as caught:
            open_bin(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 600


SMALL = [cv2.imencode(".jpg", np.full((112, 112, 3), 60 * seed, np.uint8))[1] for seed in range(4)]
MUTABLE = [
    python_2([item.tobytes() for item in SMALL], [True, False]),
    *(pickle.dumps(([item.tobytes() for item in SMALL], [True, False]), protocol) for protocol in (0, 2, 4)),
    *(pickle.dumps((SMALL, np.array([True, False])), protocol) for protocol in (0, 2, 5)),
]


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(MUTABLE),
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 255)), min_size=1, max_size=8),
    st.floats(0.01, 1),
)
def test_changed_bytes_are_read_or_refused(
    tmp_path: Path, content: bytes, changes: list[tuple[float, bool, int]], part: float
) -> None:
    """Half of the changes are made at the ends, where most instructions are: the rest is mostly pixels."""
    changed = bytearray(content)
    for where, at_ends, value in changes:
        changed[int(where * 300) - 150 if at_ends else int(where * (len(changed) - 1))] = value
    path = write(tmp_path / "fuzzed.bin", bytes(changed[: int(part * len(changed))] if part < 0.2 else changed))
    with contextlib.suppress(EdgefrError):
        pairs = open_bin(path)
        assert len(pairs.faces.names) == 2 * len(pairs.same)
        pairs.faces.read_faces()


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *(b"(", b"]", b")", b"l", b"t", b"e", b"a", b"\x85", b"\x86", b"\x87", b"N", b"\x88", b"}", b"0"),
                *(b"q\x00", b"h\x00", b"b", b"R", b"\x94", b"C\x01\x00", b"K\x01", b"X\x02\x00\x00\x00u1"),
                *(b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"cos\nsystem\n"),
                *(b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\nscalar\n"),
                b"cnumpy.core.numeric\n_frombuffer\n",
            ]
        ),
        max_size=30,
    )
)  # fmt: skip
def test_any_program_of_these_instructions_is_read_or_refused(tmp_path: Path, program: list[bytes]) -> None:
    path = write(tmp_path / "program.bin", b"".join(program) + b".")
    with contextlib.suppress(EdgefrError):
        open_bin(path)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300), st.booleans()), min_size=1, max_size=5),
    st.integers(0, 5),
)
def test_pickled_pictures_are_read_back(tmp_path: Path, pairs: list[tuple[bytes, bytes, bool]], protocol: int) -> None:
    pictures = [b"x" + picture for pair in pairs for picture in pair[:2]]
    same = [pair[2] for pair in pairs]
    stream = io.BytesIO()
    pickle.Pickler(stream, protocol).dump((pictures, same))
    found = open_bin(write(tmp_path / "any.bin", stream.getvalue()))
    assert [found.faces.read_bytes(name) for name in found.faces.names] == pictures
    assert found.same.tolist() == same
