"""The snapshot of the index of a gallery in a file: the same answers, at once without people who are gone."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError, LockedError
from edgefr.gallery import file_gallery
from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.crypto.key_wrapping import KeyFile, Passphrase, Secret
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.record_checks import InvalidPerson
from edgefr.gallery.records import FaceSample, Person, fuse_template
from edgefr.gallery.search import index_snapshot
from edgefr.gallery.search.index_chunk import IndexChunk
from edgefr.gallery.stores import sqlite_schema
from edgefr.gallery.stores.row_codec import Row, RowCodec
from edgefr.gallery.stores.sqlite_snapshot import SnapshotTable
from edgefr.gallery.transfer import Export, export_gallery, import_people
from tests.gallery.people import DIM, new_gallery, sample, unit

PEOPLE = 32
Opened = tuple[Path, Secret]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_snapshot, "CHUNK_ROWS", 4)
    monkeypatch.setattr(index_snapshot, "FOLD_ROWS", 3)


@pytest.fixture
def filled(tmp_path: Path) -> Opened:
    """A gallery with a snapshot, which its first import has written."""
    gallery, secret = new_gallery(tmp_path)
    with gallery:
        gallery.import_all([entry(number) for number in range(PEOPLE)], "an export")
    return gallery.path, secret


def entry(number: int, expires: float | None = None) -> tuple[Person, list[FaceSample]]:
    samples = [sample(number)]
    return Person(0, f"person {number}", 1.0, expires, fuse_template(samples), ()), samples


def answers(gallery: FileGallery) -> object:
    """Everything that a gallery says about its people."""
    found = [gallery.search(unit(number), 5) for number in range(PEOPLE)]
    people = {name: (gallery.person(name).images, len(gallery.samples(name))) for name in gallery.names()}
    assert [person.name for person in gallery.people()] == [person.name for person in by_id(gallery)]
    return found, people, len(gallery), gallery.orphan_images()


def by_id(gallery: FileGallery) -> list[Person]:
    return sorted((gallery.person(name) for name in gallery.names()), key=lambda person: person.id)


def without_snapshot(opened: Opened, folder: Path) -> object:
    """The answers of a copy without a snapshot."""
    folder.mkdir()
    for file in opened[0].parent.glob("people.gallery*"):
        shutil.copy(file, folder)
    edit(folder / opened[0].name, "DROP TABLE IF EXISTS snapshot")
    with FileGallery.open(folder / opened[0].name, opened[1]) as gallery:
        return answers(gallery)


def edit(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def stored(path: Path, column: str = "body") -> list[object]:
    database = sqlite3.connect(path)
    try:
        return [row[0] for row in database.execute(f"SELECT {column} FROM snapshot ORDER BY last")]
    finally:
        database.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of people whose records were read in full."""
    numbers: list[int] = []
    decrypt = RowCodec.decrypt_row

    def counted(codec: RowCodec, number: int, *rest: object) -> Row:
        numbers.append(number)
        return decrypt(codec, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(RowCodec, "decrypt_row", counted)
    return numbers


def saved_names(opened: Opened) -> set[str]:
    """All names in the snapshot."""
    with FileGallery.open(*opened) as gallery:
        store = gallery._store
        return {
            name
            for one in store.snapshot.ranges()
            for name in IndexChunk.from_bytes(*one, DIM, store.snapshot.get(one) or b"").name_list()
        }


def test_an_opening_reads_no_person_and_answers_the_same(filled: Opened, tmp_path: Path, reads: list[int]) -> None:
    assert len(stored(filled[0])) == 8
    with FileGallery.open(*filled) as gallery:
        found = [gallery.search(unit(number), 1)[0] for number in range(PEOPLE)]
        assert reads == []
        assert [hit.name for hit in found] == [f"person {number}" for number in range(PEOPLE)]
        assert [hit.similarity for hit in found] == pytest.approx([1] * PEOPLE, abs=1e-5)
        given = answers(gallery)
    assert given == without_snapshot(filled, tmp_path / "copy")


def test_small_galleries_have_no_snapshot(tmp_path: Path) -> None:
    gallery, secret = new_gallery(tmp_path)
    for number in range(2):
        gallery.enrol(f"person {number}", [sample(number)])
    gallery.close()
    with FileGallery.open(gallery.path, secret) as again:
        assert again._store.snapshot.ranges() == []


def test_nothing_in_the_snapshot_is_in_clear(filled: Opened) -> None:
    bodies = b"".join(bytes(body) for body in stored(filled[0]))  # type: ignore[call-overload]
    assert b"person" not in bodies
    assert b"format" not in bodies


@pytest.mark.parametrize("seed", range(2))
def test_random_changes_keep_the_snapshot_in_step(filled: Opened, tmp_path: Path, reads: list[int], seed: int) -> None:
    """Each opening after a change reads at most the few people who are not packed yet."""
    rng = random.Random(seed)  # noqa: S311
    fresh = 1000
    for turn in range(6):
        with FileGallery.open(*filled) as gallery:
            assert len(reads) < index_snapshot.FOLD_ROWS
            for _ in range(rng.randrange(1, 4)):
                name, fresh = rng.choice(gallery.names()), fresh + 1
                what = rng.choice(["enrol", "extend", "rename", "remove", "import", "rebuild"])
                if what == "enrol":
                    gallery.enrol(f"person {fresh}", [sample(fresh)])
                elif what == "extend":
                    gallery.enrol(name, [sample(fresh)])
                elif what == "rename":
                    gallery.rename(name, f"person {fresh}")
                elif what == "remove":
                    gallery.remove(name)
                elif what == "import":
                    gallery.import_all([entry(fresh * 100 + more) for more in range(5)], "an export")
                else:
                    gallery.re_embed_all(gallery.binding, lambda _name, samples: samples)
            expected = answers(gallery)
        with FileGallery.open(*filled) as gallery:  # packs the people that were added
            assert answers(gallery) == expected
        assert without_snapshot(filled, tmp_path / f"copy{turn}") == expected
        reads.clear()
    assert saved_names(filled) <= set(names_of(filled))


def names_of(opened: Opened) -> list[str]:
    with FileGallery.open(*opened) as gallery:
        return gallery.names()


@pytest.mark.parametrize("change", ["remove", "rename", "expire"])
def test_a_person_who_is_gone_is_gone_from_the_snapshot_at_once(
    filled: Opened, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = stored(filled[0], "key")
    with FileGallery.open(*filled) as gallery:
        if change == "remove":
            gallery.remove("person 5")
        elif change == "rename":
            gallery.rename("person 5", "Ada")
        else:
            gallery.enrol("person 5", [], expires_in_s=3600)
            now = time.time()
            monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda: now + 3700)
            gallery.remove("person 5")  # has expired
        assert len(set(keys) - set(stored(filled[0], "key"))) == 1  # nobody can decrypt the former part any more
    assert "person 5" not in saved_names(filled)
    with FileGallery.open(*filled) as gallery:
        assert "person 5" not in {hit.name for hit in gallery.search(unit(5), PEOPLE)}


def test_a_name_of_the_snapshot_that_was_given_up_can_be_taken_again(filled: Opened) -> None:
    with FileGallery.open(*filled) as gallery:
        gallery.remove("person 5")
        assert "person 5" not in gallery
        with pytest.raises(EdgefrError, match="person 5 is not enrolled"):
            gallery.remove("person 5")
        gallery.enrol("person 5", [sample(99)])
        gallery.rename("person 6", "Ada")
        gallery.rename("person 7", "person 6")
        assert len(gallery.samples("person 5")) == 1
        assert len(gallery) == PEOPLE
        expected = answers(gallery)
    with FileGallery.open(*filled) as gallery:
        assert answers(gallery) == expected


def test_an_expired_person_in_the_snapshot_is_not_found(filled: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with FileGallery.open(*filled) as gallery:
        gallery.import_all([entry(100 + n, time.time() + 3600) for n in range(4)], "an export")
    now = time.time()
    assert "person 102" in saved_names(filled)
    monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda: now + 3700)
    with FileGallery.open(*filled) as gallery:
        assert len(gallery) == PEOPLE
        assert gallery.search(unit(102), 1)[0].name != "person 102"
        monkeypatch.setattr("edgefr.gallery.search.memory_index.time.time", lambda: now)
        assert gallery.search(unit(102), 1)[0].name == "person 102"


def changed_by_an_older_version(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, change: Callable[[FileGallery], object]
) -> None:
    """What a version of edgefr does that knows no snapshot."""
    with monkeypatch.context() as without:
        without.setattr(file_gallery, "update", lambda _change: None)
        without.setattr(file_gallery, "save", lambda _store, _people: False)
        without.setattr(file_gallery, "pack", lambda _change: [])
        with FileGallery.open(*opened) as gallery:
            change(gallery)


@pytest.mark.parametrize(
    "change",
    [
        lambda gallery: gallery.remove("person 5"),
        lambda gallery: gallery.rename("person 5", "Ada"),
        lambda gallery: gallery.enrol("person 5", [sample(99)]),
        lambda gallery: gallery.enrol("Ada", [sample(99)]),
    ],
)
def test_changes_by_an_older_version_make_the_snapshot_stale(
    filled: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[FileGallery], object]
) -> None:
    changed_by_an_older_version(filled, monkeypatch, change)
    expected = without_snapshot(filled, tmp_path / "copy")
    with FileGallery.open(*filled) as gallery:
        assert answers(gallery) == expected
    assert saved_names(filled) <= set(names_of(filled))


