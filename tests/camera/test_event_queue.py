"""Events wait in order, bounded, and in a private file that the next run reads."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edgefr.camera import event_queue
from edgefr.camera.event_queue import EventQueue, queue_path
from tests.conftest import REPOSITORY


def event(number: int) -> dict[str, object]:
    return {"what": "identified", "name": f"Zoë {number}", "id": f"id-{number}"}


def taken(queue: EventQueue) -> list[str]:
    """The ids of all events in the queue, which are acknowledged."""
    found = []
    while (entry := queue.take(0)) is not None:
        assert json.loads(entry.message)["id"] == entry.id
        found.append(entry.id)
        queue.acknowledge()
    return found


def test_events_that_are_not_acknowledged_are_there_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.queue"
    queue = EventQueue(path, pytest.fail)
    for number in range(5):
        assert queue.put(event(number)) == 0
    assert queue.take(0) is not None
    queue.acknowledge()
    assert queue.take(0) is not None  # it is sent, and nothing acknowledges it
    queue.close()
    again = EventQueue(path, pytest.fail)
    assert len(again) == 4
    again.put(event(5))
    assert taken(again) == ["id-1", "id-2", "id-3", "id-4", "id-5"]
    again.close()
    assert len(EventQueue(path, pytest.fail)) == 0
    assert [entry.stat().st_mode & 0o777 for entry in (path.parent, path)] == [0o700, 0o600]


def test_names_are_gone_from_the_disk_once_they_are_sent(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path / "a.queue", pytest.fail)
    queue.put(event(1))
    assert any(b"id-1" in path.read_bytes() for path in tmp_path.iterdir())
    assert taken(queue) == ["id-1"]
    assert not any(b"id-1" in path.read_bytes() for path in tmp_path.iterdir())
    queue.close()


def test_a_process_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from edgefr.camera.event_queue import EventQueue;"
        "queue = EventQueue(Path(sys.argv[1]), print);"
        "[queue.put({'id': str(n)}) for n in range(20)]; queue.take(0); queue.acknowledge();"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "a.queue"
    result = subprocess.run([sys.executable, "-c", code, str(path)], cwd=REPOSITORY, check=False)
    assert result.returncode == -signal.SIGKILL
    assert taken(EventQueue(path, pytest.fail)) == [str(number) for number in range(1, 20)]


@pytest.mark.parametrize("limit", ["MAX_EVENTS", "MAX_BYTES"])
def test_a_full_queue_drops_the_oldest_events_also_from_the_file(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_queue, limit, 3 if limit == "MAX_EVENTS" else 3 * len(json.dumps(event(0))))
    queue = EventQueue(tmp_path / "a.queue", pytest.fail)
    queue.put(event(0))
    assert queue.take(0) is not None  # what is being sent is not dropped
    assert sum(queue.put(event(number)) for number in range(1, 10)) == 6
    queue.close()
    assert taken(EventQueue(tmp_path / "a.queue", pytest.fail))[-3:] == ["id-7", "id-8", "id-9"]


@pytest.mark.parametrize("content", [b"no database" * 100, "CREATE TABLE events (number INTEGER, id, message)"])
def test_a_damaged_file_is_set_aside(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "a.queue"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as database:
            database.execute(content)
            database.execute("INSERT INTO events VALUES (1, 2, 'text')")
        database.close()
    warnings: list[str] = []
    queue = EventQueue(path, warnings.append)
    assert "it was renamed to" in warnings[0]
    assert Path(f"{path}.damaged").is_file()
    queue.put(event(1))
    queue.close()
    assert taken(EventQueue(path, pytest.fail)) == ["id-1"]


def test_events_wait_in_memory_while_the_file_cannot_be_written(tmp_path: Path) -> None:
    """A limit on the pages of the database stands for a full disk; SQLite reports both alike."""
    warnings: list[str] = []
    queue = EventQueue(tmp_path / "a.queue", warnings.append)
    assert queue._database is not None
    queue._database.execute("PRAGMA max_page_count = 3")
    for number in range(100):
        queue.put({**event(number), "filling": "x" * 200})
    assert len(warnings) == 1
    assert "is full" in warnings[0]
    assert queue.path is None
    queue._database.execute("PRAGMA max_page_count = 1000")
    queue.put(event(100))
    assert queue.path == tmp_path / "a.queue"
    queue.close()
    assert len(taken(EventQueue(tmp_path / "a.queue", pytest.fail))) == 101


@pytest.mark.parametrize("obstacle", ["folder", "lock"])
def test_a_file_that_cannot_be_used_leaves_the_events_in_memory(
    obstacle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_queue, "LOCK_TIMEOUT_S", 0.1)
    path = tmp_path / "a.queue"
    other = EventQueue(path, pytest.fail) if obstacle == "lock" else None
    if other is None:
        path.mkdir()
    warnings: list[str] = []
    queue = EventQueue(path, warnings.append)
    assert "kept in memory only" in warnings[0]
    queue.put(event(1))
    assert taken(queue) == ["id-1"]
    queue.close()


def test_every_source_and_receiver_has_a_file_of_its_own(tmp_path: Path) -> None:
    names = {queue_path(tmp_path, to, source) for to in ("http://a/", "http://b/") for source in ("door", "yard")}
    assert len(names) == 4
