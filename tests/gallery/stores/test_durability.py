"""Acknowledged changes are durable, interrupted ones leave nothing, and older files are migrated."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edgefr.errors import EdgefrError
from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.stores import sqlite_schema as schema
from tests.conftest import REPOSITORY
from tests.gallery.people import new_gallery, sample, unit


def test_kills_lose_no_acknowledged_change_and_leave_no_partial_one() -> None:
    """The same as `make soak`, shorter."""
    command = [sys.executable, "-m", "bench.kills", "--kills", "40", "--seed", "7"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["kills"] == 40
    assert found["acknowledged"] > 0


def test_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    gallery, _ = new_gallery(tmp_path)
    with gallery:
        database = gallery._store._database
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_truncated_write_ahead_log_gives_a_consistent_earlier_state(tmp_path: Path) -> None:
    """As after a power loss: people are stored with all images and their event, or not at all."""
    gallery, secret = new_gallery(tmp_path)
    log = Path(f"{gallery.path}-wal")
    first = log.stat().st_size
    for number in range(6):
        gallery.enrol(f"person {number}", [sample(number), sample(number + 50)])
    size, folder, seen = log.stat().st_size, tmp_path / "cut", set()
    for cut in np.random.default_rng(0).integers(0, size, 30):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in (gallery.path, log):
            shutil.copy(file, folder)
        os.truncate(folder / log.name, int(cut))
        try:
            found = FileGallery.open(folder / gallery.path.name, secret)
        except EdgefrError:
            assert cut < first  # there was no gallery yet
            continue
        with found:
            names = found.names()
            assert names == [f"person {number}" for number in range(len(names))]
            assert all(len(found.samples(name)) == 2 for name in names)
            assert len(found.events()) == len(names)
            assert found.orphan_images() == 0
            seen.add(len(names))
    gallery.close()
    assert len(seen) > 3


def test_an_error_within_a_change_leaves_nothing(tmp_path: Path) -> None:
    gallery, secret = new_gallery(tmp_path)
    gallery.enrol("Ada", [sample(1)])
    with pytest.raises(EdgefrError, match="cancel"):
        gallery.enrol("Ada", [type(sample(1))("b.jpg", -unit(1), 20.0, -1.0, 2.0)])
    with pytest.raises(EdgefrError, match=r"printable characters, found '  '\. Choose another name"):
        gallery.rename("Ada", "  ")
    gallery.enrol("Grace", [sample(2)])
    gallery.close()
    with FileGallery.open(gallery.path, secret) as again:
        assert len(again.samples("Ada")) == 1
        assert [event.name for event in again.events()] == ["Ada", "Grace"]
        assert again.orphan_images() == 0


def test_two_open_galleries_see_the_changes_of_each_other(tmp_path: Path) -> None:
    one, secret = new_gallery(tmp_path)
    other = FileGallery.open(one.path, secret)
    one.enrol("Ada", [sample(1)])
    other.enrol("Ada", [sample(2)])
    assert [len(opened.samples("Ada")) for opened in (one, other)] == [2, 2]
    one.enrol("Grace", [sample(3)])
    assert other.search(unit(3), 1)[0].name == "Grace"
    one.remove("Ada")
    one.remove("Grace")
    assert (len(one), len(other), other.search(unit(1), 1)) == (0, 0, [])
    with pytest.raises(EdgefrError, match="Ada is not enrolled"):
        other.remove("Ada")
    one.close()
    other.close()


def test_threads_share_a_gallery(tmp_path: Path) -> None:
    gallery, secret = new_gallery(tmp_path)
    failures: list[BaseException] = []

    def enrol(start: int) -> None:
        try:
            for number in range(start, start + 8):
                gallery.enrol(f"person {number}", [sample(number)])
                assert gallery.search(unit(number), 1)[0].name == f"person {number}"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=enrol, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gallery.close()
    assert failures == []
    with FileGallery.open(gallery.path, secret) as again:
        assert len(again) == 24


def test_an_older_file_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, secret = new_gallery(tmp_path)
    gallery.enrol("Ada", [sample(1)])
    gallery.close()
    step = ("ALTER TABLE events ADD COLUMN place TEXT", "CREATE TABLE cameras (id INTEGER PRIMARY KEY)")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    monkeypatch.setattr("edgefr.gallery.stores.sqlite.MIGRATIONS", schema.MIGRATIONS)
    with FileGallery.open(gallery.path, secret) as newer:
        assert newer.names() == ["Ada"]
        assert newer._store.header().version == 2
        assert newer._store._database.execute("SELECT count(*) FROM cameras").fetchone() == (0,)


def test_a_file_of_a_newer_version_is_refused_with_advice(tmp_path: Path) -> None:
    gallery, secret = new_gallery(tmp_path)
    gallery.close()
    database = sqlite3.connect(gallery.path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(EdgefrError, match=r"found version 99\. Update edgefr"):
        FileGallery.open(gallery.path, secret)


def test_another_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "people.gallery"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE letters (id INTEGER)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(EdgefrError, match="another database, or a damaged one"):
        new_gallery(tmp_path)
    assert path.read_bytes() == before
    path.write_text("hello, I am text " * 100)
    with pytest.raises(DamagedError):
        FileGallery.create(path, *new_secret_and_binding(tmp_path))


def new_secret_and_binding(folder: Path):
    from edgefr.gallery.crypto.key_wrapping import NoSecret
    from tests.gallery.people import BINDING

    return NoSecret(), BINDING
