"""The page comes back after its server has failed, also if its port is taken for a time."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from edgefr.camera.watcher import Watcher
from edgefr.server import page_thread
from edgefr.server.web_server import WebServer
from tests.waiting import wait_for


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@pytest.mark.parametrize("fault", [SystemExit(1), OSError(24, "Too many open files"), None], ids=str)
def test_a_server_that_ends_is_started_again(
    fault: BaseException | None, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_thread, "MIN_RESTART_S", 0.05)
    log: list[str] = []
    page = WebServer(watcher, "the door", "127.0.0.1", 0, {}, log.append)
    log.clear()
    served = page._thread._server.run

    def fails(sockets: list[socket.socket] | None = None) -> None:
        if fault is not None:
            raise fault
        page._thread._server.should_exit = True
        served(sockets)

    page._thread._server.run = fails  # type: ignore[method-assign]
    with page:
        wait_for(lambda: answers(page.url))
    assert len(log) == 2, log
    assert "the page has failed" in log[0]
    assert log[1] == "edgefr: the page is served again"


def test_a_page_whose_port_is_taken_meanwhile_waits_for_it(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_thread, "MIN_RESTART_S", 0.05)
    log: list[str] = []
    others: list[socket.socket] = []
    page = WebServer(watcher, "the door", "127.0.0.1", 0, {}, log.append)
    log.clear()

    def fails(sockets: list[socket.socket]) -> None:
        port = sockets[0].getsockname()[1]
        sockets[0].close()
        others.append(socket.create_server(("127.0.0.1", port)))
        raise OSError(24, "Too many open files")

    page._thread._server.run = fails  # type: ignore[method-assign, assignment]
    with page:
        wait_for(lambda: len(log) == 2)
        assert "the page cannot be started again yet: expected to listen on 127.0.0.1" in log[1]
        others[0].close()
        wait_for(lambda: answers(page.url))
    assert log[2] == "edgefr: the page is served again"
