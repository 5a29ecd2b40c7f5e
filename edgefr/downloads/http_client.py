"""One HTTP request: proxies of the environment, TLS except for mirrors, few redirects and no identifying headers."""

from __future__ import annotations

import ssl
import string
from contextlib import closing
from functools import cache
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError

MAX_REDIRECTS = 5
REDIRECTS = {301, 302, 303, 307, 308}
BUSY = {429, 500, 502, 503, 504}
TIMEOUT = 30.0
"""Seconds to wait for a connection and for each part of an answer."""


class LostConnectionError(UnavailableError):
    """A connection failed or ended early. Another attempt can help."""


class RefusedError(UnavailableError):
    """A server answered that it does not have the file, or does not give it out."""


class Busy(Exception):  # noqa: N818 - not an error for users: the download tries again
    """A server asks to come back later, with one of `BUSY`.

    Args:
        status: The status code.
        seconds: Seconds that the server asks to wait, None if it does not say so.
    """

    def __init__(self, status: int, seconds: float | None) -> None:
        super().__init__(status, seconds)
        self.status, self.seconds = status, seconds


def open_url(url: str, headers: dict[str, str], allow_http: bool) -> HTTPResponse:
    """Send a GET request and follow redirects.

    Args:
        url: The address.
        headers: Headers of the request.
        allow_http: Whether http is allowed to other machines than this one, if `url` begins with it.

    Returns:
        The answer with status 200 or 206, whose body is still to be read. The caller closes it.

    Raises:
        InvalidArgumentError: The address is not allowed.
        LostConnectionError: The server cannot be reached.
        RefusedError: The server does not give out the file, or redirects to where edgefr does not follow.
        Busy: The server asks to come back later.
        HTTPError: 416, the range does not exist.
    """
    secure = urlsplit(url).scheme == "https"
    _check_address(url, allow_http)
    first = url
    for _ in range(MAX_REDIRECTS + 1):
        try:
            return cast("HTTPResponse", _opener().open(Request(url, headers=headers), timeout=TIMEOUT))  # noqa: S310
        except HTTPError as error:
            with closing(error):
                url = _redirected(url, error)
        except (URLError, HTTPException, OSError, ValueError) as error:
            raise _unreachable(url, error) from error
        if not url.startswith("https://" if secure else ("https://", "http://")):
            raise RefusedError(
                f"only https after redirects of {first}",
                f"one to {_shown(url) or 'nowhere'}",
                "check the network and the mirror",
            )
        _check_address(url, allow_http)
    raise RefusedError(
        f"at most {MAX_REDIRECTS} redirects from {first}", "more", "check the network and the mirror, and try again"
    )


def check_mirror(url: str, allow_http: bool) -> str:
    """Check the address of a mirror.

    Args:
        url: An address with or without a slash at its end.
        allow_http: Whether http is allowed to other machines than this one.

    Returns:
        The address without a slash at its end.

    Raises:
        InvalidArgumentError: It is not an address of a mirror, or it is not allowed.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.username is None
        valid = valid and not (parts.query or parts.fragment) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidArgumentError(
            "the address of a mirror such as https://HOST/models, without a password", f"{url!r}", "correct it"
        )
    _check_address(url, allow_http)
    return url.rstrip("/")


def _check_address(url: str, allow_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and (allow_http or _is_loopback(parts.hostname or ""))):
        return
    raise InvalidArgumentError(
        "an https address, or http on this machine", _shown(url), "use https, or allow it with --allow-http"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def _opener() -> OpenerDirector:
    """What sends requests. It knows http and https only, follows no redirects and adds no headers."""
    opener = OpenerDirector()
    opener.addheaders = [("User-Agent", "edgefr")]
    context = ssl.create_default_context()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler(context=context)):
        opener.add_handler(handler)
    opener.add_handler(HTTPErrorProcessor())
    opener.add_handler(HTTPDefaultErrorHandler())
    return opener


def _redirected(url: str, error: HTTPError) -> str:
    """Where a redirect leads; other answers are raised."""
    location = error.headers.get("Location")
    if error.code in REDIRECTS and location:
        try:
            target = urljoin(url, quote(location, safe=string.punctuation))
            return target if urlsplit(target).hostname else ""
        except ValueError:
            return ""
    if error.code == 416:
        raise error
    if error.code in BUSY:
        wait = error.headers.get("Retry-After", "")
        raise Busy(error.code, float(wait) if wait.isascii() and wait.isdigit() else None) from error
    raise RefusedError(
        f"the file at {_shown(url)}",
        f"the answer {error.code} {error.reason}"[:200],
        "check the network and the mirror; the publisher may have moved it",
    )


def _unreachable(url: str, error: Exception) -> EdgefrError:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return RefusedError(
            f"a valid certificate of {urlsplit(url).hostname}",
            reason.verify_message,
            "check the date of this machine; name the certificates of a proxy or mirror with $SSL_CERT_FILE",
        )
    found = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return LostConnectionError(f"a connection to {urlsplit(url).hostname}", str(found)[:200], "check the network")


def _shown(url: str) -> str:
    """An address for messages: without the query, in which publishers put signatures."""
    return url.partition("?")[0][:200]