def test_an_opening_erases_the_parts_of_people_whom_an_older_version_has_removed(
    filled: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that watches stays open for months, and until then SQLite's log would cover the former parts only."""
    former = [bytes(key) for key in stored(filled[0], "key")]  # type: ignore[call-overload]
    changed_by_an_older_version(filled, monkeypatch, lambda gallery: gallery.remove("person 5"))
    with FileGallery.open(*filled) as gallery:
        content = filled[0].read_bytes()
        assert gallery.traces == ""
        assert not any(key in content for key in former)


def test_an_older_version_finds_the_tables_that_it_knows(filled: Opened) -> None:
    database = sqlite3.connect(filled[0])
    assert database.execute("PRAGMA user_version").fetchone() == (len(sqlite_schema.MIGRATIONS),)
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    database.close()
    assert tables - {"snapshot", "contract"} == {"header", "people", "images", "events"}


@pytest.mark.parametrize("part", [0, 3, 7])
@pytest.mark.parametrize("column", ["key", "body"])
def test_a_damaged_part_is_made_again(filled: Opened, tmp_path: Path, part: int, column: str) -> None:
    with FileGallery.open(*filled) as gallery:
        expected = answers(gallery)
    (last,) = stored(filled[0], "last")[part : part + 1]
    damage = f"UPDATE snapshot SET {column} = zeroblob(length({column})) WHERE last = {last}"
    edit(filled[0], damage)
    for _ in range(2):
        with FileGallery.open(*filled) as gallery:
            assert answers(gallery) == expected
    assert len(saved_names(filled)) == PEOPLE


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE snapshot SET first = 'text'",
        "UPDATE snapshot SET first = -first, last = -last WHERE last = (SELECT min(last) FROM snapshot)",
        "UPDATE snapshot SET body = 'text'",
        "UPDATE snapshot SET first = 1",
        "DELETE FROM snapshot WHERE last = (SELECT max(last) FROM snapshot)",
        "INSERT INTO snapshot VALUES (9223372036854775807, -9223372036854775808, x'00', x'00')",
        "UPDATE snapshot SET body = (SELECT body FROM snapshot LIMIT 1), key = (SELECT key FROM snapshot LIMIT 1)",
    ],
)
def test_a_forged_snapshot_changes_no_answer(filled: Opened, statement: str) -> None:
    with FileGallery.open(*filled) as gallery:
        expected = answers(gallery)
    edit(filled[0], statement)
    with FileGallery.open(*filled) as gallery:
        assert answers(gallery) == expected
        gallery.remove("person 5")
    with FileGallery.open(*filled) as gallery:
        assert len(gallery) == PEOPLE - 1
    assert "person 5" not in saved_names(filled)


