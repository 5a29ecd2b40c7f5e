"""A gallery on a full, failing or read-only disk: every change is made or not, as reported, and searches go on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgefr.cli import app
from edgefr.errors import UnavailableError
from edgefr.gallery import file_gallery
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.stores import sqlite_schema
from edgefr.gallery.stores.sqlite_schema import connect
from tests.conftest import REPOSITORY
from tests.gallery.people import new_gallery, photo, sample, unit, verifier

OWN_MOUNTS = ["unshare", "--map-root-user", "--mount"]


def can_mount() -> bool:
    try:
        return subprocess.run([*OWN_MOUNTS, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="the system forbids to mount a small file system (unshare)")
def test_changes_on_a_full_disk_are_made_or_not_as_reported() -> None:
    command = [*OWN_MOUNTS, sys.executable, "-m", "bench.full_disk"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    for change in ("remove", "remove image", "rotate", "rebuild"):
        assert counts[f"{change}, full: made with traces"] > 0, "the disk was never full at the right moment"
    for change in ("enrol", "extend", "rename", "remove", "rotate", "rebuild"):
        assert counts[f"{change}, full: not made"] > 0
        assert counts[f"{change}, broken: not made"] > 0


def test_remove_and_rotate_key_report_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process reads the deleted data, so that it cannot be erased yet."""
    gallery, _ = new_gallery(tmp_path)
    for number, name in enumerate(("Ada", "Grace", "Emmy")):
        gallery.enrol(name, [sample(number)])
    gallery.close()
    reader = connect(gallery.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM people").fetchone()
    monkeypatch.setattr(sqlite_schema, "LOCK_TIMEOUT_S", 0)
    place = ["--gallery", str(gallery.path), "--key-file", str(tmp_path / "key")]
    warning = "the change is saved, but traces of the former data remain on the disk"
    result = CliRunner().invoke(app, ["gallery", "remove", "Ada", *place, "--json"])
    assert (result.exit_code, json.loads(result.stdout)["erased"]) == (0, False)
    assert warning in result.stderr
    result = CliRunner().invoke(app, ["gallery", "rotate-key", "--new-key-file", str(tmp_path / "new"), *place])
    assert result.exit_code == 0
    assert warning in result.stderr
    assert "with the new secret" in result.stdout
    reader.close()
    place[-1] = str(tmp_path / "new")
    result = CliRunner().invoke(app, ["gallery", "remove", "Grace", *place, "--json"])
    assert (result.exit_code, json.loads(result.stdout)["erased"], result.stderr) == (0, True, "")


def test_a_removal_that_failed_for_an_expired_person_fails_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, _ = new_gallery(tmp_path)
    gallery.enrol("Grace", [sample(2)])
    gallery.enrol("Ada", [sample(1)], expires_in_s=3600)
    now = time.time()
    monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda: now + 3700)
    gallery._store._database.execute("PRAGMA query_only = ON")  # every write fails
    assert [hit.name for hit in gallery.search(unit(1), 5)] == ["Grace"]
    assert (gallery.names(), [one.name for one in gallery.people()], len(gallery)) == (["Grace"], ["Grace"], 1)
    assert "Ada" not in gallery
    with pytest.raises(UnavailableError):
        gallery.enrol("Ada", [sample(1)])
    gallery._store._database.execute("PRAGMA query_only = OFF")
    gallery.enrol("Ada", [sample(5)])
    assert [event.what for event in gallery.events()] == ["enrolled", "enrolled", "expired", "enrolled"]
    assert len(gallery.samples("Ada")) == 1
    gallery.close()


def test_the_removal_of_an_expired_person_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, secret = new_gallery(tmp_path)
    gallery.enrol("Ada", [sample(1)], expires_in_s=3600)
    now = time.time()
    monkeypatch.setattr(file_gallery, "PURGE_RETRY_S", 0.0)
    for days in (1, 5, 9):  # the grace period is over at the third
        monkeypatch.setattr("time.time", lambda after=now + days * 86_400: after)
        if days < 9:
            assert gallery.names() == []
    gallery._store._database.execute("PRAGMA query_only = ON")
    assert gallery.names() == []
    assert [event.what for event in gallery.events()] == ["enrolled"]
    gallery._store._database.execute("PRAGMA query_only = OFF")
    assert gallery.names() == []
    assert [event.what for event in gallery.events()] == ["enrolled", "expired"]
    gallery.close()
    with FileGallery.open(gallery.path, secret) as again:
        assert again.names() == []


def test_a_match_that_cannot_be_logged_is_reported_and_still_an_answer(tmp_path: Path) -> None:
    made = verifier()
    gallery, _ = new_gallery(tmp_path, KeyFile.create(tmp_path / "key"), ModelBinding.of(made))
    picture = photo(tmp_path / "a.png", 1)
    notices: list[str] = []
    identifier = Identifier(made, gallery, threshold=0.5, on_notice=notices.append)
    embedded = made.embed([made.find(picture)])[0]
    gallery.enrol("Ada", [type(sample(1))("a.png", embedded.embedding, 20.0, None, 2.0)])
    gallery._store._database.execute("PRAGMA query_only = ON")
    assert identifier.identify(picture).name == "Ada"
    assert len(notices) == 1
    assert notices[0].startswith("1 match was not logged: ")
    gallery.close()
