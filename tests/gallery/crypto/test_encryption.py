"""A file reveals nothing without its secret, detects changes by other programs, and erases removed people."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from edgefr.errors import EdgefrError
from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret, Passphrase, Secret
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.records import FaceSample
from edgefr.gallery.search.int8_index import encode
from tests.gallery.people import new_gallery, sample, unit

NAMES = ("Grace Hopper", "Ada Lovelace", "Emmy Noether")


def everything(path: Path, secret: Secret) -> object:
    """Everything in a gallery, which is verified while it is read."""
    with FileGallery.open(path, secret) as gallery:
        people = [
            (name, gallery.person(name).template.tobytes(), [content_of(one) for one in gallery.samples(name)])
            for name in gallery.names()
        ]
        assert gallery.orphan_images() == 0
        return people, gallery.events(), gallery.binding


def content_of(one: FaceSample) -> tuple[object, ...]:
    return one.source, one.embedding.tobytes(), one.uncertainty, None if one.crop is None else one.crop.tobytes()


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Path, Secret]:
    gallery, secret = new_gallery(tmp_path)
    with gallery:
        for seed, name in enumerate(NAMES):
            gallery.enrol(name, [sample(seed, f"{name}.jpg", crop=seed == 0), sample(seed + 10)])
    return gallery.path, secret


def test_written_data_is_read_again(filled: tuple[Path, Secret]) -> None:
    (people, events, _) = everything(*filled)  # type: ignore[misc]
    assert [name for name, *_ in people] == sorted(NAMES)
    assert people[2][2][0] == content_of(sample(0, "Grace Hopper.jpg", crop=True))
    assert [(event.what, event.name) for event in events] == [("enrolled", name) for name in NAMES]


def test_the_file_contains_no_name_and_no_template_in_clear(filled: tuple[Path, Secret]) -> None:
    path, _ = filled
    content = path.read_bytes()
    for seed, name in enumerate(NAMES):
        assert name.encode() not in content
        assert name.split()[0].encode() not in content
        for embedding in (unit(seed), unit(seed + 10)):
            for form in (embedding, embedding.astype(np.float16), embedding.astype(">f4"), encode(embedding[None])[0]):
                assert form.tobytes()[:8] not in content


def test_the_search_for_clear_text_finds_it_in_a_file_that_is_not_encrypted(tmp_path: Path) -> None:
    """The test above would find names and templates that are not encrypted."""
    database = sqlite3.connect(tmp_path / "clear.db")
    database.execute("CREATE TABLE t (name TEXT, template BLOB)")
    database.execute("INSERT INTO t VALUES (?, ?)", (NAMES[0], unit(0).tobytes()))
    database.commit()
    database.close()
    content = (tmp_path / "clear.db").read_bytes()
    assert NAMES[0].encode() in content
    assert unit(0).tobytes()[:8] in content


def test_every_changed_byte_is_refused_or_changes_nothing(filled: tuple[Path, Secret], tmp_path: Path) -> None:
    path, secret = filled
    before, content = everything(path, secret), path.read_bytes()
    rng = np.random.default_rng(0)
    used = np.flatnonzero(np.frombuffer(content, np.uint8))  # most of a small file is free space
    offsets = [*range(0, 100, 4), *rng.choice(used, 100), *rng.integers(0, len(content), 25)]
    copy, refused = tmp_path / "copy.gallery", 0
    for offset in offsets:
        changed = bytearray(content)
        changed[offset] ^= 1 << int(rng.integers(8))
        for leftover in tmp_path.glob("copy.gallery*"):
            leftover.unlink()
        copy.write_bytes(changed)
        try:
            assert everything(copy, secret) == before, f"byte {offset} was changed and not detected"
        except EdgefrError:
            refused += 1
    assert refused > len(offsets) / 2


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(filled: tuple[Path, Secret], share: float) -> None:
    path, secret = filled
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(EdgefrError):
        everything(path, secret)


def edit(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


TAMPERINGS = {
    "two people's rows swapped": (
        "UPDATE people SET id = -1 WHERE id = 1",
        "UPDATE people SET id = 1 WHERE id = 4",
        "UPDATE people SET id = 4 WHERE id = -1",
    ),
    "a record under another key": ("UPDATE people SET record = (SELECT record FROM people WHERE id = 1) WHERE id = 4",),
    "a person taken away": ("DELETE FROM people WHERE id = 4",),
    "a person doubled": ("INSERT INTO people SELECT 99, key, record FROM people WHERE id = 1",),
    "an image taken away": ("DELETE FROM images WHERE id = 3",),
    "two images of a person swapped": (
        "UPDATE images SET id = -1 WHERE id = 2",
        "UPDATE images SET id = 2 WHERE id = 3",
        "UPDATE images SET id = 3 WHERE id = -1",
    ),
    "a crop from another image": ("UPDATE images SET crop = (SELECT crop FROM images WHERE id = 2) WHERE id = 3",),
    "a line of the log taken away": ("DELETE FROM events WHERE id = 3",),
    "a line of the log from another": ("UPDATE events SET event = (SELECT event FROM events WHERE id = 1)",),
    "text for bytes": ("UPDATE people SET record = 'hello'",),
    "no header": ("DELETE FROM header",),
    "another gallery's identity": ("UPDATE header SET place = '00'",),
    "a lock without its salt": ('UPDATE header SET lock = \'{"kind": "passphrase"}\'',),
    "no version": ("PRAGMA user_version = 0",),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_is_refused(filled: tuple[Path, Secret], how: str) -> None:
    path, secret = filled
    edit(path, *TAMPERINGS[how])
    with pytest.raises(EdgefrError, match=r"Integrity check failed|or a damaged"):
        everything(path, secret)


def test_a_restored_older_row_is_refused(filled: tuple[Path, Secret], tmp_path: Path) -> None:
    """A row that was valid in the past, with the same key and id, is not valid now."""
    path, secret = filled
    shutil.copy(path, tmp_path / "older.db")
    with FileGallery.open(path, secret) as gallery:
        gallery.rename("Ada Lovelace", "Ada King")
    edit(
        path,
        f"ATTACH '{tmp_path}/older.db' AS older",
        "UPDATE people SET record = (SELECT record FROM older.people WHERE id = 4), "
        "key = (SELECT key FROM older.people WHERE id = 4) WHERE id = 4",
    )
    with pytest.raises(DamagedError, match="list of people"):
        everything(path, secret)


def test_a_removed_person_is_erased_from_the_file(filled: tuple[Path, Secret]) -> None:
    path, secret = filled
    database = sqlite3.connect(path)
    rows = [*database.execute("SELECT key, record FROM people WHERE id = 4").fetchone()]
    rows += [blob for row in database.execute("SELECT record, crop FROM images WHERE id IN (5, 6)") for blob in row]
    database.close()
    assert all(row in path.read_bytes() for row in rows if len(row) < 500)
    with FileGallery.open(path, secret) as gallery:
        gallery.remove("Ada Lovelace")
        content = b"".join(file.read_bytes() for file in path.parent.glob("people.gallery*"))  # while it is open
        assert gallery.names() == ["Emmy Noether", "Grace Hopper"]
    content += b"".join(file.read_bytes() for file in path.parent.glob("people.gallery*"))
    for row in rows:
        assert not any(row[at : at + 16] in content for at in range(0, len(row) - 16, 16))


def test_a_removed_person_is_erased_from_the_write_ahead_log(tmp_path: Path) -> None:
    """SQLite's write-ahead log contains the former pages until a checkpoint."""
    gallery, _ = new_gallery(tmp_path)
    with gallery:
        gallery.enrol("Ada", [sample(1)])
        reader = sqlite3.connect(gallery.path)
        (key,) = reader.execute("SELECT key FROM people").fetchone()
        reader.close()
        assert key in Path(f"{gallery.path}-wal").read_bytes()
        gallery.remove("Ada")
        assert not any(key in file.read_bytes() for file in tmp_path.glob("people.gallery*"))


