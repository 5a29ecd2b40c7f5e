"""Values of `--gallery`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.gallery.address import LITE, MILVUS, POSTGRES, Address, parse_address

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
WORDS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
HOSTS = st.sampled_from(["localhost", "10.0.0.7", "db.example.org", "::1"])
PORTS = st.integers(1, 65535)
ADDRESSES = st.one_of(
    st.builds(lambda host, name, port: Address(MILVUS, host, name, port), HOSTS, NAMES, PORTS),
    st.builds(lambda file, name: Address(LITE, f"/data/{file}.db", name), WORDS, NAMES),
    st.builds(
        lambda host, name, port, database, user: Address(POSTGRES, host, name, port, database, user),
        HOSTS,
        NAMES,
        PORTS,
        WORDS,
        WORDS | st.just(""),
    ),
    st.builds(lambda name, database: Address(POSTGRES, "", name, None, database), NAMES, WORDS),
)


@given(ADDRESSES)
def test_an_address_is_parsed_from_its_text(address: Address) -> None:
    assert parse_address(str(address)) == address


@given(st.text(max_size=60).map(lambda text: f"milvus://{text}") | st.text(max_size=60).map("postgresql://{}".format))
def test_any_other_text_is_refused(text: str) -> None:
    try:
        found = parse_address(text)
    except EdgefrError as error:
        assert str(error).startswith("expected ")  # noqa: PT017
    else:
        assert parse_address(str(found)) == found


@pytest.mark.parametrize("text", ["people.gallery", "/data/people.gallery", "milvus/people", "a:b"])
def test_other_text_is_a_path(text: str) -> None:
    assert parse_address(text) == Path(text)
