"""Every command that opens a gallery refuses one that was replaced; `gallery pin` shows and accepts it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret, Passphrase
from edgefr.gallery.file_gallery import FileGallery
from tests.gallery.people import BINDING, sample


@pytest.fixture
def gallery(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs commands on a gallery with a key file, in which two people are enrolled."""
    for variable in ("EDGEFR_GALLERY_KEY", "EDGEFR_GALLERY_PIN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("EDGEFR_GALLERY", str(tmp_path / "people.gallery"))
    with FileGallery.create(tmp_path / "people.gallery", KeyFile.create(tmp_path / "key"), BINDING) as made:
        for number, name in enumerate(("Ada", "Grace")):
            made.enrol(name, [sample(number)])
    return lambda *arguments: edgefr("gallery", *arguments)


def roll_back(gallery, folder: Path, *secret: object) -> None:
    """Remove a person, and put the copy from before in the place of the gallery."""
    shutil.copy(folder / "people.gallery", folder / "copy")
    assert gallery("remove", "Ada", *secret).code == 0
    shutil.copy(folder / "copy", folder / "people.gallery")


def test_an_older_copy_is_refused_by_every_command_until_it_is_accepted(gallery, tmp_path: Path) -> None:
    key = ("--key-file", tmp_path / "key")
    assert gallery("list", *key).code == 0
    roll_back(gallery, tmp_path, *key)
    for command in (
        ("list",),
        ("show", "Grace"),
        ("remove", "Grace"),
        ("rename", "Grace", "Emmy"),
        ("audit",),
        ("export", tmp_path / "people.export"),
        ("rotate-key", "--plain"),
    ):
        refused = gallery(*command, *key).sentence
        assert "an older copy, of generation 2" in refused
        assert "run `edgefr gallery pin --accept`" in refused
    told = gallery("pin", *key, "--json")
    assert told.code == 1
    assert told.json["generation"] == 2
    assert told.json["pinned"]["generation"] == 3
    assert "an older copy" in told.json["problem"]
    assert gallery("list", *key, "--pin", "off").code == 0
    assert gallery("pin", "--accept", *key).code == 0
    assert "remembers generation 2." in gallery("pin", *key).out
    assert "Ada" in gallery("list", *key).out


def test_a_gallery_without_a_secret_is_refused_where_a_passphrase_was_needed(
    gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pin of a gallery with a passphrase is in the data folder of the user, who would not be asked for it."""
    monkeypatch.setenv("SECRET", "correct horse")
    place = tmp_path / "people.gallery"
    with FileGallery.open(place, KeyFile(tmp_path / "key")) as opened:
        opened.rotate(Passphrase("correct horse", cost=1 << 14))
    assert gallery("list", "--passphrase-env", "SECRET").code == 0
    with FileGallery.open(place, Passphrase("correct horse")) as opened:
        opened.rotate(NoSecret())
    assert "expected a gallery locked with a passphrase" in gallery("list").sentence


def test_a_gallery_is_remembered_under_its_new_key(gallery, tmp_path: Path) -> None:
    key, new = ("--key-file", tmp_path / "key"), ("--key-file", tmp_path / "new")
    shutil.copy(tmp_path / "people.gallery", tmp_path / "former")
    assert gallery("rotate-key", *key, "--new-key-file", tmp_path / "new").code == 0
    assert "remembers generation 3." in gallery("pin", *new).out
    roll_back(gallery, tmp_path, *new)
    assert "an older copy" in gallery("list", *new).sentence
    shutil.copy(tmp_path / "former", tmp_path / "people.gallery")
    assert "an older copy" in gallery("list", *key).sentence


def test_a_named_pin_and_an_expectation_are_required(gallery, tmp_path: Path) -> None:
    key = ("--key-file", tmp_path / "key", "--pin", tmp_path / "elsewhere" / "pins")
    identity = gallery("pin", *key, "--json").json["identity"]
    assert gallery("list", *key).code == 0
    assert (tmp_path / "elsewhere" / "pins").is_file()
    assert not (tmp_path / "key.pin").exists()
    assert gallery("list", *key, "--expect", f"{identity}:2").code == 0
    assert "of generation 3 or later" in gallery("list", *key, "--expect", f"{identity}:3").sentence
    assert "expected ID or ID:GENERATION" in gallery("list", *key, "--expect", "staff").sentence
    assert "cannot be written" in gallery("list", *key[:2], "--pin", "/proc/pins").sentence
