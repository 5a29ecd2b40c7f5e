"""Run a program to open a door."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

from edgefr.camera.delivery import RefusedEventError
from edgefr.camera.event_queue import Entry
from edgefr.door.door_file import CommandSettings
from edgefr.door.fresh_receiver import Opener
from edgefr.errors import UnavailableError

PASSED_ON = ("PATH", "LANG", "LC_ALL", "HOME", "TZ")
"""Environment variables that the program gets. Others may be secrets of edgefr."""


class CommandAction(Opener):
    """Runs a program with fixed arguments, without a shell; the opening is its standard input, as JSON.

    It is not run again after a failure, because it may have opened the door.
    """

    def __init__(self, name: str, settings: CommandSettings) -> None:
        """Check that the program is there; raises UnavailableError if it is not."""
        self.name = f"command {name}"
        self._settings = settings
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        program = Path(settings.run[0])
        if not (program.is_file() and os.access(program, os.X_OK)):
            found = "a file that cannot be run" if program.exists() else "no file"
            raise UnavailableError(f"a program at {program}", found, f"correct command.{name}.run")

    def deliver(self, entry: Entry) -> None:
        try:
            code = self._run(entry.message)
        except OSError as error:
            raise RefusedEventError(f"it cannot be run ({error.strerror})") from error
        except subprocess.TimeoutExpired as error:
            raise RefusedEventError(f"it did not end within {self._settings.timeout_s:g} s") from error
        if code != 0:
            raise RefusedEventError(f"it was ended by signal {-code}" if code < 0 else f"it exited with {code}")

    def stop(self) -> None:
        """End the program and those that it has started."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Nothing to do: each opening has a process of its own."""

    def _run(self, message: bytes) -> int:
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        with self._lock:
            self._process = subprocess.Popen(  # noqa: S603 (the arguments are those of the rules)
                self._settings.run,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        try:
            self._process.communicate(message, self._settings.timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            self._process.wait()
            raise
        return self._process.returncode
