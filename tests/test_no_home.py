"""edgefr in a container: an unknown user without a home directory, in a folder that cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

UNKNOWN_USER = "2147480000"
CAN_READ = "dac_read_search"
"""The capability to read all files, because the checkout may be readable for its owner only. Writing needs another."""

AS_USER = ("setpriv", "--reuid", UNKNOWN_USER, "--regid", UNKNOWN_USER, "--clear-groups")
READING = (*AS_USER, f"--inh-caps=-all,+{CAN_READ}", f"--ambient-caps=+{CAN_READ}")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(params=[None, "/nonexistent"], ids=["no HOME", "HOME that cannot be written"])
def run(request: pytest.FixtureRequest, folder: Path) -> Run:
    """Runs a command as that user, with all variables of places removed but HOME as the parameter says."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become a user who is not in the list of users, by setpriv")
    if subprocess.run([*READING, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this container does not allow setpriv")
    read_only = folder / "read-only"
    read_only.mkdir(mode=0o555)
    places = ("HOME", "XDG_", "EDGEFR_", "MPL")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(places)}
    package = str(Path(__file__).parent.parent)
    variables |= {"PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"}
    variables |= {} if request.param is None else {"HOME": request.param}

    def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*READING, sys.executable, "-m", "edgefr", *map(str, arguments)]
        return subprocess.run(command, env=variables, cwd=read_only, capture_output=True, text=True, check=False)

    return run_command


@pytest.fixture
def photograph(folder: Path) -> Path:
    data = pytest.importorskip("skimage.data")
    path = folder / "astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[..., ::-1])
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_verify_needs_no_home_directory(runtime: str, run: Run, photograph: Path) -> None:
    pytest.importorskip(runtime)
    result = run("verify", photograph, photograph, "--runtime", runtime)
    assert (result.returncode, result.stderr) == (0, "")


def test_embed_needs_a_place_for_its_output_only(run: Run, photograph: Path, folder: Path) -> None:
    output = folder / "output"
    output.mkdir()
    os.chown(output, int(UNKNOWN_USER), -1)
    assert run("embed", photograph, "-o", output / "faces.npz").returncode == 0
    assert (output / "faces.npz").is_file()
    result = run("embed", photograph, "-o", "faces.npz")
    assert result.returncode == 2
    assert "faces.npz cannot be written (Permission denied). Choose another path" in result.stderr


@pytest.mark.parametrize("command", [("doctor",), ("--help",), ("prune-engines",)])
def test_commands_that_store_nothing_need_no_home_directory(command: tuple[str, ...], run: Run) -> None:
    result = run(*command)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_default_gallery_names_its_folder_and_the_option(run: Run, photograph: Path) -> None:
    result = run("gallery", "enroll", "Ada", photograph, "--plain")
    assert result.returncode == 2
    assert ".local/share/edgefr" in result.stderr
    assert "--gallery" in result.stderr
    assert "Internal error" not in result.stderr


def test_the_folder_of_engines_names_itself_and_the_option(run: Run) -> None:
    pytest.importorskip("onnx")
    result = run("build-engine", "mini", "--fp32", "--runtime", "onnxruntime")
    assert result.returncode == 2
    assert "engines/cache/mini-fp32-onnxruntime" in result.stderr
    assert "another --cache" in result.stderr


def test_a_pair_to_time_names_its_folder_and_the_variable(run: Run) -> None:
    pytest.importorskip("torch")
    result = run("bench", "--arch", "r18", "--batch", "1", "--seconds", "0.01")
    assert result.returncode == 2
    assert ".cache/edgefr" in result.stderr
    assert "XDG_CACHE_HOME" in result.stderr
