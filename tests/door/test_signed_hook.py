"""Openings are posted with a signature that a server can check, at once or never."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefr.camera import delivery
from edgefr.door import fresh_receiver
from edgefr.door.door_file import HookSettings
from edgefr.door.fresh_receiver import Action
from edgefr.door.signed_hook import SignedHook, read_secret, signature
from edgefr.errors import InvalidArgumentError, UnavailableError
from tests.waiting import wait_for

SECRET = b"a secret of thirty-two bytes ..."
OPENING = {"what": "opened", "rule": "day", "name": "Ada", "id": "1"}


def secret_file(folder: Path) -> Path:
    path = folder / "hook.secret"
    path.write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n")
    path.chmod(0o600)
    return path


class Controller(http.server.BaseHTTPRequestHandler):
    """A controller as docs/door.md describes it; `codes` are its next answers before 204."""

    codes: list[int]
    opened: list[dict[str, Any]]
    refused: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        number, sent_at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        mac = hmac.new(SECRET, f"{number}.{sent_at}.".encode() + body, hashlib.sha256).digest()
        wanted = f"v1,{base64.b64encode(mac).decode()}"
        is_good = hmac.compare_digest(wanted, self.headers["webhook-signature"])
        is_recent = abs(time.time() - int(sent_at)) < 5
        code = self.codes.pop(0) if self.codes else 204
        if is_good and is_recent and code == 204:
            self.opened.append(json.loads(body))
        else:
            self.refused.append(code)
        self.send_response(code if is_good else 401)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def controller() -> Iterator[Any]:
    handler = type("Handler", (Controller,), {"codes": [], "opened": [], "refused": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{server.server_port}/open"  # type: ignore[attr-defined]
        yield handler
        server.shutdown()


def opener(controller: Any, folder: Path) -> SignedHook:
    return SignedHook("controller", HookSettings(controller.url, secret_file(folder)))


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The values come from the library standardwebhooks 1.1.0."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_controller_that_checks_the_signature_opens(controller: Any, tmp_path: Path) -> None:
    action = Action("controller", opener(controller, tmp_path), lambda _: None, lambda *_: None)
    action.open(OPENING, time.monotonic())
    wait_for(lambda: controller.opened)
    action.close()
    assert controller.opened == [OPENING]


def test_an_attempt_that_fails_is_repeated(controller: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MIN_RETRY_S", 0.01)
    controller.codes += [503, 429]
    warnings = list[str]()
    action = Action("controller", opener(controller, tmp_path), warnings.append, lambda *_: None)
    action.open(OPENING, time.monotonic())
    wait_for(lambda: controller.opened)
    action.close()
    assert controller.refused == [503, 429]
    assert "cannot send events to" in warnings[0]
    assert "secret" not in "".join(warnings)


def test_what_an_outage_has_delayed_is_dropped_and_later_openings_arrive(
    controller: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MIN_RETRY_S", 0.01)
    monkeypatch.setattr(fresh_receiver, "MAX_AGE_S", 0.5)
    controller.codes += [503] * 1000
    warnings, failures = list[str](), list[tuple[str, str, str]]()
    action = Action(
        "controller", opener(controller, tmp_path), warnings.append, lambda *failure: failures.append(failure)
    )
    action.open(OPENING, time.monotonic())
    wait_for(lambda: failures)
    controller.codes.clear()
    action.open({**OPENING, "id": "2"}, time.monotonic())
    wait_for(lambda: controller.opened)
    action.close()
    assert [opening["id"] for opening in controller.opened] == ["2"]
    assert failures == [("day", "controller", "not carried out within 0.5 s, so it is dropped")]
    assert any("are lost: 1 (not carried out" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("text", "mode", "kind", "found"),
    [
        ("whsec_c2hvcnQ=", 0o600, InvalidArgumentError, "another text"),
        ("not base64 at all", 0o600, InvalidArgumentError, "another text"),
        (base64.b64encode(SECRET).decode(), 0o600, InvalidArgumentError, "another text"),
        ("whsec_" + "A" * 100_000, 0o600, InvalidArgumentError, "another text"),
        ("whsec_" + base64.b64encode(SECRET).decode(), 0o640, UnavailableError, "mode 640"),
        (None, 0, UnavailableError, "No such file"),
    ],
)
def test_a_secret_is_private_and_long_enough(
    text: str | None, mode: int, kind: type[Exception], found: str, tmp_path: Path
) -> None:
    path = tmp_path / "hook.secret"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(kind, match=found) as refused:
        read_secret(path)
    assert text is None or text not in str(refused.value)
