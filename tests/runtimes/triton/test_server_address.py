"""Addresses of Triton servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.runtimes import open_backend
from edgefr.runtimes.triton.server_address import Address

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True)


@given(NAMES, st.integers(1, 65535), st.booleans())
def test_an_address_is_parsed(name: str, port: int, tls: bool) -> None:
    address = Address.parse(f"triton{'s' * tls}://[::1]:{port}/{name}")
    assert address == Address("::1", port, name, tls)
    assert Address.parse(f"{address}/{name}") == address
    assert Address.parse("triton://gpu.lan") == Address("gpu.lan", 8001, None, False)


@given(st.text() | st.text().map("triton://".__add__))
def test_other_addresses_are_an_error_of_one_line(url: str) -> None:
    try:
        address = Address.parse(url)
        assert 1 <= address.port <= 65535
    except EdgefrError as refused:  # as most are
        sentence = str(refused)
        if not sentence.startswith("expected ") or "\n" in sentence:
            raise


@pytest.mark.parametrize(
    "url",
    [
        "triton://",
        "triton://user:secret@host",
        "triton://host/a/b",
        "triton://host:99999",
        "triton://host?x=1",
        "tcp://h",
    ],
)
def test_the_error_for_a_wrong_address_has_an_example(url: str, model: Path) -> None:
    with pytest.raises(EdgefrError, match=r"^expected .*found .*\. (Correct it|Choose another)\.$"):
        open_backend(model, url)
