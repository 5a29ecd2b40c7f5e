"""Admit one writer at a time to a database without locks, by leases with fencing.

The database must offer reads that see every acknowledged write. A writer reads the leases of others, writes its own
and reads again. If two clients do so at the same time, at least one sees the other's lease; it withdraws and tries
later. A lease records what the change is about. One that has not been renewed for `LEASE_S` seconds has expired: its
writer is dead, and the next writer recovers the change. A writer that has not renewed its lease for `FENCE_S` seconds
verifies that it still holds it before it writes again. What remains unprotected is a single call that reaches the
database after its own timeout.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import NoReturn, Protocol

from edgefr.errors import EdgefrError, UnavailableError
from edgefr.gallery.crypto.encryption import damaged
from edgefr.gallery.stores.base import CALL_TIMEOUT_S, Blob, PendingWrite, Recover

LEASE_KIND = "claim"
"""The kind of blob that stores a lease."""
RENEW_S = 2.0
FENCE_S = 5.0
LEASE_S = FENCE_S + CALL_TIMEOUT_S + 5.0


class LeaseStore(Protocol):
    """Where leases are stored."""

    def leases(self) -> Sequence[Blob]: ...

    def put_lease(self, lease: Blob) -> None: ...

    def delete_lease(self, number: int) -> None: ...


@dataclass
class WriterLease:
    """The lease of this client on the gallery `source`.

    If it is `exclusive`, no other process can have the gallery open, and all other leases have expired.
    """

    store: LeaseStore
    source: str
    exclusive: bool
    _number: int | None = None
    _renewed: float = 0.0
    _pending: PendingWrite | None = None
    _abandoned: set[int] = field(default_factory=set)
    _last_seen: dict[int, tuple[bytes, float]] = field(default_factory=dict)

    @contextmanager
    def hold(self, recover: Recover, wait: float) -> Iterator[None]:
        """Hold the lease, after up to `wait` seconds for other writers.

        `recover` undoes the pending write of a dead writer, and of this change if it fails.
        """
        try:
            for lease in self._acquire(wait):
                if (pending := _pending_write(lease, self.source)) is not None:
                    recover(pending)
                self.store.delete_lease(lease.id)
            yield
        except BaseException:
            with suppress(EdgefrError):  # the database may be down; the lease then tells the next writer to recover
                if self._pending is not None:
                    recover(self._pending)
                self._release()
            raise
        else:
            self._release_after_success()
        finally:
            if self._number is not None:
                self._abandoned.add(self._number)
            self._number = self._pending = None

    def _release_after_success(self) -> None:
        """Release the lease of a change that is made. A lease that cannot be deleted expires, and the next writer then
        recovers its pending write, which changes nothing, unless it is an import: that fails and is undone."""
        try:
            self._release()
        except UnavailableError:
            if self._pending is not None and self._pending.whole:
                raise

    def begin(self, pending: PendingWrite) -> None:
        """Record in the lease what the change is about."""
        self.check()
        self._pending = pending
        self._write()

    def check(self) -> None:
        """Verify before a write that this client still holds the lease, and renew it.

        Raises:
            UnavailableError: The lease has expired and another client has taken over.
        """
        if self._number is None or (age := time.monotonic() - self._renewed) < RENEW_S:
            return
        late = age > FENCE_S
        if late and self._number not in {lease.id for lease in self.store.leases()}:
            self._lose(age)
        self._write()
        if late and self._others()[0]:
            self._lose(age)

    def _lose(self, age: float) -> NoReturn:
        self._pending = None  # the other client has recovered it, and may be changing the same people now
        self._release()
        raise UnavailableError(
            "",
            f"Lost the write lease on {self.source}: another client took over after {age:.0f} seconds without renewal",
            "check the gallery and try again",
        )

    def _acquire(self, wait: float) -> list[Blob]:
        """Acquire the lease and return the expired leases of others."""
        deadline = time.monotonic() + wait
        while True:
            if not self._others()[0]:
                self._number = 1 + secrets.randbits(61)
                self._write()
                active, expired = self._others()
                if not active:
                    return expired
                self._release()
            if time.monotonic() > deadline:
                raise UnavailableError(
                    "", f"Other clients have been changing {self.source} for {wait:g} seconds", "try again later"
                )
            time.sleep(0.05 + secrets.randbelow(400) / 1000)  # random, so that two clients do not collide for ever

    def _others(self) -> tuple[list[Blob], list[Blob]]:
        """The active and the expired leases of other writers."""
        now = time.monotonic()
        active: list[Blob] = []
        expired: list[Blob] = []
        others = [lease for lease in self.store.leases() if lease.id != self._number]
        for lease in others:
            body, since = self._last_seen.get(lease.id, (b"", now))
            since = since if body == lease.body else now
            self._last_seen[lease.id] = lease.body, since
            over = self.exclusive or lease.id in self._abandoned or now - since > LEASE_S
            (expired if over else active).append(lease)
        present = {lease.id for lease in others}
        self._last_seen = {number: entry for number, entry in self._last_seen.items() if number in present}
        return active, expired

    def _write(self) -> None:
        assert self._number is not None, "a change is under way"
        content = {"intent": self._pending and asdict(self._pending), "renewed": secrets.token_hex(8)}
        self._renewed = time.monotonic()
        self.store.put_lease(Blob(LEASE_KIND, self._number, 0, json.dumps(content).encode()))

    def _release(self) -> None:
        if self._number is not None:
            self.store.delete_lease(self._number)
            self._number = None


def _pending_write(lease: Blob, source: str) -> PendingWrite | None:
    try:
        found = json.loads(lease.body)["intent"]
        return None if found is None else PendingWrite(int(found["first"]), int(found["last"]), bool(found["whole"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise damaged(f"a write lease on {source}") from error
