"""`edgefr tokens` and `edgefr serve`, as an operator uses them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import httpx
import pytest

from edgefr.demo import ADMIRAL, ASTRONAUT, COPY, demo_photos
from tests.conftest import REPOSITORY
from tests.waiting import wait_for


@pytest.fixture
def tokens(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of tokens that does not exist yet."""
    path = tmp_path / "api.tokens"
    monkeypatch.setenv("EDGEFR_TOKENS", str(path))
    for role in ("IDENTIFY", "ENROL", "ADMIN", "MONITOR"):
        monkeypatch.delenv(f"EDGEFR_API_{role}_TOKEN", raising=False)
    return path


def test_tokens_are_made_listed_and_removed(edgefr, tokens: Path) -> None:
    secret = edgefr("tokens", "add", "door", "--role", "identify").out.strip()
    assert len(secret) >= 40
    assert secret not in tokens.read_text()
    assert edgefr("tokens", "add", "desk", "--role", "enrol", "--json").json["role"] == "enrol"
    assert edgefr("tokens", "--json").json["tokens"] == [
        {"name": "door", "role": "identify"},
        {"name": "desk", "role": "enrol"},
    ]
    assert "There is a token door" in edgefr("tokens", "add", "door", "--role", "admin").sentence
    assert edgefr("tokens", "remove", "door").code == 0
    assert [line.split() for line in edgefr("tokens").out.splitlines()] == [["name", "role"], ["desk", "enrol"]]
    assert "There is no token door" in edgefr("tokens", "remove", "door").sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "expected at least one token, found none. Make one with `edgefr tokens add NAME --role ROLE`"),
        (("--host", "0.0.0.0"), "expected TLS on 0.0.0.0"),  # noqa: S104
        (("--certificate", "a.pem"), "expected --certificate and --private-key, found one of them"),
        (("--threshold", "0.5", "--fmr", "0.001"), "expected --threshold or --fmr, found both"),
        (("--tokens", "missing"), "expected a file of tokens at missing, found No such file or directory"),
    ],
)
def test_what_cannot_be_served_is_told_before_anything_is_opened(
    edgefr, tokens: Path, arguments, sentence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEFR_TOKENS")
    assert sentence in edgefr("serve", *arguments, "--gallery", "people.gallery", "--plain").sentence
    assert not Path("people.gallery").exists()


def test_a_file_of_tokens_that_is_named_must_exist(edgefr, tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a server would accept other tokens than its operator thinks."""
    monkeypatch.setenv("EDGEFR_API_ADMIN_TOKEN", "x" * 16)
    assert f"expected a file of tokens at {tokens}" in edgefr("serve", "--gallery", "g", "--plain").sentence


class Server(NamedTuple):
    url: str
    process: subprocess.Popen[str]
    folder: Path
    environment: dict[str, str]
    manager: socket.socket

    def states(self) -> list[str]:
        """What the service manager was told since the last call."""
        found = []
        while True:
            try:
                found.append(self.manager.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """`edgefr serve` with the shipped models, as a service manager starts it, with the photographs of the examples."""
    photographs = demo_photos()
    for name, which in (("ada1.jpg", ASTRONAUT), ("grace1.jpg", ADMIRAL), ("visitor.jpg", COPY)):
        cv2.imwrite(str(tmp_path / name), cv2.cvtColor(photographs[which], cv2.COLOR_RGB2BGR))
    notify = tmp_path / "notify"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EDGEFR_")},
        "PYTHONPATH": str(REPOSITORY),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "NOTIFY_SOCKET": str(notify),
        "WATCHDOG_USEC": "2000000",
    }
    command = [sys.executable, "-m", "edgefr"]
    for name, role in (("door", "identify"), ("desk", "enrol")):
        made = subprocess.run(
            [*command, "tokens", "add", name, "--role", role],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        environment[f"{name.upper()}_TOKEN"] = made.stdout.strip()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        manager.setblocking(False)
        serve = [*command, "serve", "--gallery", str(tmp_path / "people.gallery"), "--plain", "--port", "0"]
        with subprocess.Popen(serve, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield Server(_url(process), process, tmp_path, environment, manager)
            finally:
                process.kill()


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"the API is at (\S+)/v1", line):
            return found[1]
    raise AssertionError(f"edgefr serve ended with {process.wait()}")


def test_the_examples_of_the_document_run_against_a_service(server: Server) -> None:
    told: set[str] = set()

    def is_ready_and_alive() -> bool:
        told.update(server.states())
        return {"READY=1", "WATCHDOG=1"} <= told

    wait_for(is_ready_and_alive)
    text = (REPOSITORY / "docs/serve.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert "http://127.0.0.1:8766" in program
    program = program.replace("http://127.0.0.1:8766", server.url)
    run = subprocess.run(
        [sys.executable, "-c", program], env=server.environment, cwd=server.folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    enrolled, second, identified, same, opened = run.stdout.splitlines()
    assert enrolled.startswith("201 ")
    assert second.startswith("201 ")
    assert identified.startswith("identified ada [")
    assert (same, opened) == ("True", "True")

    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert "STOPPING=1" in server.states()
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)
