"""What docs/door.md shows works as written."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Any

from edgefr.door.rules import Reason
from edgefr.door.rules_file import read_door
from edgefr.door.signed_hook import signature
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "door.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_rules_can_be_read(tmp_path: Path) -> None:
    example, home_assistant = blocks("toml")
    path = tmp_path / "door.toml"
    path.write_text(example + home_assistant)
    settings = read_door(path)
    assert [rule.name for rule in settings.rules] == ["staff by day", "server room"]
    assert settings.file.home_assistant is not None


def test_the_controller_checks_signature_and_time() -> None:
    scope: dict[str, Any] = {}
    exec(blocks("python")[0], scope)  # noqa: S102
    secret, now = "whsec_" + base64.b64encode(b"x" * 32).decode(), int(time.time())

    def answer(sent_at: int, body: bytes, signed: bytes = b"body") -> bool:
        headers = {
            "webhook-id": "1",
            "webhook-timestamp": str(sent_at),
            "webhook-signature": signature(b"x" * 32, "1", sent_at, signed),
        }
        return bool(scope["is_genuine"](secret, headers, body))

    assert answer(now, b"body")
    assert not answer(now, b"another body")
    assert not answer(now - 60, b"body")


def test_every_reason_is_explained() -> None:
    reasons = {reason.value for reason in Reason} - {Reason.PENDING.value}
    assert {reason for reason in reasons if f"`{reason}`" not in TEXT} == set()
