"""Downloads a file whose SHA-256 is known. What arrived is kept, so that the next attempt or run goes on from there."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

from edgefr.downloads.http_client import Busy, LostConnectionError, RefusedError, open_url
from edgefr.errors import UnavailableError, WrongModelError
from edgefr.io.files import atomic_write, sha256_of, unwritable

DELAYS = (1.0, 2.0, 4.0)
"""Seconds before each retry."""
MAX_DELAY = 30.0
"""Most seconds to wait because a server asks for it."""
BLOCK = 1 << 16
"""Bytes to read at once: on a slow line they are what a killed download loses."""
PROGRESS = 1 << 20
"""Bytes after which a connection counts as a success, so that the retries begin anew."""

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Download:
    """A file to download.

    Attributes:
        url: Its address.
        sha256: Its digest.
        bytes: Its exact size, None if it is not known.
        limit: Most bytes to accept.
        allow_http: Whether http is allowed to other machines than this one.
    """

    url: str
    sha256: str
    bytes: int | None
    limit: int
    allow_http: bool = False


def download(wanted: Download, partial: Path, advance: Advance) -> None:
    """Download a file and check it.

    Args:
        wanted: The file.
        partial: Where to write it. A part of it that is there already is completed. It is removed if it turns out to
            be another file, or if the disk is full, and kept if the connection is lost.
        advance: Called with the number of bytes that arrived, which is negative if they are discarded.

    Raises:
        LostConnectionError: The connection was lost again and again.
        RefusedError: The server does not give out the file.
        UnavailableError: The server is busy, or the file cannot be written.
        WrongModelError: The server has another file.
    """
    transfer = _Transfer(wanted, partial, advance)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        advance(transfer.size())
        resumed = transfer.run()
        if resumed and sha256_of(partial) != wanted.sha256:
            transfer.discard()  # the server replaced the file, or the part was damaged by a power failure
            transfer.run()
        if (found := sha256_of(partial)) != wanted.sha256:
            transfer.discard()
            raise WrongModelError(
                f"SHA-256 {wanted.sha256} of {wanted.url}",
                found,
                "check the network and the mirror; the publisher may have replaced the file",
            )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            transfer.discard()  # others need the disk
        raise unwritable(partial, error, "free disk space, and run the same command again") from error
    transfer.validator.unlink(missing_ok=True)


def validator_path(partial: Path) -> Path:
    """Where the part of a download keeps what its server said of the version of the file."""
    return partial.with_name(partial.name + ".etag")


class _Transfer:
    """The attempts to complete one file."""

    def __init__(self, wanted: Download, partial: Path, advance: Advance) -> None:
        self.wanted, self.partial, self.advance = wanted, partial, advance
        self.validator = validator_path(partial)

    def size(self) -> int:
        """Bytes that are there."""
        return self.partial.stat().st_size if self.partial.is_file() else 0

    def discard(self) -> None:
        """Remove what arrived."""
        self.advance(-self.size())
        self.partial.unlink(missing_ok=True)
        self.validator.unlink(missing_ok=True)

    def run(self) -> bool:
        """Try until the file has its size; return whether some of it was there before."""
        resumed = self.size() > 0
        failures = 0
        while self.wanted.bytes is None or self.size() < self.wanted.bytes:
            before = self.size()
            wait = None
            try:
                self._attempt(before)
                break
            except LostConnectionError as error:
                failure: UnavailableError = error
            except Busy as busy:
                wait = busy.seconds
                asked = "" if wait is None else f", and the wish to wait {wait:.0f} s"
                failure = UnavailableError(
                    f"the file at {self.wanted.url}", f"the answer {busy.status}{asked}", "try again later"
                )
            failures = 1 if self.size() - before >= PROGRESS else failures + 1
            if failures > len(DELAYS) or (wait or 0) > MAX_DELAY:
                raise failure
            time.sleep(DELAYS[failures - 1] if wait is None else wait)
        return resumed

    def _attempt(self, offset: int) -> None:
        """One request, for what is missing from `offset` on."""
        try:
            response = open_url(self.wanted.url, self._range(offset), self.wanted.allow_http)
        except HTTPError as error:  # 416
            if error.headers.get("Content-Range") == f"bytes */{offset}":
                return  # the file was complete
            self.discard()
            if offset == 0:
                raise RefusedError(
                    f"the file at {self.wanted.url}", f"the answer {error.code}", "try again later"
                ) from error
            raise self._lost("a range that does not exist") from error
        with response:
            offset, total = self._place(response, offset)
            self._receive(response, offset, total)

    def _range(self, offset: int) -> dict[str, str]:
        if offset == 0:
            return {}
        headers = {"Range": f"bytes={offset}-"}
        if self.validator.is_file():
            headers["If-Range"] = self.validator.read_text(encoding="latin-1").strip()
        return headers

    def _place(self, response: HTTPResponse, offset: int) -> tuple[int, int | None]:
        """Where the body of an answer begins in the file, and the size of the whole file if the server states it."""
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", ""))
            total = None if match is None or match[2] == "*" else int(match[2])
            other_size = total is not None and total != (self.wanted.bytes or total)
            if match is None or int(match[1]) != offset or other_size:
                self.discard()
                raise self._lost("another range than the one asked for")
            return offset, total
        self.discard()
        length = response.headers.get("Content-Length", "")
        total = int(length) if re.fullmatch(r"\d{1,18}", length) else None
        if total is not None and (total > self.wanted.limit or total != (self.wanted.bytes or total)):
            raise self._another_size(f"{total:,}")
        self._keep_validator(response)
        return 0, total

    def _keep_validator(self, response: HTTPResponse) -> None:
        """Keep what says whether the file on the server is still the same: a strong ETag, or its date."""
        tag = response.headers.get("ETag", "")
        validator = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        if validator and len(validator) < 1000 and validator.isascii() and validator.isprintable():
            with atomic_write(self.validator) as temporary:
                temporary.write_text(validator, encoding="latin-1")

    def _receive(self, response: HTTPResponse, offset: int, total: int | None) -> None:
        limit = self.wanted.bytes or self.wanted.limit
        with self.partial.open("ab") as output:
            while block := self._read(response):
                offset += len(block)
                if offset > limit:
                    output.close()
                    self.discard()
                    raise self._another_size("more")
                output.write(block)
                self.advance(len(block))
            output.flush()
            os.fsync(output.fileno())
        if offset < (self.wanted.bytes or total or 0):
            raise self._lost(f"its end after {offset:,} bytes")

    def _read(self, response: HTTPResponse) -> bytes:
        try:
            return response.read(BLOCK)
        except (HTTPException, OSError, ValueError) as error:
            raise self._lost(str(error) or type(error).__name__) from error

    def _another_size(self, found: str) -> WrongModelError:
        size = f"at most {self.wanted.limit:,}" if self.wanted.bytes is None else f"{self.wanted.bytes:,}"
        return WrongModelError(
            f"{size} bytes at {self.wanted.url}",
            found,
            "check the network and the mirror; the publisher may have replaced the file",
        )

    def _lost(self, found: str) -> LostConnectionError:
        return LostConnectionError(
            f"the whole file from {self.wanted.url}", found, "run the same command again to go on"
        )
