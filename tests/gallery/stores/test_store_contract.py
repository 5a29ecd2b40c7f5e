"""The contract of all stores: enrolled people are found, acknowledged changes are durable, removed people are gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgefr.errors import EdgefrError
from edgefr.gallery.address import LITE, POSTGRES, Address
from edgefr.gallery.base import Gallery
from edgefr.gallery.crypto.key_wrapping import KeyFile, Passphrase, Secret
from edgefr.gallery.factory import create_gallery, gallery_exists, open_gallery
from edgefr.gallery.records import Event, FaceSample, NumberedEvent, Person, fuse_template
from edgefr.gallery.stores import writer_lease
from edgefr.gallery.stores.base import PAGE_ROWS
from edgefr.gallery.transfer import Export, export_gallery, import_people
from tests.conftest import REPOSITORY
from tests.gallery.people import BINDING, DIM, new_gallery, sample, unit

Place = Path | Address
SECRET = Passphrase("correct horse", cost=1 << 14)
DAY_S = 86_400.0


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return KeyFile.create(tmp_path / "key")


@pytest.fixture
def gallery(place: Place, key: KeyFile) -> Iterator[Gallery]:
    with created(place, key) as opened:
        yield opened


def created(place: Place, secret: Secret) -> Gallery:
    return create_gallery(place, secret, BINDING, lambda _text: None)


def opened_again(place: Place, secret: Secret) -> Gallery:
    return open_gallery(place, lambda _kind: secret)


def content_of(one: FaceSample) -> tuple[object, ...]:
    return one.source, one.embedding.tobytes(), one.uncertainty, None if one.crop is None else one.crop.tobytes()


def nothing(_count: int) -> None:
    """Ignores the progress."""


def test_enrolled_people_are_read_again_with_the_secret(place: Place, gallery: Gallery, key: KeyFile) -> None:
    ada, more = [sample(1, "a.jpg", crop=True), sample(2, "b.jpg")], [sample(3, "c.jpg")]
    gallery.enrol("Ada", ada)
    gallery.enrol("Grace", [sample(9)])
    gallery.enrol("Ada", more)
    gallery.close()
    with opened_again(place, key) as again:
        assert again.names() == ["Ada", "Grace"]
        assert "Ada" in again
        assert "Emmy" not in again
        assert "\n" not in again
        assert len(again) == 2
        assert [content_of(one) for one in again.samples("Ada")] == [content_of(one) for one in (*ada, *more)]
        assert again.binding == BINDING
        assert [(event.what, event.name) for event in again.events()] == [
            ("enrolled", "Ada"),
            ("enrolled", "Grace"),
            ("extended", "Ada"),
        ]
        assert again.orphan_images() == 0
        (entry,) = again.entries(["Ada"])
        assert (entry[0].name, len(entry[1])) == ("Ada", 3)


def test_a_search_equals_an_exact_search(gallery: Gallery) -> None:
    for number in range(12):
        gallery.enrol(f"person {number}", [sample(number)])
    for number in range(3):
        similarity = np.stack([unit(other) for other in range(12)]) @ unit(number)
        found = gallery.search(unit(number), 4)
        assert [hit.name for hit in found] == [f"person {other}" for other in np.argsort(-similarity)[:4]]
        np.testing.assert_allclose([hit.similarity for hit in found], np.sort(similarity)[:-5:-1], atol=1e-6)


def test_many_searches_at_once_find_what_each_finds_alone(gallery: Gallery) -> None:
    people = ((Person(0, f"person {number}", 1.0, None, unit(number), ()), [sample(number)]) for number in range(300))
    gallery.import_all(people, "a test")
    asked = np.stack([unit(number) for number in range(0, 300, 2)])
    together = gallery.search_all(asked, 3)
    assert [hits[0].name for hits in together] == [f"person {number}" for number in range(0, 300, 2)]
    for number in (0, 99, 149):
        assert [hit.name for hit in together[number]] == [hit.name for hit in gallery.search(asked[number], 3)]
    assert gallery.search_all(asked[:0]) == []


def test_a_removed_person_is_gone_and_the_others_stay(place: Place, gallery: Gallery, key: KeyFile) -> None:
    for number, name in enumerate(("Ada", "Grace")):
        gallery.enrol(name, [sample(number, crop=True), sample(number + 10)])
    gallery.remove("Ada")
    assert [hit.name for hit in gallery.search(unit(0), 5)] == ["Grace"]
    assert (gallery.names(), len(gallery), "Ada" in gallery) == (["Grace"], 1, False)
    for read in (gallery.person, gallery.samples, gallery.remove):
        with pytest.raises(EdgefrError, match="Ada is not enrolled"):
            read("Ada")
    assert gallery.orphan_images() == 0
    removed = gallery.events()[-1]
    assert (removed.what, removed.name[:15]) == ("removed", "removed person ")
    assert [event.what for event in gallery.events() if event.name == removed.name] == ["enrolled", "removed"]
    assert "Ada" not in {event.name for event in gallery.events()}
    gallery.enrol("Ada", [sample(5)])
    assert [one.source for one in gallery.samples("Ada")] == ["a.jpg"]


def test_a_removed_image_is_gone_and_the_template_is_fused_without_it(
    place: Place, gallery: Gallery, key: KeyFile
) -> None:
    images = [sample(number, f"{number}.jpg", crop=True) for number in range(3)]
    gallery.enrol("Ada", images)
    gallery.enrol("Grace", [sample(9)])
    removed = gallery.remove_image("Ada", "1.jpg")
    assert content_of(removed) == content_of(images[1])
    for opened in (gallery, None):
        with opened or opened_again(place, key) as again:
            assert [content_of(one) for one in again.samples("Ada")] == [content_of(images[0]), content_of(images[2])]
            np.testing.assert_allclose(again.person("Ada").template, fuse_template(images[::2]), atol=1e-6)
            assert again.search(fuse_template(images[::2]), 1)[0].similarity == pytest.approx(1, abs=1e-6)
            assert again.orphan_images() == 0
            event = again.events()[-1]
            assert (event.what, event.name, event.detail) == ("image removed", "Ada", "1.jpg")
            with pytest.raises(EdgefrError, match=r"one image 1\.jpg of Ada, found none"):
                again.remove_image("Ada", "1.jpg")
            with pytest.raises(EdgefrError, match=r"a\.jpg is the only image of Grace\. Remove the person"):
                again.remove_image("Grace", "a.jpg")


def test_a_renamed_person_is_found_by_the_new_name_only(gallery: Gallery) -> None:
    gallery.enrol("Ada", [sample(1)])
    gallery.enrol("Grace", [sample(2)])
    gallery.rename("Ada", " Ada Lovelace ")
    assert gallery.search(unit(1), 1)[0].name == "Ada Lovelace"
    assert gallery.names() == ["Ada Lovelace", "Grace"]
    assert len(gallery.samples("Ada Lovelace")) == 1
    with pytest.raises(EdgefrError, match=r"Ada Lovelace is enrolled already\. Choose another name"):
        gallery.rename("Grace", "Ada Lovelace")


def test_expired_people_are_not_found_and_removed_after_the_grace_period(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Ada", [sample(1)], expires_in_s=3600)
    gallery.enrol("Grace", [sample(2)])
    now = gallery.person("Ada").enrolled
    for days in (1, 4, 7, 9):
        monkeypatch.setattr("time.time", lambda after=now + days * DAY_S: after)
        assert [hit.name for hit in gallery.search(unit(1), 5)] == ["Grace"]
        assert (gallery.names(), "Ada" in gallery, len(gallery)) == (["Grace"], False, 1)
        gallery.enrol("Grace", [sample(2 + days)])
        removed = [event.name for event in gallery.events() if event.what == "expired"]
        assert len(removed) == (days == 9), days
    assert gallery.orphan_images() == 0


def test_the_name_of_an_expired_person_is_free(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("Ada", "Grace", "Emmy", "Rosa")):
        gallery.enrol(name, [sample(number)], expires_in_s=3600)
    now = gallery.person("Ada").enrolled
    monkeypatch.setattr("time.time", lambda: now + 3601)
    gallery.enrol("Ada", [sample(5)])
    gallery.import_all([(Person(0, "Grace", 1.0, None, unit(6), ()), [sample(6)])], "a test")
    gallery.rename("Ada", "Emmy")
    gallery.remove("Rosa")
    assert gallery.names() == ["Emmy", "Grace"]
    assert [hit.name for hit in gallery.search(unit(5), 1)] == ["Emmy"]
    assert [one.embedding.tobytes() for one in gallery.samples("Emmy")] == [unit(5).tobytes()]
    assert gallery.orphan_images() == 0
    with pytest.raises(EdgefrError, match="Rosa is not enrolled"):
        gallery.remove("Rosa")


def test_a_clock_that_is_ahead_once_removes_nobody(
    place: Place, gallery: Gallery, key: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Ada", [sample(1)], expires_in_s=365 * DAY_S)
    now = gallery.person("Ada").enrolled
    gallery.close()
    for days, found in ((400, []), (400.2, []), (1, ["Ada"]), (410, []), (2, ["Ada"])):
        monkeypatch.setattr("time.time", lambda after=now + days * DAY_S: after)
        with opened_again(place, key) as again:
            jump = "" if days == 400.2 else f"{'before' if found else 'after'} the latest use of this gallery"
            assert jump in again.clock_notice
            assert bool(jump) == bool(again.clock_notice)
            assert again.names() == found
            again.enrol("Grace", [sample(int(days * 10))], expires_in_s=DAY_S)
            again.remove("Grace")
    with opened_again(place, key) as again:
        assert again.names() == ["Ada"]
        assert {event.what for event in again.events()} >= {"clock", "enrolled"}


def test_events_are_deleted_after_the_days_that_the_log_is_kept(
    place: Place, gallery: Gallery, key: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.time()
    gallery.log_days = 30
    for day in range(1, 62, 4):
        monkeypatch.setattr("time.time", lambda at=start + day * DAY_S: at)
        monkeypatch.setattr("time.time_ns", lambda at=start + day * DAY_S: int(at * 1e9))
        gallery.enrol("Ada", [sample(day)])
    days = [(event.at - start) / DAY_S for event in gallery.events()]
    assert days[-1] == pytest.approx(61)
    assert 24 < days[0] < 34


def test_all_expired_people_are_removed_after_the_grace_period(
    place: Place, gallery: Gallery, key: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, many = time.time(), PAGE_ROWS + 100
    gallery.enrol("Ada", [sample(1)])
    visitors = (
        (Person(0, f"visitor {number}", now, now + 3600, unit(number), ()), [sample(number)]) for number in range(many)
    )
    gallery.import_all(visitors, "a test")
    gallery.close()
    for days in (1, 5, 9):
        monkeypatch.setattr("time.time", lambda after=now + days * DAY_S: after)
        with opened_again(place, key) as again:
            assert (again.names(), len(again), again.orphan_images()) == (["Ada"], 1, 0)
            assert [event.what for event in again.events()].count("expired") == (days == 9) * many


def test_a_wrong_secret_and_a_former_secret_do_not_open_a_gallery(
    place: Place, gallery: Gallery, key: KeyFile, tmp_path: Path
) -> None:
    gallery.enrol("Ada", [sample(1)])
    other = KeyFile.create(tmp_path / "other")
    with pytest.raises(EdgefrError, match="Use the right key file"):
        opened_again(place, other)
    gallery.rotate(other)
    assert gallery.names() == ["Ada"]
    gallery.close()
    with pytest.raises(EdgefrError, match="Use the right key file"):
        opened_again(place, key)
    with opened_again(place, other) as again:
        assert again.names() == ["Ada"]
        assert again.events()[-1].what == "rotated"


def test_a_second_gallery_of_the_same_name_is_refused(place: Place, gallery: Gallery, key: KeyFile) -> None:
    gallery.enrol("Ada", [sample(1)])
    assert gallery_exists(place)
    with pytest.raises(EdgefrError, match=r"There is a gallery at .* already\. Choose another"):
        created(place, key)
    assert gallery.names() == ["Ada"]


def test_a_missing_gallery_is_not_opened(place: Place, key: KeyFile) -> None:
    assert not gallery_exists(place)
    with pytest.raises(EdgefrError, match="edgefr gallery enroll NAME IMAGE"):
        opened_again(place, key)


def test_people_are_exported_to_a_store_and_back(place: Place, key: KeyFile, tmp_path: Path) -> None:
    first, _ = new_gallery(tmp_path / "first", key)
    for number, name in enumerate(("Ada", "Grace", "Emmy")):
        first.enrol(name, [sample(number, f"{name}.jpg", crop=number == 0), sample(number + 10)], expires_in_s=3e9)
    out, back = tmp_path / "out", tmp_path / "back"
    export_gallery(first, out, SECRET, nothing)
    seen: list[int] = []
    with created(place, key) as gallery:
        assert import_people(gallery, Export(out, SECRET), seen.append) == Export(out, SECRET).count() == 3
        assert sum(seen) == 6
        assert gallery.search(unit(2), 1)[0].name == "Emmy"
        with pytest.raises(EdgefrError, match=r"\w+ is enrolled in .* already, so nothing was imported"):
            import_people(gallery, Export(out, SECRET), nothing)
        assert (gallery.names(), gallery.orphan_images()) == (["Ada", "Emmy", "Grace"], 0)
        export_gallery(gallery, back, SECRET, nothing)
    last, _ = new_gallery(tmp_path / "last", key)
    import_people(last, Export(back, SECRET), nothing)
    for name in first.names():
        assert [content_of(one) for one in last.samples(name)] == [content_of(one) for one in first.samples(name)]
        assert replace(last.person(name), id=0, images=(), template=0) == replace(  # type: ignore[arg-type]
            first.person(name),
            id=0,
            images=(),
            template=0,  # type: ignore[arg-type]
        )


def test_people_who_expired_since_the_export_are_not_imported(
    place: Place, key: KeyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = new_gallery(tmp_path / "first", key)
    first.enrol("Ada", [sample(1)], expires_in_s=3600)
    first.enrol("Grace", [sample(2)])
    export_gallery(first, tmp_path / "out", SECRET, nothing)
    over = first.person("Ada").enrolled + 3601
    # For the import only: servers do not start if their clock stands still.
    monkeypatch.setattr("edgefr.gallery.transfer.time", SimpleNamespace(time=lambda: over))
    seen: list[int] = []
    with created(place, key) as gallery:
        assert import_people(gallery, Export(tmp_path / "out", SECRET), seen.append) == 1
        assert (gallery.names(), sum(seen)) == (["Grace"], 4)


def test_a_failed_import_leaves_nobody(gallery: Gallery) -> None:
    gallery.enrol("Emmy", [sample(7)])

    def people() -> Iterator[tuple[Person, list[FaceSample]]]:
        for number in range(250):
            yield Person(0, f"person {number}", 1.0, None, unit(number), ()), [sample(number)]
        yield Person(0, "Emmy", 1.0, None, unit(1), ()), [sample(1)]

    with pytest.raises(EdgefrError, match=r"Emmy is enrolled in .* already"):
        gallery.import_all(people(), "a test")
    assert (gallery.names(), gallery.orphan_images()) == (["Emmy"], 0)
    assert gallery.search(unit(7), 3)[0].name == "Emmy"


def test_an_import_verifies_what_the_gallery_returns(
    gallery: Gallery, key: KeyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Ada", [sample(1), sample(2)])
    export_gallery(gallery, tmp_path / "out", SECRET, nothing)
    gallery.remove("Ada")
    entries: Callable[..., Iterator[tuple[Person, list[FaceSample]]]] = gallery.entries
    monkeypatch.setattr(gallery, "entries", lambda names: ((one, all_[:1]) for one, all_ in entries(names)))
    with pytest.raises(EdgefrError, match="expected 1 people with the checksum"):
        import_people(gallery, Export(tmp_path / "out", SECRET), nothing)


WRITER = """
import sys
from pathlib import Path
from edgefr.gallery.address import parse_address
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.factory import open_gallery
from tests.gallery.people import sample