def test_an_older_snapshot_that_is_put_back_is_not_used(filled: Opened, tmp_path: Path) -> None:
    shutil.copy(filled[0], tmp_path / "older.db")
    with FileGallery.open(*filled) as gallery:
        gallery.remove("person 5")
        gallery.rename("person 6", "Ada")
        gallery.enrol("person 7", [sample(99)])
        expected = answers(gallery)
    put_back = (
        f"ATTACH '{tmp_path}/older.db' AS older",
        "DELETE FROM snapshot",
        "INSERT INTO snapshot SELECT * FROM older.snapshot",
    )
    edit(filled[0], *put_back)
    with FileGallery.open(*filled) as gallery:
        assert answers(gallery) == expected
    assert "person 5" not in saved_names(filled)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE people SET key = (SELECT key FROM older.people WHERE id = {id}), "
        "record = (SELECT record FROM older.people WHERE id = {id}) WHERE id = {id}",
        "DELETE FROM people WHERE id = {id}",
        "UPDATE people SET record = 'text' WHERE id = {id}",
    ],
)
def test_a_row_that_the_snapshot_does_not_stand_for_is_refused_when_it_is_read(
    filled: Opened, tmp_path: Path, statement: str
) -> None:
    shutil.copy(filled[0], tmp_path / "older.db")
    with FileGallery.open(*filled) as gallery:
        gallery.enrol("person 5", [sample(99)])
        number, template = gallery.person("person 5").id, gallery.person("person 5").template
    edit(filled[0], f"ATTACH '{tmp_path}/older.db' AS older", statement.format(id=number))
    with FileGallery.open(*filled) as gallery:
        for read in (
            lambda: gallery.search(template, 1),
            lambda: gallery.person("person 5"),
            lambda: gallery.remove("person 5"),
            lambda: list(gallery.people()),
        ):
            with pytest.raises(DamagedError):
                read()