def test_the_new_key_opens_a_gallery_and_the_former_does_not(filled: tuple[Path, Secret], tmp_path: Path) -> None:
    path, secret = filled
    before = everything(path, secret)
    fresh = KeyFile.create(tmp_path / "fresh")
    with FileGallery.open(path, secret) as gallery:
        gallery.rotate(fresh)
        gallery.enrol("Mary Somerville", [sample(5)])
    with pytest.raises(EdgefrError, match="Use the right key file"):
        everything(path, secret)
    after = everything(path, fresh)
    assert {name for name, *_ in after[0]} - {name for name, *_ in before[0]} == {"Mary Somerville"}  # type: ignore[index]
    assert [event.what for event in after[1]] == ["enrolled"] * 3 + ["rotated", "enrolled"]  # type: ignore[index]


def test_nothing_locked_with_the_former_key_is_left(filled: tuple[Path, Secret], tmp_path: Path) -> None:
    path, secret = filled
    database = sqlite3.connect(path)
    keys = [key for (key,) in database.execute("SELECT key FROM people")]
    lock = database.execute("SELECT lock FROM header").fetchone()[0].encode()
    database.close()
    with FileGallery.open(path, secret) as gallery:
        gallery.rotate(KeyFile.create(tmp_path / "fresh"))
        content = b"".join(file.read_bytes() for file in path.parent.glob("people.gallery*"))
    assert not any(part in content for part in (*keys, lock))


