"""One writer at a time where the database has no locks, only reads that see every write acknowledged before them.

A writer looks for claims of others, writes one of its own, and looks again: of two who write at once, at least one sees
the other's, and who sees one withdraws and tries later. The claim says what the change is about; a claim that has not
been renewed for `LEASE` seconds is a dead writer's, and the next writer mends what that one left. Who holds a claim
that was not renewed for `FENCE` seconds makes sure that it still holds before it writes on. What remains is a single
call that reaches the database later than its time limit allows.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import NoReturn, Protocol

from edgefr.errors import EdgefrError
from edgefr.gallery.crypto.encryption import damaged
from edgefr.gallery.stores.base import SECONDS, Blob, Mend, PendingWrite

CLAIM = "claim"
"""A kind of things."""
RENEW = 2.0
FENCE = 5.0
LEASE = FENCE + SECONDS + 5.0


class Kept(Protocol):
    """Where claims are kept."""

    def claims(self) -> Sequence[Blob]: ...

    def put_claim(self, claim: Blob) -> None: ...

    def drop_claim(self, number: int) -> None: ...


@dataclass
class WriterLease:
    """Claims on the gallery `source`; `alone` where no other process can have it open."""

    kept: Kept
    source: str
    alone: bool
    _number: int | None = None
    _renewed: float = 0.0
    _intent: PendingWrite | None = None
    _given_up: set[int] = field(default_factory=set)
    _seen: dict[int, tuple[bytes, float]] = field(default_factory=dict)

    @contextmanager
    def held(self, mend: Mend, wait: float) -> Iterator[None]:
        """Hold the gallery, once what dead writers left is mended; what fails within is mended, too. `wait` is for
        how many seconds others' changes are waited for."""
        try:
            for claim in self._acquire(wait):
                if (intent := _intent_of(claim, self.source)) is not None:
                    mend(intent)
                self.kept.drop_claim(claim.id)
            yield
        except BaseException:
            with suppress(EdgefrError):  # then the claim stays, and says to the next writer what is to be mended
                if self._intent is not None:
                    mend(self._intent)
                self._release()
            raise
        else:
            self._release()
        finally:
            if self._number is not None:
                self._given_up.add(self._number)
            self._number = self._intent = None

    def intend(self, intent: PendingWrite) -> None:
        """Write down whom the change is about."""
        self.check()
        self._intent = intent
        self._write()

    def check(self) -> None:
        """Make sure, before a write, that a change still holds its claim.

        Raises:
            EdgefrError: it took so long that somebody else has taken over.
        """
        if self._number is None or (age := time.monotonic() - self._renewed) < RENEW:
            return
        late = age > FENCE
        if late and self._number not in {claim.id for claim in self.kept.claims()}:
            self._lose(age)
        self._write()
        if late and self._living([self._number])[0]:
            self._lose(age)

    def _lose(self, age: float) -> NoReturn:
        self._intent = None  # who took over has mended it, and may be at the same people now
        self._release()
        raise EdgefrError(
            f"no pause within a change of {self.source}",
            f"one of {age:.0f} seconds, in which somebody else took over",
            "look what is enrolled, and try again",
        )

    def _acquire(self, wait: float) -> list[Blob]:
        """Get hold of the gallery; the claims of the dead."""
        deadline = time.monotonic() + wait
        while True:
            if not self._living([])[0]:
                self._number = 1 + secrets.randbits(61)
                self._write()
                living, dead = self._living([self._number])
                if not living:
                    return dead
                self._release()
            if time.monotonic() > deadline:
                raise EdgefrError(
                    f"to change {self.source} within {wait:g} seconds",
                    "that others are changing it all the time",
                    "try again later",
                )
            time.sleep(0.05 + secrets.randbelow(400) / 1000)  # at random, so that two do not meet for ever

    def _living(self, mine: Sequence[int]) -> tuple[list[Blob], list[Blob]]:
        """Others' claims, and dead ones."""
        now = time.monotonic()
        living: list[Blob] = []
        dead: list[Blob] = []
        others = [claim for claim in self.kept.claims() if claim.id not in mine]
        for claim in others:
            body, since = self._seen.get(claim.id, (b"", now))
            since = since if body == claim.body else now
            self._seen[claim.id] = claim.body, since
            over = self.alone or claim.id in self._given_up or now - since > LEASE
            (dead if over else living).append(claim)
        there = {claim.id for claim in others}
        self._seen = {number: told for number, told in self._seen.items() if number in there}
        return living, dead

    def _write(self) -> None:
        assert self._number is not None, "a change is under way"
        content = {"intent": self._intent and asdict(self._intent), "renewed": secrets.token_hex(8)}
        self._renewed = time.monotonic()
        self.kept.put_claim(Blob(CLAIM, self._number, 0, json.dumps(content).encode()))

    def _release(self) -> None:
        if self._number is not None:
            self.kept.drop_claim(self._number)
            self._number = None


def _intent_of(claim: Blob, source: str) -> PendingWrite | None:
    try:
        found = json.loads(claim.body)["intent"]
        return None if found is None else PendingWrite(int(found["first"]), int(found["last"]), bool(found["whole"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise damaged(f"a claim on {source}") from error
