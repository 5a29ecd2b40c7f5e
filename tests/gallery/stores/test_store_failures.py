"""Servers that die, hang, are full, read-only or hold something else: no acknowledged change is lost, with advice."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgefr.errors import EdgefrError
from edgefr.gallery.address import LITE, MILVUS, POSTGRES, Address
from edgefr.gallery.base import Gallery
from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.factory import create_gallery, gallery_exists, open_gallery, open_store
from edgefr.gallery.stores.base import HEADER
from edgefr.gallery.stores.milvus_collections import Collections
from tests.conftest import REPOSITORY
from tests.gallery.people import BINDING, sample, unit
from tests.stores import MilvusServer, Postgres, Proxy, place_in

SERVERS = (POSTGRES, MILVUS)
DATABASES = (LITE, *SERVERS)


@pytest.fixture
def at(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Address:
    found = place_in(request.param, request, tmp_path, monkeypatch)
    assert isinstance(found, Address)
    return found


@pytest.fixture
def gallery(at: Address) -> Iterator[Gallery]:
    with create_gallery(at, NoSecret(), BINDING, lambda _text: None) as opened:
        yield opened


def server_of(at: Address, request: pytest.FixtureRequest) -> Postgres | MilvusServer:
    found: Postgres | MilvusServer = request.getfixturevalue("postgres" if at.kind == POSTGRES else "milvus")
    return found


@pytest.mark.parametrize("at", SERVERS, indirect=True)
def test_a_killed_server_has_all_acknowledged_changes_after_its_restart(
    at: Address, gallery: Gallery, request: pytest.FixtureRequest
) -> None:
    for number in range(3):
        gallery.enrol(f"person {number}", [sample(number)])
    gallery.remove("person 1")
    server = server_of(at, request)
    server.kill()
    try:
        with pytest.raises(EdgefrError, match=r"Check that the server runs.*try again"):
            gallery.enrol("Ada", [sample(9)])
    finally:
        server.start()
    deadline = time.monotonic() + 90
    while True:
        try:
            gallery.enrol("Grace", [sample(8)])
            break
        except EdgefrError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert {*gallery.names()} - {"Ada"} == {"person 0", "person 2", "Grace"}
    assert gallery.search(unit(2), 1)[0].name == "person 2"
    assert all(len(gallery.samples(name)) == 1 for name in gallery.names())


@pytest.mark.parametrize("at", SERVERS, indirect=True)
def test_a_dead_connection_times_out(
    at: Address, gallery: Gallery, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Ada", [sample(1)])
    wire, through = wired(at, request, tmp_path, monkeypatch)
    with open_gallery(through, lambda _kind: NoSecret()) as far:
        assert far.names() == ["Ada"]
        wire.frozen.set()
        for module in ("milvus", "postgres"):
            monkeypatch.setattr(f"edgefr.gallery.stores.{module}.CALL_TIMEOUT_S", 0.5)
        monkeypatch.setattr("edgefr.gallery.stores.postgres.GRACE_S", 0.5)
        for change in (lambda: far.enrol("Grace", [sample(2)]), lambda: far.search(unit(1), 1)):
            with pytest.raises(EdgefrError, match="Check that the server runs"):
                change()
    wire.close()
    assert gallery.names() == ["Ada"]
    assert gallery.orphan_images() == 0


def wired(
    at: Address, request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Proxy, Address]:
    """A proxy for the server of a gallery, and the address through it."""
    if at.kind == MILVUS:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        assert at.port is not None
        line = Proxy((socket.AF_INET, ("127.0.0.1", at.port)), listener)
        return line, Address(MILVUS, "localhost", at.name, listener.getsockname()[1])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / ".s.PGSQL.5432"))
    server: Postgres = request.getfixturevalue("postgres")
    monkeypatch.setenv("PGHOST", str(folder))
    return Proxy((socket.AF_UNIX, str(server.socket / ".s.PGSQL.5432")), listener), at


def test_a_server_that_does_not_respond_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setattr("edgefr.gallery.stores.milvus_collections.CALL_TIMEOUT_S", 1.0)
        for address in (
            Address(POSTGRES, "127.0.0.1", "people", port, "postgres", "nobody"),
            Address(MILVUS, "127.0.0.1", "people", port),
        ):
            with pytest.raises(EdgefrError, match=rf"{address.kind}://.*:{port}.*Check that the server runs"):
                gallery_exists(address)


@pytest.mark.parametrize("at", SERVERS, indirect=True)
def test_tables_that_hold_something_else_are_refused_and_not_changed(
    at: Address, request: pytest.FixtureRequest
) -> None:
    server = server_of(at, request)
    if isinstance(server, Postgres):
        server.sql(f"CREATE TABLE {at.name}_people (letter text)")
    else:
        from pymilvus import MilvusClient

        client = MilvusClient(f"http://localhost:{server.port}")
        client.create_collection(f"{at.name}_people", dimension=8)
    for attempt in (
        lambda: open_gallery(at, lambda _kind: NoSecret()),
        lambda: create_gallery(at, NoSecret(), BINDING, lambda _text: None),
    ):
        with pytest.raises(EdgefrError, match=rf"something else in the \w+ {at.name}_people.*Choose another name"):
            attempt()
    if isinstance(server, Postgres):
        assert server.sql(f"SELECT count(*) FROM {at.name}_people") == [(0,)]


@pytest.mark.parametrize("at", [LITE, MILVUS], indirect=True)
@pytest.mark.parametrize("moment", ["one collection", "no header"])
def test_the_next_creation_replaces_an_interrupted_one(
    at: Address, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ABANDONED_S", "LITE_ABANDONED_S"):
        monkeypatch.setattr(f"edgefr.gallery.stores.milvus.{name}", 0.1)
    cut = "stores.milvus.MilvusStore._upsert" if moment == "no header" else "stores.milvus_collections.blobs_schema"
    with monkeypatch.context() as killed:
        killed.setattr(f"edgefr.gallery.{cut}", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            create_gallery(at, NoSecret(), BINDING, lambda _text: None)
    assert not gallery_exists(at)
    with create_gallery(at, NoSecret(), BINDING, lambda _text: None) as gallery:
        gallery.enrol("Ada", [sample(1)])
    with open_gallery(at, lambda _kind: NoSecret()) as again:
        assert again.names() == ["Ada"]


@pytest.mark.parametrize("at", [MILVUS], indirect=True)
def test_a_creation_that_took_too_long_does_not_overwrite_another_gallery(
    at: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it was stopped, another client replaced it and enrolled a person."""
    monkeypatch.setattr("edgefr.gallery.stores.milvus.ABANDONED_S", 0.1)
    create, late = Collections.create, 0.0

    def stopped(self: Collections, dim: int, mark: str) -> None:
        nonlocal late
        create(self, dim, mark)
        with monkeypatch.context() as other:
            other.setattr(Collections, "create", create)
            with create_gallery(at, NoSecret(), BINDING, lambda _text: None) as gallery:
                gallery.enrol("Ada", [sample(1)])
        late = 600.0

    with monkeypatch.context() as slow:
        slow.setattr(Collections, "create", stopped)
        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late, sleep=time.sleep)
        slow.setattr("edgefr.gallery.stores.milvus.time", clock)  # of that module only, not the client's
        with pytest.raises(EdgefrError, match=r"a gallery at .* within.*try again"):
            create_gallery(at, NoSecret(), BINDING, lambda _text: None)
    with open_gallery(at, lambda _kind: NoSecret()) as again:
        assert again.names() == ["Ada"]