def test_a_person_who_was_inserted_by_another_program_is_refused(filled: Opened) -> None:
    edit(filled[0], "INSERT INTO people SELECT 9999, key, record FROM people WHERE id = 1")
    with pytest.raises(DamagedError), FileGallery.open(*filled):
        pass


def test_a_new_key_leaves_no_snapshot_of_the_former(filled: Opened, tmp_path: Path) -> None:
    path, secret = filled
    former = stored(path, "key")
    with FileGallery.open(path, secret) as gallery:
        before = answers(gallery)
        gallery.rotate(KeyFile.create(tmp_path / "other"))
        assert answers(gallery) == before
        assert stored(path, "key") == []
    content = path.read_bytes()
    assert not any(bytes(key) in content for key in former)  # type: ignore[call-overload]
    with pytest.raises(LockedError), FileGallery.open(path, secret):
        pass
    with FileGallery.open(path, KeyFile(tmp_path / "other")) as gallery:
        assert answers(gallery) == before
    assert len(stored(path)) == 8


def test_the_snapshot_is_no_change_of_the_gallery(tmp_path: Path) -> None:
    """Otherwise a pin of its generation, or another process, would take it for one."""
    gallery, secret = new_gallery(tmp_path)
    for number in range(9):
        gallery.enrol(f"person {number}", [sample(number)])
    state = gallery.state()
    with FileGallery.open(gallery.path, secret) as other:
        assert (other.state(), len(stored(gallery.path))) == (state, 2)
    assert gallery.state() == state
    gallery.remove("person 3")  # a process that was open before the snapshot was written keeps it in step, too
    gallery.close()
    assert "person 3" not in saved_names((gallery.path, secret))


def test_two_processes_see_each_others_changes(filled: Opened) -> None:
    with FileGallery.open(*filled) as one, FileGallery.open(*filled) as other:
        one.remove("person 5")
        other.rename("person 6", "Ada")
        one.import_all([entry(200 + n) for n in range(9)], "an export")
        other.remove("person 203")
        assert answers(one) == answers(other)
        expected = answers(one)
    with FileGallery.open(*filled) as again:
        assert answers(again) == expected
    assert {"person 5", "person 6", "person 203"}.isdisjoint(saved_names(filled))


