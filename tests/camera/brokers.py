"""A real MQTT broker that can be stopped and started again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import wait_for

CONFIG = """
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
        return number


@contextmanager
def broker(port: int, folder: Path, settings: str = CONFIG) -> Iterator[None]:
    config = folder / "broker.yaml"
    config.write_text(settings.format(port=port))
    program = shutil.which("amqtt", path=str(Path(sys.executable).parent)) or "amqtt"
    silent = subprocess.DEVNULL
    process = subprocess.Popen([program, "-c", str(config)], stdout=silent, stderr=silent)
    try:
        wait_for(lambda: listens(port))
        yield
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