gallery = open_gallery(parse_address(sys.argv[1]), lambda _kind: KeyFile(Path(sys.argv[2])))
print("open", flush=True)
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    gallery.enrol(f"person {number}", [sample(number, f"{number}.jpg"), sample(number + 1000)])
    gallery.enrol("Ada", [sample(number, f"{number}.jpg")])
    print(number, flush=True)
"""


def writer(place: Place, key: KeyFile, first: int, last: int, before: str = "") -> subprocess.Popen[str]:
    """A process that enrols a person and adds an image to Ada for each number, and prints what is acknowledged."""
    command = [sys.executable, "-c", before + WRITER, str(place), str(key.path), str(first), str(last)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_two_processes_write_and_nothing_is_lost(place: Place, key: KeyFile) -> None:
    created(place, key).close()
    if isinstance(place, Address) and place.kind == LITE:
        with pytest.MonkeyPatch.context() as patch:  # this process has the file open
            patch.setenv("EDGEFR_DEBUG", "")
            process = writer(place, key, 0, 1)
            _, complaint = process.communicate()
        assert "Milvus Lite admits one process" in complaint
        return
    both = [writer(place, key, start, start + 4) for start in (0, 10)]
    for process in both:
        _, complaint = process.communicate(timeout=100)
        assert process.returncode == 0, complaint
    numbers = [*range(4), *range(10, 14)]
    with opened_again(place, key) as gallery:
        assert gallery.names() == sorted(["Ada", *(f"person {number}" for number in numbers)])
        assert {one.source for one in gallery.samples("Ada")} == {f"{number}.jpg" for number in numbers}
        assert all(len(gallery.samples(f"person {number}")) == 2 for number in numbers)
        assert gallery.orphan_images() == 0
        assert len(gallery.events()) == 2 * len(numbers)


def test_a_killed_writer_loses_no_acknowledged_change(
    place: Place, key: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_lease, "LEASE_S", 0.5)  # the writer is certainly dead
    rng, start, acknowledged = np.random.default_rng(0), 0, list[int]()
    if isinstance(place, Address) and place.kind == LITE:  # otherwise this process would have the file open
        made = "from edgefr.gallery.factory import create_gallery; from tests.gallery.people import BINDING\n"
        made += "import sys; from pathlib import Path; from edgefr.gallery.crypto.key_wrapping import KeyFile\n"
        made += "from edgefr.gallery.address import parse_address\n"
        made += "create_gallery(parse_address(sys.argv[1]), KeyFile(Path(sys.argv[2])), BINDING, print).close()\n"
    else:
        made = ""
        created(place, key).close()
    for _ in range(2):
        process = writer(place, key, start, start + 1000, made)
        made = ""
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        time.sleep(float(rng.uniform(0, 0.3)))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()  # `communicate` would lose what readline has buffered
        _, complaint = process.communicate()
        done = [int(line) for line in "".join([*lines, rest]).split() if line.isdigit()]
        assert done, complaint
        acknowledged += done
        start = done[-1] + 2
    with opened_again(place, key) as gallery:
        gallery.enrol("Last", [sample(1)])
        assert {f"person {number}" for number in acknowledged} <= {*gallery.names()}
        assert len(gallery) - len(acknowledged) - 2 in range(3)  # interrupted ones, complete or not at all
        for name in {*gallery.names()} - {"Ada", "Last"}:
            assert len(gallery.samples(name)) == 2
        assert {f"{number}.jpg" for number in acknowledged} <= {one.source for one in gallery.samples("Ada")}
        assert gallery.orphan_images() == 0


KILLED_AT = {
    "the images are written": "put_people",
    "the person is written": "delete_lease",
    "nothing is written": "put_blobs",
}


@pytest.mark.parametrize("moment", KILLED_AT)
def test_an_interrupted_change_leaves_the_old_person_or_the_new_one(
    moment: str, place: Place, key: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(place, Address):
        pytest.skip("a file is killed 20,000 times by `make soak`")
    method = KILLED_AT[moment]
    if (place.kind, method) == (POSTGRES, "delete_lease"):
        pytest.skip("PostgreSQL needs no leases")
    monkeypatch.setattr(writer_lease, "LEASE_S", 0.5)
    gallery = created(place, key)
    gallery.enrol("Ada", [sample(0, "0.jpg")])
    store = gallery._store  # type: ignore[attr-defined]

    def killed(*_arguments: object) -> None:
        """Like a kill: nothing happens afterwards."""
        for name in ("_upsert", "_run", "delete_lease"):
            setattr(store, name, dead)
        dead()

    def dead(*_arguments: object, **_options: object) -> None:
        raise EdgefrError("", "The client was killed", "start it again")

    with monkeypatch.context() as patched:
        patched.setattr(store, method, killed)
        with pytest.raises(EdgefrError):
            gallery.enrol("Ada", [sample(1, "1.jpg", crop=True)])
    for name in ("_upsert", "_run", "delete_lease"):
        store.__dict__.pop(name, None)  # set by `killed`
    gallery.close()
    with opened_again(place, key) as again:
        sources = [one.source for one in again.samples("Ada")]
        assert sources == (["0.jpg", "1.jpg"] if moment == "the person is written" else ["0.jpg"])
        again.enrol("Grace", [sample(2)])  # the next change deletes the orphans
        assert again.orphan_images() == 0
        again.enrol("Ada", [sample(3, "3.jpg")])
        assert [one.source for one in again.samples("Ada")] == [*sources, "3.jpg"]


def test_an_enrolled_image_is_not_enrolled_again(gallery: Gallery) -> None:
    """Two clients that enrol the same photograph at the same time both read before either writes."""
    gallery.enrol("Ada", [sample(1, "1.jpg"), sample(2, "2.jpg")])
    template = gallery.person("Ada").template
    gallery.enrol("Ada", [sample(2, "again.jpg")])
    assert [one.source for one in gallery.samples("Ada")] == ["1.jpg", "2.jpg"]
    assert np.array_equal(gallery.person("Ada").template, template)
    gallery.enrol("Ada", [sample(2, "again.jpg"), sample(3, "3.jpg")])
    assert [one.source for one in gallery.samples("Ada")] == ["1.jpg", "2.jpg", "3.jpg"]


def test_one_of_two_simultaneous_creations_succeeds(place: Place, key: KeyFile) -> None:
    done: list[Gallery] = []
    refused: list[EdgefrError] = []

    def make() -> None:
        try:
            done.append(created(place, key))
        except EdgefrError as error:
            refused.append(error)

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), len(refused)) == (1, 1), refused
    done[0].enrol("Ada", [sample(1)])
    done[0].close()
    with opened_again(place, key) as again:
        assert again.names() == ["Ada"]


def test_threads_share_a_gallery(gallery: Gallery) -> None:
    failures: list[BaseException] = []

    def enrol(start: int) -> None:
        try:
            for number in range(start, start + 3):
                gallery.enrol(f"person {number}", [sample(number)])
                assert gallery.search(unit(number), 1)[0].name == f"person {number}"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=enrol, args=(start,)) for start in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(gallery.names()) == 6


def test_only_a_gallery_in_a_file_can_be_rebuilt(place: Place, gallery: Gallery) -> None:
    gallery.enrol("Ada", [sample(1)])
    other = replace(BINDING, model_sha256="1" * 64)
    if isinstance(place, Address):
        with pytest.raises(EdgefrError, match=r"gallery export.*rebuild it"):
            gallery.re_embed_all(other, lambda _name, samples: samples)
        assert gallery.binding == BINDING
    else:
        gallery.re_embed_all(other, lambda _name, samples: samples)
        assert gallery.binding == other
    assert len(gallery.person("Ada").template) == DIM


def test_names_of_every_script_survive(gallery: Gallery) -> None:
    for name in ("Ḽơᶉëᶆ ȋṕšᶙṁ", "李小龍", 'O\'Brien "x" \\'):
        gallery.enrol(name, [sample(len(name))])
        assert json.loads(json.dumps(gallery.person(name).name)) == name


def test_people_are_read_in_pages_and_by_id(gallery: Gallery) -> None:
    for number in range(5):
        gallery.enrol(f"person {number}", [sample(number)])
    gallery.enrol("gone soon", [sample(9)], expires_in_s=0.01)
    time.sleep(0.02)
    people: list[Person] = []
    while page := gallery.people_after(people[-1].id if people else 0, 2):
        assert len(page) <= 2
        people += page
    assert sorted(person.name for person in people) == [f"person {number}" for number in range(5)]
    assert [person.id for person in people] == sorted(person.id for person in people)
    gallery.rename(people[0].name, "renamed")
    found = gallery.person_of_id(people[0].id)
    assert found is not None
    assert found.name == "renamed"
    gallery.remove("renamed")
    assert gallery.person_of_id(people[0].id) is None


def test_the_log_is_read_in_pages_from_both_ends(gallery: Gallery) -> None:
    for number in range(7):
        gallery.log([Event(1000.0 + number, "matched", str(number))])
    everything = [event.name for event in gallery.events()]
    back: list[NumberedEvent] = []
    while page := gallery.events_before(back[-1][0] if back else None, 3):
        back += page
    assert [event.name for _, event in back] == everything[::-1]
    forward: list[NumberedEvent] = []
    while page := gallery.events_after(forward[-1][0] if forward else 0, 3):
        forward += page
    assert forward == back[::-1]
    assert gallery.events_before(0, 3) == []


def test_a_page_of_a_long_log_is_found_however_its_events_lie(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores give the rows of a database in the order of ids, so the newest ones are searched for."""
    for module in ("base", "postgres", "milvus"):
        monkeypatch.setattr(f"edgefr.gallery.stores.{module}.PAGE_ROWS", 4)
    monkeypatch.setattr("edgefr.gallery.database_people.PAGE_ROWS", 4)
    gallery.log([Event(1000.0 + number, "matched", str(number)) for number in range(30)])
    assert [event.name for _, event in gallery.events_before(None, 2)] == ["29", "28"]
    newest = gallery.events_before(None, 20)
    assert [event.name for _, event in newest] == [str(number) for number in range(29, 9, -1)]
    assert [event.name for _, event in gallery.events_before(newest[-1][0], 3)] == ["9", "8", "7"]
