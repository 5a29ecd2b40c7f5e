"""Runs commands in this process and gives what a shell would see."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgefr.cli import main


@dataclass(frozen=True)
class Told:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def sentence(self) -> str:
        """The one line of an error."""
        assert self.code == 2
        assert self.out == ""
        assert self.err.startswith("edgefr: ")
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err


@pytest.fixture
def edgefr(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Told]:
    monkeypatch.delenv("EDGEFR_MODEL", raising=False)
    monkeypatch.delenv("EDGEFR_DETECTOR", raising=False)
    monkeypatch.delenv("EDGEFR_CONFIG", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config home"))

    def run(*arguments: object) -> Told:
        monkeypatch.setattr(sys, "argv", ["edgefr", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        return Told(int(code or 0), out, err)  # type: ignore[call-overload]

    return run