def test_parts_of_people_whom_another_process_has_removed_are_not_written(filled: Opened) -> None:
    """One process has read everybody, because there was no snapshot, and another removes somebody before it writes."""
    with FileGallery.open(*filled) as first, FileGallery.open(*filled) as second:
        edit(filled[0], "DELETE FROM snapshot")
        with first._store.reading():
            people = index_snapshot.read_people(first._store)
        assert people.unsaved
        second.remove("person 5")
        index_snapshot.save(first._store, people)
        assert stored(filled[0]) == []
    assert "person 5" not in saved_names(filled)


def damage_the_tree_of_images(path: Path) -> None:
    """Overwrite the number of cells of its first page, which an opening from a snapshot does not read."""
    database = sqlite3.connect(path)
    ((page,),) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'images'")
    ((size,),) = database.execute("PRAGMA page_size")
    database.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size + 3)
        file.write(b"\x00\x01")


def test_an_audit_finds_a_file_that_is_no_intact_database(filled: Opened) -> None:
    damage_the_tree_of_images(filled[0])
    with FileGallery.open(*filled) as gallery, pytest.raises(DamagedError):
        gallery.orphan_images()


@pytest.mark.parametrize("snapshot", ["stale", "missing"])
def test_an_opening_without_a_usable_snapshot_finds_it_too(
    filled: Opened, monkeypatch: pytest.MonkeyPatch, snapshot: str
) -> None:
    if snapshot == "stale":
        changed_by_an_older_version(filled, monkeypatch, lambda gallery: gallery.rename("person 5", "Ada"))
    else:
        edit(filled[0], "DELETE FROM snapshot")
    damage_the_tree_of_images(filled[0])
    with pytest.raises(DamagedError):
        FileGallery.open(*filled)


@pytest.mark.parametrize("locked", [False, True])
def test_a_file_that_cannot_be_written_is_opened_without_writing_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    gallery, secret = new_gallery(tmp_path)
    for number in range(9):
        gallery.enrol(f"person {number}", [sample(number)])
    gallery.close()
    writer = sqlite3.connect(gallery.path, isolation_level=None)
    if locked:
        writer.execute("BEGIN IMMEDIATE")
    else:
        connect = sqlite_schema.connect_for_reading
        monkeypatch.setattr("edgefr.gallery.stores.sqlite.connect_for_reading", lambda path: (connect(path)[0], False))
    start = time.monotonic()
    with FileGallery.open(gallery.path, secret) as again:
        assert [hit.name for hit in again.search(unit(3), 1)] == ["person 3"]
    assert time.monotonic() - start < sqlite_schema.LOCK_TIMEOUT_S / 2  # it has not waited for the writer
    writer.close()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        stored(gallery.path)


def test_an_import_that_fails_leaves_neither_people_nor_parts(filled: Opened) -> None:
    before = stored(filled[0])
    with FileGallery.open(*filled) as gallery:
        expected = answers(gallery)
        with pytest.raises(EdgefrError, match="enrolled"):
            gallery.import_all([*(entry(300 + n) for n in range(9)), entry(5)], "an export")
        assert answers(gallery) == expected
    assert stored(filled[0]) == before


def test_an_export_of_a_gallery_with_a_snapshot_fills_another(filled: Opened, tmp_path: Path) -> None:
    secret = Passphrase("correct horse", cost=1 << 14)
    (tmp_path / "other").mkdir()
    with FileGallery.open(*filled) as gallery:
        export_gallery(gallery, tmp_path / "people.export", secret, lambda _count: None)
        names = gallery.names()
    other, key = new_gallery(tmp_path / "other")
    with other:
        import_people(other, Export(tmp_path / "people.export", secret), lambda _count: None)
        assert other.names() == names
    assert len(saved_names((other.path, key))) == PEOPLE


