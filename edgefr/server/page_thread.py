"""The thread that serves the page. A server that ends by a fault is started again, while the camera is watched on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Protocol

from edgefr.errors import EdgefrError

MIN_RESTART_S, MAX_RESTART_S = 1.0, 60.0
"""Seconds before the first attempt to start a server again, doubled for each further one up to the maximum."""


class HttpServer(Protocol):
    """A server that runs until `should_exit` is set, as that of uvicorn."""

    should_exit: bool

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on listening sockets, and close them."""
        ...


class PageThread:
    """Serves from a thread until it is stopped."""

    def __init__(
        self,
        listening: socket.socket,
        listen: Callable[[], socket.socket],
        new_server: Callable[[], HttpServer],
        warn: Callable[[str], None],
    ) -> None:
        """Prepare to serve.

        Args:
            listening: The socket of the first server.
            listen: Opens a socket on the same port again; an EdgefrError means that it is taken.
            new_server: Makes a server.
            warn: Called with a sentence when the server has ended, and when it is back.
        """
        self._listening, self._listen, self._new_server, self._warn = listening, listen, new_server, warn
        self._server = new_server()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the server, and wait for that at most so long."""
        self._stopped.set()
        self._server.should_exit = True
        self._thread.join(seconds)
        self._listening.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            reason = "it ended"
            try:
                self._server.run([self._listening])
            except (Exception, SystemExit) as error:  # uvicorn exits if it cannot start
                reason = type(error).__name__
            self._listening.close()
            if not self._stopped.is_set():
                self._warn(f"the page has failed ({reason}); it is started again")
                self._restart()

    def _restart(self) -> None:
        """Listen again, as soon as the port is free."""
        delay, is_told = MIN_RESTART_S, False
        while not self._stopped.wait(delay):
            try:
                listening = self._listen()
            except EdgefrError as error:
                if not is_told:
                    self._warn(f"the page cannot be started again yet: {error}")
                is_told = True
                delay = min(2 * delay, MAX_RESTART_S)
                continue
            self._listening, self._server = listening, self._new_server()
            if self._stopped.is_set():
                self._server.should_exit = True
            self._warn("the page is served again")
            return