def test_a_passphrase_opens_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    gallery, _ = new_gallery(tmp_path, Passphrase("correct horse", cost=1 << 14))
    gallery.close()
    assert b"correct horse" not in gallery.path.read_bytes()
    FileGallery.open(gallery.path, Passphrase("correct horse")).close()
    with pytest.raises(EdgefrError, match="expected the passphrase"):
        FileGallery.open(gallery.path, Passphrase("incorrect horse"))
    with pytest.raises(EdgefrError, match="expected a passphrase for"):
        FileGallery.open(gallery.path, NoSecret())
    assert "correct horse" not in repr(Passphrase("correct horse"))
    with pytest.raises(EdgefrError, match="at least 8 characters"):
        Passphrase("short")


def test_a_lock_cannot_request_unlimited_memory(tmp_path: Path) -> None:
    gallery, secret = new_gallery(tmp_path, Passphrase("correct horse", cost=1 << 14))
    gallery.close()
    edit(gallery.path, "UPDATE header SET lock = replace(lock, '16384', '1073741824')")
    with pytest.raises(DamagedError, match="lock"):
        FileGallery.open(gallery.path, secret)


def test_a_key_file_must_be_readable_by_its_owner_only(tmp_path: Path) -> None:
    gallery, secret = new_gallery(tmp_path)
    gallery.close()
    assert isinstance(secret, KeyFile)
    assert secret.path.stat().st_mode & 0o777 == gallery.path.stat().st_mode & 0o777 == 0o600
    secret.path.chmod(0o640)
    with pytest.raises(EdgefrError, match="chmod 600"):
        FileGallery.open(gallery.path, secret)
    secret.path.chmod(0o600)
    secret.path.write_text("no key")
    with pytest.raises(EdgefrError, match="hexadecimal"):
        FileGallery.open(gallery.path, secret)
    with pytest.raises(EdgefrError, match=r"new key file .* cannot be written"):
        KeyFile.create(secret.path)


def test_an_interrupted_creation_leaves_no_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty key file would be refused from then on."""

    def cut_short() -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("edgefr.gallery.crypto.key_wrapping.new_key", cut_short)
        with pytest.raises(KeyboardInterrupt):
            KeyFile.create(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
    assert len(KeyFile.create(tmp_path / "key").key()) == 32
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_a_running_process_reports_that_the_key_was_rotated(filled: tuple[Path, Secret], tmp_path: Path) -> None:
    path, secret = filled
    with FileGallery.open(path, secret) as running, FileGallery.open(path, secret) as other:
        other.rotate(KeyFile.create(tmp_path / "fresh"))
        for use in (running.names, lambda: running.enrol("Mary Somerville", [sample(5)])):
            with pytest.raises(EdgefrError, match=r"locked with a new secret\. Start edgefr again with the new secret"):
                use()
        assert other.names() == sorted(NAMES)