def test_an_invalid_record_stays_reported_until_it_is_removed(filled: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as unchecked, FileGallery.open(*filled) as gallery:
        unchecked.setattr(Person, "checked", lambda one, _dim=None: one)
        person = gallery.person("person 5")
        with gallery._changing() as change:
            change.update(replace(person, name="a\x1bb"), ())
    edit(filled[0], "DELETE FROM snapshot")
    for _ in range(3):
        with FileGallery.open(*filled) as gallery:
            assert [one.id for one in gallery.invalid_people()] == [person.id]
            assert len(gallery) == PEOPLE - 1
    with FileGallery.open(*filled) as gallery:
        gallery.remove_invalid(gallery.invalid_people())
    with FileGallery.open(*filled) as gallery:
        assert (gallery.invalid_people(), len(gallery)) == ([], PEOPLE - 1)


@pytest.mark.parametrize("seed", [0, 3, 7])
def test_a_kill_while_the_snapshot_is_written_leaves_the_gallery_as_it_was(
    filled: Opened, tmp_path: Path, seed: int
) -> None:
    """The child ends at one of the statements of the transaction, without any cleaning up."""
    with FileGallery.open(*filled) as gallery:
        expected = answers(gallery)
    edit(filled[0], "UPDATE snapshot SET body = zeroblob(100)")  # so that all of it is written again
    child = os.fork()
    if child == 0:
        written = 0
        write = SnapshotTable.write

        def killed(table: SnapshotTable, *given: object) -> None:
            nonlocal written
            if (written := written + 1) > seed:
                os._exit(0)
            write(table, *given)  # type: ignore[arg-type]

        SnapshotTable.write = killed  # type: ignore[method-assign, assignment]
        FileGallery.open(*filled)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    with FileGallery.open(*filled) as gallery:
        assert answers(gallery) == expected
    assert len(saved_names(filled)) == PEOPLE


people = st.builds(
    lambda number, name, expires: Row(
        Person(number, name, 1.0, expires, unit(number % 50), ()), bytes([number % 256]) * 32
    ),
    st.integers(1, 10_000),
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20),
    st.none() | st.floats(0, 1e9),
)
invalid = st.builds(
    lambda number, problem: Row(InvalidPerson(number, problem, ""), b"\xff" * 32), st.integers(1, 10_000), st.text()
)


@settings(max_examples=30, deadline=None)
@given(st.lists(people | invalid, min_size=1, max_size=12, unique_by=lambda row: row.person.id), st.data())
def test_a_part_is_read_as_it_was_written_and_changes_like_a_list(rows: list[Row], data: st.DataObject) -> None:
    rows.sort(key=lambda row: row.person.id)
    chunk = IndexChunk.of(rows)
    again = IndexChunk.from_bytes(chunk.first, chunk.last, DIM, chunk.to_bytes())
    assert same(again, chunk)
    assert chunk.total() == (len(rows), sum(int.from_bytes(row.digest, "big") for row in rows))
    changed = data.draw(st.lists(st.sampled_from(rows), unique_by=lambda row: row.person.id))
    written = [
        Row(replace(row.person, name="Ada"), bytes(32)) for row in changed[::2] if isinstance(row.person, Person)
    ]
    ids = {row.person.id for row in changed}
    rest = [row for row in rows if row.person.id not in ids] + written
    found = again.changed(ids, sorted(written, key=lambda row: row.person.id))
    if not rest:
        assert found is None
    else:
        expected = IndexChunk.of(sorted(rest, key=lambda row: row.person.id))
        assert found is not None
        assert same(replace(found, first=0, last=0), replace(expected, first=0, last=0))


def same(one: IndexChunk, other: IndexChunk) -> bool:
    return (one.first, one.last, one.names, set(one.invalid)) == (
        other.first,
        other.last,
        other.names,
        set(other.invalid),
    ) and all(
        np.array_equal(first, second, equal_nan=kind == "<f8")
        for (first, kind), (second, _) in zip(one._arrays(), other._arrays(), strict=True)
        if len(one)
    )


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_other_bytes_are_no_part(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        IndexChunk.from_bytes(1, 2, DIM, data)
