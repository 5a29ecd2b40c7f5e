"""Secrets that a service manager hands over as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.errors import LockedError, UnavailableError
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.io.credentials import MAX_BYTES, credential, is_given, secret_value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("EDGEFR_WEB_TOKEN", raising=False)
    return tmp_path


def test_a_credential_stands_for_a_variable_that_is_not_set(folder: Path, monkeypatch) -> None:
    assert secret_value("EDGEFR_WEB_TOKEN") is None
    (folder / "EDGEFR_WEB_TOKEN").write_text("a token with a line end\n")
    assert secret_value("EDGEFR_WEB_TOKEN") == "a token with a line end"
    assert is_given("EDGEFR_WEB_TOKEN")
    monkeypatch.setenv("EDGEFR_WEB_TOKEN", "another")
    assert secret_value("EDGEFR_WEB_TOKEN") == "another"


@pytest.mark.parametrize("content", [b"geheim \xff", b"geheim" * MAX_BYTES], ids=["not UTF-8", "too large"])
def test_a_credential_that_is_no_text_is_refused_and_not_quoted(folder: Path, content: bytes) -> None:
    (folder / "EDGEFR_WEB_TOKEN").write_bytes(content)
    with pytest.raises(UnavailableError, match="EDGEFR_WEB_TOKEN") as caught:
        secret_value("EDGEFR_WEB_TOKEN")
    assert "geheim" not in str(caught.value)


def test_without_a_folder_there_are_no_credentials(monkeypatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert credential("PATH") is None


def test_a_key_may_be_readable_for_its_group_only_if_it_is_a_credential(folder: Path, monkeypatch) -> None:
    path = folder / "EDGEFR_GALLERY_KEY"
    path.write_text("ab" * 32)
    path.chmod(0o440)
    assert KeyFile(path).key() == bytes.fromhex("ab" * 32)
    path.chmod(0o444)
    with pytest.raises(LockedError, match="0444"):
        KeyFile(path).key()
    path.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder / "other"))
    with pytest.raises(LockedError, match="0440"):
        KeyFile(path).key()
