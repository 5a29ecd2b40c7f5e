"""Limits on guesses of tokens and codes, for each address and for all addresses together."""

from __future__ import annotations

from collections import OrderedDict

from edgefr.server.rate_limiter import RateLimiter

MAX_KNOWN = 1000
"""Number of addresses to remember that have signed in."""
EVERYONE = "everyone"
"""The key under which guesses of all clients are counted together."""


class TooManyGuessesError(Exception):
    """A client, or all clients together, have sent too many wrong tokens and codes."""


class GuessLimits:
    """Counts wrong tokens and codes. Only the thread of the event loop uses it."""

    def __init__(self) -> None:
        self._own, self._total = RateLimiter(10, 0.1), RateLimiter(100, 1.0)
        self._known: OrderedDict[str, None] = OrderedDict()

    def check(self, client: str) -> None:
        """Check that a client may try a token; raises TooManyGuessesError.

        Who has signed in from an address is not kept out by guesses that others make elsewhere.
        """
        if not self._own.would_allow(client) or not (client in self._known or self._total.would_allow(EVERYONE)):
            raise TooManyGuessesError

    def count_wrong(self, client: str) -> None:
        """Count a wrong token of a client."""
        self._own.allow(client)
        self._total.allow(EVERYONE)

    def note_right(self, client: str) -> None:
        """Remember that a client has sent a right one."""
        self._known[client] = None
        self._known.move_to_end(client)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
