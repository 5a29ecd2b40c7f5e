"""LFW's pairs file: read as published, and refused by line where it is damaged."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.data.lfw_pairs import NamedPair, people_of, read_pairs
from edgefr.errors import EdgefrError

TEXT = "2\t1\nAnn\t1\t2\nAnn\t1\tBea\t3\nCid\t4\t10\nCid\t4\tDan\t1\n"


def test_pairs_are_read_with_their_folds(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(TEXT)
    pairs = read_pairs(path)
    assert pairs == [
        NamedPair("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", True, 1),
        NamedPair("Ann/Ann_0001.jpg", "Bea/Bea_0003.jpg", False, 1),
        NamedPair("Cid/Cid_0004.jpg", "Cid/Cid_0010.jpg", True, 2),
        NamedPair("Cid/Cid_0004.jpg", "Dan/Dan_0001.jpg", False, 2),
    ]
    assert people_of(pairs, (2,)) == {"Cid", "Dan"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1"),
        ("ten 300\n", "line 1"),
        (TEXT.replace("Cid\t4\t10", "Cid\t4"), "line 4"),
        (TEXT.replace("Bea\t3", "Bea\tx"), "line 3"),
        (TEXT.rsplit("Cid", 1)[0], "expected 4 pairs"),
    ],
)
def test_damage_is_named_by_line(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(EdgefrError, match=complaint):
        read_pairs(path)


@given(st.binary(max_size=100))
def test_any_bytes_give_pairs_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("lfw") / "pairs.txt"
    path.write_bytes(b"1 1\n" + content)
    with contextlib.suppress(EdgefrError):
        assert len(read_pairs(path)) == 2


@pytest.mark.shared
def test_the_published_file(shared: Path) -> None:
    pairs = read_pairs(shared / "lfw-pairs.txt")
    assert len(pairs) == 6000
    assert sum(pair.same for pair in pairs) == 3000
    assert not people_of(pairs, (1, 2, 3, 4, 5)) & people_of(pairs, (6, 7, 8, 9, 10))
