"""`python -m bench` measures what it can, and reports what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import gpu


def test_measurements_with_missing_files_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> dict[str, object]:
        return {"bytes": len((tmp_path / "none.onnx").read_bytes())}

    monkeypatch.setattr(bench, "MEASUREMENTS", {"missing": missing, "present": lambda: {"answer": 42}})
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["bench"])
    bench.main()
    output = capsys.readouterr()
    assert f"missing skipped: {tmp_path / 'none.onnx'} does not exist" in output.err
    printed = json.loads(output.out)
    assert list(printed) == ["present"]
    assert printed["present"]["answer"] == 42
    (written,) = tmp_path.iterdir()
    assert json.loads(written.read_text()) == printed


def test_the_error_of_a_refused_engine_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = tmp_path / "edgefr"
    command.write_text("#!/bin/sh\necho Converting ... >&2\necho 'edgefr: expected a GPU, found none' >&2\nexit 2\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    refused = {"exit": 2, "refused": "edgefr: expected a GPU, found none"}
    assert gpu.engines(tmp_path / "m.onnx", "tensorrt") == dict.fromkeys(gpu.PRECISIONS, refused)
    assert "Converting ..." in capsys.readouterr().err


def test_damaged_inputs_end_in_a_result_or_a_refusal(tmp_path: Path) -> None:
    """The short form of `make soak`: every parser, a few inputs each."""
    command = [sys.executable, "-m", "bench.malformed", "--inputs", "400", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result for result in results if "failed" in result] == []
    assert done.returncode == 0, done.stderr
    assert {"photographs", "manifests", "entries of exports"} <= {result["parser"] for result in results}
    assert all(result["refused"] for result in results if result["parser"] != "MJPEG streams")
