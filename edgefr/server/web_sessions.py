"""Sessions of browsers that have signed in, and the one-time codes of links that sign in."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Literal

Role = Literal["admin", "viewer"]
"""An admin may do everything; a viewer may watch, and gets no similarities."""

CODE_S = 15 * 60.0
"""Seconds in which a link must be opened."""
IDLE_S = 12 * 3600.0
"""Seconds after its last request when a session ends."""
LIFE_S = 7 * 24 * 3600.0
"""Seconds after signing in when a session ends in any case."""
MAX_SESSIONS = 1000
MAX_CODES = 100
"""Number of sessions and unused codes; the oldest ones are dropped."""


@dataclass(frozen=True)
class _Entry:
    role: Role
    created: float
    used: float


class WebSessions:
    """Keeps digests of random identifiers in memory, so all of them end with the process. Threads may share it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Start without sessions; `clock` gives seconds."""
        self._clock = clock
        self._codes: OrderedDict[str, _Entry] = OrderedDict()
        self._sessions: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def create_code(self, role: Role) -> str:
        """A code that opens one session of a role within CODE_S."""
        return self._add(self._codes, role, MAX_CODES)

    def redeem(self, code: str) -> Role | None:
        """Use up a code; None if it is unknown, used or too old."""
        with self._lock:
            entry = self._codes.pop(_digest(code), None)
            return None if entry is None or self._clock() - entry.created > CODE_S else entry.role

    def open(self, role: Role) -> str:
        """Start a session, and return its identifier."""
        return self._add(self._sessions, role, MAX_SESSIONS)

    def role_of(self, session: str) -> Role | None:
        """The role of a session, which counts as used now; None if there is none or it has expired."""
        key, now = _digest(session), self._clock()
        with self._lock:
            entry = self._sessions.get(key)
            if entry is None:
                return None
            if now - entry.used > IDLE_S or now - entry.created > LIFE_S:
                del self._sessions[key]
                return None
            self._sessions[key] = replace(entry, used=now)
            return entry.role

    def close(self, session: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(session), None)

    def close_all(self) -> None:
        """End all sessions, and make all unused codes invalid."""
        with self._lock:
            self._sessions.clear()
            self._codes.clear()

    def _add(self, entries: OrderedDict[str, _Entry], role: Role, limit: int) -> str:
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            entries[_digest(secret)] = _Entry(role, now, now)
            while len(entries) > limit:
                entries.popitem(last=False)
        return secret


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
