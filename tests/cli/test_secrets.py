"""Commands take their secrets from the credentials of a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_watch import ADA, film, watch  # noqa: F401 (a fixture)


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of credentials with the key of a gallery, and with the modes that systemd gives."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    key = folder / "EDGEFR_GALLERY_KEY"
    key.write_text("5a" * 32 + "\n")
    key.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def test_a_gallery_is_locked_and_opened_with_the_key_of_the_service(
    watch,  # noqa: F811
    credentials: Path,
    tmp_path: Path,
) -> None:
    frames = film(tmp_path / "enrol", [[(ADA, 50, 50)]] * 60)
    told = watch("gallery", "enroll", "Ada", "--camera", frames)
    assert told.code == 0, told.err
    assert "Ada" in watch("gallery", "list").out
    assert [path.name for path in credentials.iterdir()] == ["EDGEFR_GALLERY_KEY"], "systemd's folder is read-only"
    (credentials / "EDGEFR_GALLERY_KEY").unlink()
    assert "--key-file" in watch("gallery", "list").sentence


def test_a_source_with_a_password_is_a_credential(watch, credentials: Path, tmp_path: Path) -> None:  # noqa: F811
    source = film(tmp_path / "film", [[(ADA, 50, 50)]] * 3)
    assert watch("gallery", "enroll", "Ada", "--camera", film(tmp_path / "a", [[(ADA, 50, 50)]] * 60)).code == 0
    (credentials / "EDGEFR_SOURCE").write_text(f"{source}\n")
    assert watch("watch").code == 0
    assert watch("config", "show", "watch").out.count("credential EDGEFR_SOURCE") == 1


def test_a_passphrase_is_a_credential(watch, credentials: Path, tmp_path: Path) -> None:  # noqa: F811
    (credentials / "EDGEFR_GALLERY_KEY").unlink()
    (credentials / "DOOR").write_text("correct horse")
    frames = film(tmp_path / "enrol", [[(ADA, 50, 50)]] * 60)
    assert watch("gallery", "enroll", "Ada", "--camera", frames, "--passphrase-env", "DOOR").code == 0
    assert "Ada" in watch("gallery", "list", "--passphrase-env", "DOOR").out
