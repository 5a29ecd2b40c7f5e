"""Real servers for the four stores: a file, Milvus Lite, PostgreSQL with pgvector, and Milvus.

PostgreSQL comes with the wheel pgserver. The wheel of the Milvus server needs an environment of its own: `make stores`
creates it and sets $EDGEFR_MILVUS. Without it those tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgefr.gallery.address import LITE, MILVUS, POSTGRES, Address

FILE = "file"
STORES = (FILE, LITE, POSTGRES, MILVUS)
MILVUS_VARIABLE = "EDGEFR_MILVUS"


class Postgres:
    """PostgreSQL 16 in a folder, with a socket in it."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from platformdirs when pgserver is imported
            import pgserver

            self._server = pgserver.get_server(folder, cleanup_mode="stop")
        self.folder = folder
        self.socket = Path(str(self._server.get_postmaster_info().socket_dir))

    def address(self, name: str) -> Address:
        return Address(POSTGRES, "", name, None, "postgres", "postgres")

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(host=str(self.socket), user="postgres", dbname="postgres", autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """Like a crash: the next start recovers from the write-ahead log."""
        self._control("stop", "-m", "immediate")

    def start(self, longest_file: int = resource.RLIM_INFINITY) -> None:
        """Start it with a limit in bytes for every file, like a full disk."""
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest_file, most))  # inherited by the server
        try:
            self._start()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    def _start(self) -> None:
        self._control("-o", '-h ""', "-o", f"-k {self.socket}", "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self._server.cleanup()

    def _control(self, *arguments: str) -> None:
        from pgserver._commands import pg_ctl

        pg_ctl(["-w", *arguments], pgdata=self.folder, user=self._server.system_user)


class MilvusServer:
    """The standalone Milvus server of $EDGEFR_MILVUS, with its data in a folder."""

    def __init__(self, command: Path, folder: Path) -> None:
        self._command, self._folder = command, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Start it, up to three times, because this version sometimes dies at its start."""
        for _ in range(3):
            if self._started():
                return
            self.kill()
        raise AssertionError(f"Milvus does not respond, see {self._folder}/data/logs")

    def address(self, name: str) -> Address:
        return Address(MILVUS, "localhost", name, self.port)

    def _started(self) -> bool:
        with (self._folder / "server.log").open("ab") as log:
            command = [self._command, "--data", self._folder / "data", "--proxy-port", str(self.port)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 120  # it has taken 105 seconds beside other work
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    stop = kill

    def _answers(self) -> bool:
        from pymilvus import MilvusClient

        try:
            MilvusClient(f"http://localhost:{self.port}", timeout=2).list_collections(timeout=2)
        except Exception:
            return False
        return True


@dataclass
class Proxy:
    """A proxy for a server. While it is frozen it accepts data and forwards nothing."""

    server: tuple[int, Any]
    listener: socket.socket
    frozen: threading.Event = field(default_factory=threading.Event)
    ends: list[socket.socket] = field(default_factory=list)

    def close(self) -> None:
        for end in (self.listener, *self.ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the threads
            end.close()

    def __post_init__(self) -> None:
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.socket(self.server[0])
                far.connect(self.server[1])
                self.ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if not self.frozen.is_set():
                    other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests, which use galleries of different names."""
    pytest.importorskip("pgserver", reason="PostgreSQL for tests is missing: pip install pgserver")
    folder = Path(tempfile.mkdtemp(prefix="edgefr-postgres-"))
    server = Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def milvus() -> Iterator[MilvusServer]:
    """One server for all tests, if it is installed."""
    command = os.environ.get(MILVUS_VARIABLE)
    if not command:
        pytest.skip(f"no Milvus server in ${MILVUS_VARIABLE}: `make stores` installs one and runs these tests")
    folder = Path(tempfile.mkdtemp(prefix="edgefr-milvus-"))
    server = MilvusServer(Path(command), folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | Address:
    """A location for a new gallery, in each store."""
    return place_in(request.param, request, tmp_path, monkeypatch)


def place_in(
    store: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path | Address:
    """A location for a new gallery in a store."""
    name = f"t{os.urandom(6).hex()}"
    if store == FILE:
        return tmp_path / "people.gallery"
    if store == LITE:
        return Address(LITE, str(tmp_path / "people.db"), name)
    if store == POSTGRES:
        server: Postgres = request.getfixturevalue("postgres")
        monkeypatch.setenv("PGHOST", str(server.socket))
        return server.address(name)
    served: MilvusServer = request.getfixturevalue("milvus")
    return served.address(name)
