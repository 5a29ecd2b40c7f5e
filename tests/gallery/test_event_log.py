"""The log forgets the names of removed people, keeps events for a limited time, and shows cuts."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import InvalidArgumentError
from edgefr.gallery.clock import DAY_S, Clock
from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.event_log import check_log_days, kept_since, without_names
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.records import Event
from edgefr.gallery.stores import sqlite_transaction
from tests.gallery.people import BINDING, sample


def events(*rows: tuple[str, str, str]) -> list[tuple[int, Event]]:
    return [(number, Event(float(number), *row)) for number, row in enumerate(rows)]


def test_all_events_of_a_removed_person_get_one_pseudonym() -> None:
    log = events(
        ("enrolled", "Ada", "1 images"),
        ("enrolled", "Grace", "1 images"),
        ("renamed", "Ada Lovelace", "from Ada"),
        ("enrolled", "Ada", "1 images"),  # another person, who has the name now
        ("matched", "Ada Lovelace", "0.9"),
    )
    changed = dict(without_names(log[::-1], {"Ada Lovelace": "removed person 1"}))
    assert {number: (event.name, event.detail) for number, event in changed.items()} == {
        0: ("removed person 1", "1 images"),
        2: ("removed person 1", "from removed person 1"),
        4: ("removed person 1", "0.9"),
    }


def test_people_whom_an_older_version_removed_get_pseudonyms_with_the_next_removal() -> None:
    log = events(
        ("enrolled", "Ada", "1 images"),
        ("removed", "Ada", ""),
        ("enrolled", "Ada", "1 images"),  # another person, who is removed now
        ("matched", "Ada", ""),
        ("expired", "Alan", ""),
        ("removed", "removed person 00000000", ""),
    )
    changed = dict(without_names(log[::-1], {"Ada": "removed person 11111111"}))
    assert {changed[2].name, changed[3].name} == {"removed person 11111111"}
    assert changed[0].name == changed[1].name != changed[2].name
    assert sorted(changed) == [0, 1, 2, 3, 4]
    assert not {"Ada", "Alan"} & {event.name for event in changed.values()}


def test_names_of_image_files_are_forgotten_as_well(tmp_path: Path, key: KeyFile) -> None:
    path = tmp_path / "people.gallery"
    with FileGallery.create(path, key, BINDING) as gallery:
        gallery.enrol("Ada", [sample(1, "Ada 1.jpg"), sample(2, "Ada 2.jpg")])
        gallery.remove_image("Ada", "Ada 1.jpg")
        gallery.remove("Ada")
        assert "Ada" not in str(gallery.events())


@given(st.lists(st.sampled_from(["Ada", "Grace", "Alan"]), max_size=12), st.sets(st.sampled_from(["Ada", "Grace"])))
def test_no_name_of_a_removed_person_is_left_and_no_other_is_touched(names: list[str], removed: set[str]) -> None:
    log = events(*(("matched", name, "") for name in names))
    after = dict(log) | dict(without_names(log[::-1], {name: f"removed {name}" for name in removed}))
    expected = [f"removed {name}" if name in removed else name for name in names]
    assert [event.name for event in after.values()] == expected


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return KeyFile.create(tmp_path / "key")


def gallery_with(path: Path, key: KeyFile, count: int) -> FileGallery:
    gallery = FileGallery.create(path, key, BINDING)
    gallery.enrol("Ada", [sample(1)])
    gallery.enrol("Grace", [sample(2)])
    gallery.log([Event.now("matched", ("Ada", "Grace")[number % 2], str(number)) for number in range(count)])
    return gallery


def test_a_removal_leaves_no_name_in_the_log_and_the_log_stays_valid(tmp_path: Path, key: KeyFile) -> None:
    path = tmp_path / "people.gallery"
    with gallery_with(path, key, 10) as gallery:
        gallery.remove("Ada")
    with FileGallery.open(path, key) as gallery:
        found = gallery.events()
    names = {event.name for event in found}
    assert "Ada" not in names
    (pseudonym,) = names - {"Grace"}
    assert [event.what for event in found if event.name == pseudonym] == ["enrolled", *["matched"] * 5, "removed"]


@pytest.mark.parametrize("change", ["cut the end", "cut the middle", "replace one", "swap two"])
def test_changes_of_the_log_are_found(tmp_path: Path, key: KeyFile, change: str, monkeypatch) -> None:
    """Those near the end at once, all others when the log is read."""
    monkeypatch.setattr(sqlite_transaction, "CHECK_EVERY", 8)
    path = tmp_path / "people.gallery"
    gallery_with(path, key, 40).close()
    statements = {
        "cut the end": ["DELETE FROM events WHERE id > 40"],
        "cut the middle": ["DELETE FROM events WHERE id = 20", "UPDATE events SET id = id - 1 WHERE id > 20"],
        "replace one": ["UPDATE events SET event = (SELECT event FROM events WHERE id = 5) WHERE id = 6"],
        "swap two": ["UPDATE events SET id = 99 WHERE id = 5", "UPDATE events SET id = 5 WHERE id = 6",
                     "UPDATE events SET id = 6 WHERE id = 99"],
    }  # fmt: skip
    with sqlite3.connect(path) as database:
        for statement in statements[change]:
            database.execute(statement)
    database.close()
    with pytest.raises(DamagedError), FileGallery.open(path, key) as gallery:
        gallery.events()


def test_old_events_are_deleted_and_the_rest_stays_valid(tmp_path: Path, key: KeyFile, monkeypatch) -> None:
    path, start = tmp_path / "people.gallery", time.time()
    now = start
    monkeypatch.setattr(time, "time", lambda: now)
    with FileGallery.create(path, key, BINDING) as gallery:
        gallery.log_days = 30
        gallery.enrol("Ada", [sample(1)])
        for day in range(1, 100, 2):
            now = start + day * DAY_S
            gallery.log([Event.now("matched", "Ada", str(day))])
        kept = [event.detail for event in gallery.events()]
    assert kept[-1] == "99"
    assert 15 <= len(kept) <= 17
    with FileGallery.open(path, key) as gallery:
        assert [event.detail for event in gallery.events()] == kept
        gallery.remove("Ada")
        assert len(gallery.events()) == len(kept) + 1
        gallery.rotate(key)
    with FileGallery.open(path, key) as gallery:
        assert gallery.events()[-1].what == "rotated"


def test_a_clock_that_is_years_ahead_deletes_no_events(tmp_path: Path, key: KeyFile, monkeypatch) -> None:
    path, start = tmp_path / "people.gallery", time.time()
    with FileGallery.create(path, key, BINDING) as gallery:
        gallery.log_days = 30
        for day in range(20):
            monkeypatch.setattr(time, "time", lambda day=day: start + day * DAY_S)
            gallery.log([Event.now("matched", "Ada", str(day))])
        before = len(gallery.events())
        monkeypatch.setattr(time, "time", lambda: start + 2000 * DAY_S)
        gallery.log([Event.now("matched", "Ada", "ahead")])
        assert len(gallery.events()) >= before + 1


def test_without_a_limit_nothing_is_deleted() -> None:
    clock = Clock()
    for day in range(50):
        clock = clock.observe((1000 + day) * DAY_S)
    assert kept_since(None, clock) == 0
    assert kept_since(30, Clock()) == 0
    assert kept_since(30, clock) == pytest.approx(1019 * DAY_S, abs=DAY_S)


@pytest.mark.parametrize("days", [0, -1, 0.5, float("nan"), float("inf"), 3e6])
def test_days_out_of_range_are_refused(days: float) -> None:
    with pytest.raises(InvalidArgumentError, match="days to keep the log"):
        check_log_days(days)
