"""Post events to a URL (webhook)."""

from __future__ import annotations

import base64
import http.client
import socket
import threading
import urllib.error
import urllib.request
from functools import partial
from typing import Any
from urllib.parse import unquote

from edgefr.camera import delivery
from edgefr.camera.base import redact_url, split_url, without_user
from edgefr.camera.delivery import DeliveryError, Receiver, RefusedEventError
from edgefr.camera.event_queue import Entry
from edgefr.errors import InvalidArgumentError

PASSING = frozenset({401, 403, 404, 407, 408, 421, 423, 425, 429})
"""Answers of 400 to 499 that do not concern the event: it is sent again, as after 300 to 399 and from 500 on."""


class Webhook(Receiver):
    """Posts each event as JSON. Any answer of 200 to 299 acknowledges it; the content of answers is not read.

    The header Idempotency-Key holds the id of the event, by which a server recognises a repeated one. Redirections are
    not followed, because clients turn them into a request without the event.
    """

    def __init__(self, url: str, setting: str = "--hook") -> None:
        """Take the URL.

        Args:
            url: A URL of http or https. User and password are sent as basic authentication.
            setting: The option or key that it comes from, for errors.

        Raises:
            InvalidArgumentError: The URL is of another kind.
        """
        expected = "a webhook URL of http or https"
        parts = split_url(url, expected, setting)
        self.name = redact_url(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidArgumentError(expected, self.name, f"correct {setting}")
        self._url = without_user(url)
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"

    def deliver(self, entry: Entry) -> None:
        headers = {**self._headers, **self.headers_of(entry)}
        request = urllib.request.Request(self._url, entry.message, headers)  # noqa: S310 (the scheme is checked)
        seconds = delivery.SEND_TIMEOUT_S
        with _Deadline(seconds) as deadline:
            try:
                _opener(deadline).open(request, timeout=seconds).close()
            except urllib.error.HTTPError as error:
                error.close()
                if 400 <= error.code < 500 and error.code not in PASSING:
                    raise RefusedEventError(f"the server answers {error.code}") from error
                raise DeliveryError(f"the server answers {error.code}") from error
            except Exception as error:
                if deadline.is_over:
                    raise TimeoutError from error
                raise
            if deadline.is_over:  # http.client takes a connection that is shut down for the end of the headers
                raise TimeoutError

    def headers_of(self, entry: Entry) -> dict[str, str]:
        """The headers of one attempt to send an event."""
        return {"Idempotency-Key": entry.id}

    def close(self) -> None:
        """Nothing to do: each event has a connection of its own."""


class _Deadline:
    """Shuts connections down after a time. The timeout of a socket is not enough: it begins anew with every byte."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._expire)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.is_over = False

    def __enter__(self) -> _Deadline:
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for twin in self._sockets:
                twin.close()
            self._sockets.clear()

    def watch(self, connection: socket.socket) -> None:
        """Shut a connection down at the deadline; the duplicate reaches it below TLS, too."""
        with self._lock:
            self._sockets.append(connection.dup())

    def _expire(self) -> None:
        with self._lock:
            self.is_over = True
            for twin in self._sockets:
                try:
                    twin.shutdown(socket.SHUT_RDWR)
                except OSError:  # the server was faster
                    continue


class _Connection(http.client.HTTPConnection):
    """A connection that ends at a deadline."""

    def __init__(self, *arguments: Any, deadline: _Deadline, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline = deadline

    def connect(self) -> None:
        super().connect()
        self._deadline.watch(self.sock)


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """The same with TLS; the deadline holds before the handshake already."""


class _Http(urllib.request.HTTPHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Connection, deadline=self._deadline), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_TlsConnection, deadline=self._deadline), req)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(deadline: _Deadline) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Http(deadline), _Https(deadline), _NoRedirection())
