"""Tokens: what a file of them may be, and that only hashes are kept."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import InvalidArgumentError, UnavailableError
from edgefr.server.api.tokens import (
    ROLES,
    Token,
    TokenSet,
    parse_tokens,
    read_tokens,
    sha256_of_secret,
    tokens_of_environment,
    write_tokens,
)

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
TOKENS = st.lists(
    st.builds(Token.of, NAMES, st.sampled_from(ROLES), st.text(min_size=1)), unique_by=lambda token: token.name
)


@given(TOKENS)
def test_tokens_are_read_as_they_were_written(tokens: list[Token]) -> None:
    text = "".join(f"{token.name} {token.role} {token.sha256}\n" for token in tokens)
    assert parse_tokens(f"# a remark\n\n{text}", "a file") == tokens


@given(st.text() | st.lists(st.text()).map("\n".join))
def test_a_malformed_file_is_an_error_and_nothing_else(text: str) -> None:
    with suppress(InvalidArgumentError):
        assert all(token.role in ROLES for token in parse_tokens(text, "a file"))


def test_the_file_has_no_secret_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "tokens"
    write_tokens(path, [Token.of("door", "identify", "the secret")])
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == f"door identify {sha256_of_secret('the secret')}\n"
    assert read_tokens(path) == [Token.of("door", "identify", "the secret")]


@pytest.mark.parametrize(
    ("mode", "is_read"), [(0o600, True), (0o440, True), (0o644, False), (0o660, False), (0o602, False)]
)
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int, is_read: bool) -> None:
    """Credentials of systemd have mode 0440."""
    path = tmp_path / "tokens"
    write_tokens(path, [Token.of("door", "identify", "the secret")])
    path.chmod(mode)
    if is_read:
        assert len(read_tokens(path)) == 1
    else:
        with pytest.raises(InvalidArgumentError, match="chmod 600"):
            read_tokens(path)


def test_a_missing_or_a_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="edgefr tokens add"):
        read_tokens(tmp_path / "missing")
    (tmp_path / "huge").write_bytes(b"#" * (1 << 20))
    (tmp_path / "huge").chmod(0o600)
    with pytest.raises(InvalidArgumentError, match="at most 256 KiB"):
        read_tokens(tmp_path / "huge")


@pytest.mark.parametrize(
    "line", ["door identify", "door root " + "0" * 64, "a b identify " + "0" * 64, "door admin " + "0" * 63]
)
def test_a_wrong_line_is_named(line: str) -> None:
    with pytest.raises(InvalidArgumentError, match="line 2 of a file"):
        parse_tokens(f"# tokens\n{line}\n", "a file")


def test_a_name_occurs_once() -> None:
    line = f"door admin {'0' * 64}\n"
    with pytest.raises(InvalidArgumentError, match="line 2"):
        parse_tokens(2 * line, "a file")


def test_a_secret_finds_its_token_only() -> None:
    door, desk = Token.of("door", "identify", "one secret"), Token.of("desk", "enrol", "another secret")
    tokens = TokenSet([door, desk])
    assert tokens.find("one secret") == door
    assert tokens.find("another secret") == desk
    assert tokens.find("") is None
    assert tokens.find(door.sha256) is None, "who reads the file cannot use it"
    with pytest.raises(InvalidArgumentError, match="tokens add"):
        TokenSet([])


def test_tokens_of_the_environment() -> None:
    found = tokens_of_environment({"EDGEFR_API_ADMIN_TOKEN": "x" * 16, "EDGEFR_API_ENROL_TOKEN": ""}.get)
    assert [token.role for token in found] == ["admin"]
    assert TokenSet(found).find("x" * 16) == found[0]
    with pytest.raises(InvalidArgumentError, match=r"at least 16 characters in \$EDGEFR_API_IDENTIFY_TOKEN"):
        tokens_of_environment({"EDGEFR_API_IDENTIFY_TOKEN": "short"}.get)
