"""The log of a service: lines of JSON on stderr, without names, similarities and secrets."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.cli.output import warn
from edgefr.cli.service_log import JsonLog
from tests.cli.test_watch import ADA, STRANGER, ada, film, watch  # noqa: F401 (fixtures)


def documents(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_watch_logs_events_without_names(watch, ada, tmp_path: Path) -> None:  # noqa: F811
    shown = film(tmp_path / "film", [[(ADA, 50 + n, 40)] for n in range(30)] + [[]] * 30 + [[(STRANGER, 200, 80)]] * 9)
    told = watch("watch", shown, "--log-format", "json", "--events", "events.jsonl")
    assert (told.code, told.out) == (0, "")
    lines = documents(told.err)
    assert "Ada" not in told.err
    assert "similarity" not in told.err
    sent = documents((tmp_path / "events.jsonl").read_text())
    by_id = {line["id"]: line["event"] for line in lines if "id" in line}
    assert by_id == {event["id"]: event["what"] for event in sent}
    assert all({"time", "level", "event"} <= line.keys() for line in lines)
    assert datetime.fromisoformat(str(lines[0]["time"])).tzinfo is not None
    assert any("printed photograph" in str(line.get("message")) for line in lines), "there is no check of liveness"


def test_the_format_comes_from_the_environment_too_and_an_error_is_one_line(watch, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setenv("EDGEFR_LOG_FORMAT", "json")
    told = watch("watch", "nothing.mp4")
    assert told.code == 2
    assert [(line["level"], line["event"]) for line in documents(told.err)] == [("error", "failed")]
    monkeypatch.setenv("EDGEFR_LOG_FORMAT", "xml")
    assert "EDGEFR_LOG_FORMAT" in watch("watch", "nothing.mp4").sentence


def test_the_service_manager_learns_start_life_and_end(watch, ada, tmp_path: Path, monkeypatch) -> None:  # noqa: F811
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1")
        assert watch("watch", film(tmp_path / "film", [[(ADA, 50, 40)]] * 3)).code == 0
        sent = [receiver.recv(999).decode() for _ in range(6)]
    assert sent == [
        "READY=1",
        f"STATUS=watching {sent[1].partition('watching ')[2]}",
        *["WATCHDOG=1"] * 3,
        "STOPPING=1",
    ]


@given(st.lists(st.text(max_size=9), max_size=6))
def test_every_line_is_a_document_whatever_is_printed(parts: list[str]) -> None:
    output = io.StringIO()
    log = JsonLog(output)
    for part in parts:
        log.write(part)
    log.write("\n")
    lines = output.getvalue().split("\n")[:-1]
    messages = [json.loads(line)["message"] for line in lines]
    expected = [line.removeprefix("edgefr: ") for line in "".join(parts).split("\n") if line.strip()]
    assert messages == expected


def test_a_link_that_signs_in_is_not_logged() -> None:
    output = io.StringIO()
    print("edgefr: the page is at http://127.0.0.1:8765/#code=abc-DEF_1", file=JsonLog(output))
    assert "abc" not in output.getvalue()
    assert documents(output.getvalue())[0]["message"] == "the page is at http://127.0.0.1:8765/#code=(left out)"


def print_lines() -> None:
    for _ in range(200):
        warn("a line")


def test_threads_do_not_mix_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", JsonLog(output))
    threads = [threading.Thread(target=print_lines) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line["message"] for line in documents(output.getvalue())] == ["a line"] * 800
