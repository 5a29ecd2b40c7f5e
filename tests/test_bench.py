"""`python -m bench` measures what it can, and says what is not there to be measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import gpu


def test_what_is_not_there_is_left_out_and_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> dict[str, object]:
        return {"bytes": len((tmp_path / "none.onnx").read_bytes())}

    def there() -> dict[str, object]:
        return {"answer": 42}

    monkeypatch.setattr(bench, "MEASUREMENTS", (missing, there))
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["bench"])
    bench.main()
    told = capsys.readouterr()
    assert f"missing left out: {tmp_path / 'none.onnx'} is not there" in told.err
    printed = json.loads(told.out)
    assert list(printed) == ["there"]
    assert printed["there"]["answer"] == 42
    (written,) = tmp_path.iterdir()
    assert json.loads(written.read_text()) == printed


def test_an_engine_that_is_refused_is_written_down_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = tmp_path / "edgefr"
    command.write_text("#!/bin/sh\necho Converting ... >&2\necho 'edgefr: expected a GPU, found none' >&2\nexit 2\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    refused = {"exit": 2, "refused": "edgefr: expected a GPU, found none"}
    assert gpu.engines(tmp_path / "m.onnx", "tensorrt") == dict.fromkeys(gpu.PRECISIONS, refused)
    assert "Converting ..." in capsys.readouterr().err
