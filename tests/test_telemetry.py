"""Nothing that edgefr runs on reports to its makers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

NEEDED = {"onnxruntime": "onnxruntime", "openvino": "openvino"}
REMOTE = re.compile(r"(connect|sendto|sendmsg|sendmmsg)\(.*(AF_INET|htons\(53\))")

EFFECT = (
    "import os, sys; import edgefr; "
    "print(os.environ.get('ORT_DISABLE_TELEMETRY'), os.environ.get('RAY_USAGE_STATS_ENABLED'), "
    "sys.modules.get('openvino_telemetry', 'as it is'))"
)


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a user with an empty home directory, who has chosen nothing about telemetry."""
    chosen = ("XDG_", "ORT_", "RAY_", "EDGEFR_TELEMETRY", "EDGEFR_MODEL", "EDGEFR_DETECTOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(chosen)}
    return kept | {"HOME": str(home)} | variables


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    data = pytest.importorskip("skimage.data")
    path = tmp_path / "astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[..., ::-1])
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def run_verify(photograph: Path, home: Path, runtime: str, prefix: tuple[str, ...] = ()) -> None:
    command = [*prefix, sys.executable, "-m", "edgefr", "verify", photograph, photograph, "--runtime", runtime]
    result = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("runtime", NEEDED)
def test_verify_leaves_no_file_in_the_home_directory(runtime: str, photograph: Path, home: Path) -> None:
    pytest.importorskip(NEEDED[runtime])
    run_verify(photograph, home, runtime)
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("runtime", NEEDED)
def test_verify_contacts_no_other_machine(runtime: str, photograph: Path, home: Path, tmp_path: Path) -> None:
    pytest.importorskip(NEEDED[runtime])
    if shutil.which("strace") is None or subprocess.run(["strace", "true"], capture_output=True).returncode != 0:
        pytest.skip("strace is not installed or may not trace here")
    log = tmp_path / "calls"
    run_verify(photograph, home, runtime, ("strace", "-f", "-qq", "-e", "trace=%network", "-o", str(log)))
    assert [line for line in log.read_text().splitlines() if REMOTE.search(line)] == []


@pytest.mark.parametrize(
    ("variables", "effect"),
    [
        ({}, "1 0 None"),
        ({"EDGEFR_TELEMETRY": "1"}, "None None as it is"),
        ({"RAY_USAGE_STATS_ENABLED": "1"}, "1 1 None"),
    ],
)
def test_a_user_can_allow_telemetry(variables: dict[str, str], effect: str, home: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", EFFECT], env=environment(home, **variables), capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == effect


def test_the_model_on_triton_reports_nothing_either(home: Path, tmp_path: Path) -> None:
    """It runs without edgefr, so that it sets the variable itself."""
    from edgefr.export import triton_repository

    shutil.copy(Path(triton_repository.__file__).with_name("triton_model.py"), tmp_path / "model.py")
    (tmp_path / "triton_python_backend_utils.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import model, os; print('edgefr' in sys.modules)"
    log = "import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}; {log}"], env=environment(home), capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "1"]
    assert list(home.rglob("*")) == []