@pytest.mark.parametrize("at", [LITE, MILVUS], indirect=True)
def test_people_of_a_gallery_without_a_header_are_not_deleted(at: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.gallery.stores.milvus.ABANDONED_S", 0.1)
    with create_gallery(at, NoSecret(), BINDING, lambda _text: None) as gallery:
        gallery.enrol("Ada", [sample(1)])
    store = open_store(at)
    header = store.header()
    with store.changing(lambda _pending: None, 5):
        store.delete_blobs(HEADER, [header.id])
    store.close()
    with pytest.raises(EdgefrError, match=r"has lost its header.*backup"):
        create_gallery(at, NoSecret(), BINDING, lambda _text: None)
    store = open_store(at)
    with store.changing(lambda _pending: None, 5):
        store.put_blobs([header])
    store.close()
    with open_gallery(at, lambda _kind: NoSecret()) as again:
        assert again.names() == ["Ada"]


@pytest.mark.parametrize("at", [POSTGRES], indirect=True)
def test_a_client_that_disappears_during_a_change_is_rolled_back(
    at: Address, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefr.gallery.stores.postgres.IDLE_TIMEOUT_S", 1.0)
    gone = open_store(at)

    def change() -> None:
        with gone.changing(lambda _pending: None, 5.0):
            gallery.enrol("Ada", [sample(1)])
            gone.count(0)

    with pytest.raises(EdgefrError, match="Try again: the change paused for too long and was rolled back"):
        change()
    gone.close()
    assert gallery.names() == ["Ada"]


@pytest.mark.parametrize("at", [POSTGRES], indirect=True)
def test_a_missing_database_is_reported_with_advice(at: Address, postgres: Postgres) -> None:
    with pytest.raises(EdgefrError, match=r"createdb NAME.*correct it in the address"):
        gallery_exists(replace(at, database="nowhere"))


def test_a_folder_that_milvus_lite_cannot_create_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EdgefrError, match=r"Give a FILE.db in a folder that can be written"):
        gallery_exists(Address(LITE, str(tmp_path / "file" / "people.db"), "people"))


@pytest.mark.parametrize("at", SERVERS, indirect=True)
def test_readers_do_not_wait_for_writers_to_remove_expired_people(
    at: Address, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Ada", [sample(1)], expires_in_s=3600)
    gallery.enrol("Grace", [sample(2)])
    over = gallery.person("Ada").enrolled + 3601
    monkeypatch.setattr("time.time", lambda: over)
    store = open_store(at)
    with store.changing(lambda _pending: None, 5.0), open_gallery(at, lambda _kind: NoSecret()) as reader:
        assert [hit.name for hit in reader.search(unit(1), 1)] == ["Grace"]
        assert reader.names() == ["Grace"]
        assert len(reader) == 1  # although Ada cannot be removed
    store.close()
    assert len(gallery) == 1  # and Ada is removed when nobody else is writing


@pytest.mark.parametrize("at", [POSTGRES], indirect=True)
def test_a_read_only_database_can_be_searched_but_not_changed(
    at: Address, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.enrol("Ada", [sample(1)])
    monkeypatch.setenv("PGOPTIONS", "")
    store = gallery._store  # type: ignore[attr-defined]
    store._run("SET default_transaction_read_only = on")
    assert gallery.search(unit(1), 1)[0].name == "Ada"
    with pytest.raises(EdgefrError, match=r"read-only transaction.*address of the primary server"):
        gallery.enrol("Grace", [sample(2)])
    assert gallery.names() == ["Ada"]


@pytest.mark.parametrize("at", [POSTGRES], indirect=True)
def test_a_full_disk_keeps_acknowledged_changes(at: Address, gallery: Gallery, request: pytest.FixtureRequest) -> None:
    server = server_of(at, request)
    assert isinstance(server, Postgres)
    gallery.enrol("Ada", [sample(1)])
    server.kill()
    server.start((16 << 20) + 5000)  # the write-ahead log is in files of 16 MiB
    done = 0
    with pytest.raises(EdgefrError, match="Check that the server runs"):
        gallery.names()  # the connection to the killed server; the next call reconnects
    crowd = [sample(number, crop=True) for number in range(150)]

    def crowd_in() -> None:
        nonlocal done
        while done < 10:
            gallery.enrol(f"person {done}", crowd)
            done += 1

    with pytest.raises(EdgefrError, match="Free space on the server; nothing of the change was saved"):
        crowd_in()
    server.kill()
    server.start()
    gallery.close()
    with open_gallery(at, lambda _kind: NoSecret()) as again:
        assert again.names() == ["Ada", *(f"person {number}" for number in range(done))]
        assert again.orphan_images() == 0


def test_a_full_disk_under_milvus_lite_is_reported(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from edgefr.gallery.address import parse_address
from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.factory import create_gallery
from tests.gallery.people import BINDING, sample
gallery = create_gallery(parse_address(sys.argv[1]), NoSecret(), BINDING, print)
gallery.enrol("Ada", [sample(1)])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for number in range(100):
        gallery.enrol(f"person {number}", [sample(number, crop=True)])
        print("done")
except Exception as error:
    print(type(error).__name__, error)
import os
sys.stdout.flush()
os._exit(0)
"""
    place = f"milvus-lite:{tmp_path}/people.db/people"
    result = subprocess.run(
        [sys.executable, "-c", code, place],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert "UnavailableError Milvus at milvus-lite:" in result.stdout, result
    assert "Free space" in result.stdout
    done = result.stdout.count("done\n")
    assert (tmp_path / "people.db").stat().st_mode & 0o777 == 0o700, "it holds templates that are not encrypted"
    with open_gallery(Address(LITE, f"{tmp_path}/people.db", "people"), lambda _kind: NoSecret()) as again:
        assert {"Ada", *(f"person {number}" for number in range(done))} <= {*again.names()}
        again.enrol("Grace", [sample(7)])
        assert again.orphan_images() == 0


@pytest.mark.parametrize(("expires_in_s", "due"), [(None, 1), (3600.0, 0)])
@pytest.mark.parametrize("at", [POSTGRES], indirect=True)
def test_an_expiry_date_changed_by_the_server_is_detected(
    at: Address, gallery: Gallery, request: pytest.FixtureRequest, expires_in_s: float | None, due: int
) -> None:
    gallery.enrol("Ada", [sample(1)], expires_in_s=expires_in_s)
    server = server_of(at, request)
    assert isinstance(server, Postgres)
    server.sql(f"UPDATE {at.name}_people SET due = {due}")
    with pytest.raises(DamagedError):
        gallery.search(unit(1), 1)
    gallery.enrol("Grace", [sample(2)])  # removes nobody, because the grace period is not over
    assert server.sql(f"SELECT count(*) FROM {at.name}_people") == [(2,)]


@pytest.mark.parametrize("at", [POSTGRES], indirect=True)
def test_people_swapped_by_the_server_are_detected(
    at: Address, gallery: Gallery, request: pytest.FixtureRequest
) -> None:
    gallery.enrol("Ada", [sample(1)])
    gallery.enrol("Grace", [sample(2)])
    server = server_of(at, request)
    assert isinstance(server, Postgres)
    people = f"{at.name}_people"
    server.sql(
        f"UPDATE {people} SET record = other.record, key = other.key FROM {people} other WHERE other.id <> {people}.id"
    )
    with pytest.raises(DamagedError):
        gallery.search(unit(1), 1)


@pytest.mark.parametrize("at", [POSTGRES], indirect=True)
def test_a_template_changed_by_the_server_does_not_change_the_similarity(
    at: Address, gallery: Gallery, request: pytest.FixtureRequest
) -> None:
    gallery.enrol("Ada", [sample(1)])
    server = server_of(at, request)
    assert isinstance(server, Postgres)
    server.sql(f"UPDATE {at.name}_people SET template = '{unit(2).tolist()}'")
    assert gallery.search(unit(2), 1)[0].similarity == pytest.approx(float(unit(1) @ unit(2)), abs=1e-6)


@pytest.mark.parametrize("at", DATABASES, indirect=True)
def test_the_rows_contain_no_name_and_removed_people_are_deleted(at: Address, gallery: Gallery) -> None:
    gallery.enrol("Grace Hopper", [sample(1, "grace-hopper.jpg", crop=True)])
    gallery.enrol("Ada", [sample(2)])
    store = open_store(at)
    rows = store.people_page(0)
    things = [thing for kind in ("image", "event") for thing in store.blob_page(kind, 0)]
    assert (len(rows), len(things)) == (2, 4)
    everything = repr(rows) + repr(things) + repr([store.blobs("image", [row.id]) for row in rows])
    for secret in ("Grace", "Hopper", "grace-hopper", "Ada", unit(1).tobytes().hex()):
        assert secret not in everything
        assert secret.encode().hex() not in everything
    gallery.remove("Grace Hopper")
    assert [row.name_hash for row in store.people_page(0)] == [
        row.name_hash for row in rows if row in store.people_page(0)
    ]
    assert len(store.people_page(0)) == len(store.blob_page("image", 0)) == 1
    store.close()


def test_milvus_leaves_the_log_files_of_the_program_open(tmp_path: Path) -> None:
    """In a process of its own, because only the first import of pymilvus configures logging."""
    code = """
import logging, sys
from pathlib import Path
from edgefr.gallery.address import LITE, Address
from edgefr.gallery.stores.milvus_collections import connect_milvus
handler = logging.FileHandler(sys.argv[1], mode="w")
logging.getLogger("door").addHandler(handler)
logging.getLogger("door").warning("before")
connect_milvus(Address(LITE, sys.argv[2], "people")).close()
assert handler.stream is not None and not handler.stream.closed
logging.getLogger("door").warning("after")
assert [reference() for reference in logging._handlerList].count(handler) == 1
"""
    log = tmp_path / "door.log"
    subprocess.run([sys.executable, "-c", code, log, tmp_path / "people.db"], check=True, timeout=120)
    assert log.read_text() == "before\nafter\n"
