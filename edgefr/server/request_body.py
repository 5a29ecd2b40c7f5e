"""Limits of what a client may send: size and duration of a body, and the number of uploads at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive


@dataclass(frozen=True)
class BodyLimit:
    """Limits of a body.

    Attributes:
        size: Bytes.
        seconds: Time in which it must arrive as a whole.
    """

    size: int
    seconds: float

    def apply(self, receive: Receive) -> Receive:
        """A `receive` that ends a body beyond its limits with 413 or 408, whatever length its header claims."""
        received = 0
        complete = False
        deadline: float | None = None

        async def limited() -> Message:
            nonlocal received, complete, deadline
            if complete:  # what follows is the end of the connection, for which an answer may wait
                return await receive()
            now = asyncio.get_running_loop().time()
            deadline = now + self.seconds if deadline is None else deadline
            try:
                message = await asyncio.wait_for(receive(), max(deadline - now, 0.001))
            except (TimeoutError, asyncio.TimeoutError) as error:
                raise HTTPException(408, f"The request did not arrive within {self.seconds:.0f} seconds.") from error
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self.size:
                raise HTTPException(413, self.too_large)
            return message

        return limited

    @property
    def too_large(self) -> str:
        """A sentence for whoever sends more."""
        if self.size >= 1 << 20:
            return f"The request is larger than {self.size >> 20} MiB. Send smaller photographs."
        return f"The request is larger than {self.size} bytes. Send a shorter text."


SMALL_BODY = BodyLimit(4096, 10.0)
"""JSON documents, a login above all."""
UPLOAD = BodyLimit(40 << 20, 60.0)
"""Two photographs of a phone."""
UPLOAD_PATHS = ("/api/compare", "/api/people/photograph")


class UploadQueue:
    """Admits few uploads at once; the bodies of the others are not read before it is their turn."""

    def __init__(self, slots: int, waiting: int, wait_s: float) -> None:
        """Admit `slots` uploads at once, and let `waiting` others wait for `wait_s` seconds."""
        self._slots = asyncio.Semaphore(slots)
        self._free = slots + waiting
        self._wait_s = wait_s

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[bool]:
        """Wait for a turn, and hold it; False if the queue is full or it takes too long."""
        if self._free == 0:
            yield False
            return
        self._free -= 1
        try:
            try:
                await asyncio.wait_for(self._slots.acquire(), self._wait_s)
            except (TimeoutError, asyncio.TimeoutError):
                yield False
                return
            try:
                yield True
            finally:
                self._slots.release()
        finally:
            self._free += 1
