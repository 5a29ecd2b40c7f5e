"""A real Triton server on this machine, from the binary in the nvidia-pytriton wheel.

Its Python backend needs a separate environment with numpy<2, which `make test` creates in .venv/tritonserver. The
backend uses the environment of the first `python` in PATH.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from contextlib import suppress
from ctypes.util import find_library
from pathlib import Path
from time import monotonic, sleep

ENVIRONMENT = Path(sys.prefix, "tritonserver")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = ENVIRONMENT / f"lib/python{PYTHON}/site-packages"
WHEEL = PACKAGES / "pytriton/tritonserver"

LIBRARIES = str(sysconfig.get_config_var("LIBDIR"))

START_SECONDS = 120


def missing() -> str | None:
    """Why no server can be started here, or None."""
    if not (WHEEL / "bin/tritonserver").is_file():
        return f"no Triton server in {ENVIRONMENT}: `make .venv/tritonserver`"
    if not _stub().is_file():
        return f"Triton's wheel has no Python backend for Python {PYTHON}"
    if find_library(f"python{PYTHON}") is None and not Path(LIBRARIES, f"libpython{PYTHON}.so.1.0").is_file():
        return f"Triton's Python backend needs libpython{PYTHON}.so: `apt install libpython{PYTHON}`"
    return None


class Tritonserver:
    """A server of the models in `repository`, which keeps its port after a restart. `folder` holds log and backend."""

    def __init__(self, repository: Path, folder: Path, *options: str) -> None:
        self._repository, self._folder, self._options = repository, folder, options
        self.log = folder / "tritonserver.log"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        backend = folder / "backends/python"
        shutil.copytree(WHEEL / "backends/python", backend)
        shutil.copy(_stub(), backend)

    @property
    def url(self) -> str:
        return f"triton://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it answers, even if a model cannot be loaded.

        Raises:
            RuntimeError: It ended, or does not answer.
        """
        libraries = (str(PACKAGES / "nvidia_pytriton.libs"), LIBRARIES)
        environment = {
            "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": ":".join(libraries),
            "HOME": str(self._folder),
        }
        command = [
            str(WHEEL / "bin/tritonserver"),
            f"--model-repository={self._repository}",
            f"--backend-directory={self._folder / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory}",
            "--exit-on-error=false",
            "--allow-http=false",
            "--allow-metrics=false",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.port}",
            *self._options,
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        until = monotonic() + START_SECONDS
        while not _listens(self.port):
            if self._process.poll() is not None or monotonic() > until:
                self.kill()
                raise RuntimeError(self.log.read_text(errors="replace")[-2000:])
            sleep(0.05)

    def stop_answering(self) -> None:
        """Suspend it, like a machine that is out of memory."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it with the processes of its Python backend, and delete their shared memory."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        for left in Path("/dev/shm").glob(f"{self._shared_memory}*"):  # noqa: S108 (where Triton puts it)
            left.unlink(missing_ok=True)

    @property
    def _shared_memory(self) -> str:
        return f"edgefr-{os.getpid()}-{self.port}-"

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)


def _stub() -> Path:
    return WHEEL / f"python_backend_stubs/{PYTHON}/triton_python_backend_stub"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def _listens(port: int) -> bool:
    """Triton opens its port after all models were loaded or have failed."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
