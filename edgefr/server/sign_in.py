"""Who may use the page: tokens, one-time codes, sessions, and limits on guesses."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from edgefr.server.guess_limits import GuessLimits
from edgefr.server.rate_limiter import client_key
from edgefr.server.web_sessions import Role, WebSessions


@dataclass(frozen=True)
class Access:
    """What a request may do.

    Attributes:
        role: Role of who sends it.
        session: Identifier of its session; None if it carries a token.
    """

    role: Role
    session: str | None


class SignIn:
    """Checks tokens, codes and sessions. Wrong ones are counted for each address and for all addresses together.

    Attributes:
        sessions: Sessions and unused codes.
    """

    def __init__(self, tokens: Mapping[Role, str], cookie: str) -> None:
        """Accept these tokens.

        Args:
            tokens: Token of each role that has one; the others can only be reached with a code.
            cookie: Name of the cookie. Ports of one host share their cookies, so it differs between ports.
        """
        self.sessions = WebSessions()
        self._tokens = {role: token.encode() for role, token in tokens.items()}
        self._cookies = {False: cookie, True: f"__Host-{cookie}"}
        self._guesses = GuessLimits()

    def cookie_name(self, secure: bool) -> str:
        """Name of the cookie; over TLS browsers accept this one from this host only."""
        return self._cookies[secure]

    def authorise(self, request: Request) -> Access | None:
        """What a request may do; None without a session or a token.

        Raises:
            TooManyGuessesError: The request carries a token after too many wrong ones.
        """
        for name in self._cookies.values():
            session = request.cookies.get(name, "")
            if session and (role := self.sessions.role_of(session)) is not None:
                return Access(role, session)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or (found := self._check(token.strip(), request, codes=False)) is None:
            return None
        return Access(found, None)

    def open_session(self, secret: str, request: Request) -> str | None:
        """Start a session for a token or an unused code, and return its identifier; None if it is wrong.

        Raises:
            TooManyGuessesError: Too many wrong ones were sent before.
        """
        role = self._check(secret, request, codes=True)
        return None if role is None else self.sessions.open(role)

    def is_valid(self, access: Access) -> bool:
        """Whether the session of a request has not ended since; a token has no end."""
        return access.session is None or self.sessions.role_of(access.session) is not None

    def _check(self, secret: str, request: Request, codes: bool) -> Role | None:
        client = client_key(request.client.host if request.client else "")
        self._guesses.check(client)
        role = self._role_of_token(secret.encode(errors="replace"))
        if role is None and codes:
            role = self.sessions.redeem(secret)
        if role is None:
            self._guesses.count_wrong(client)
        else:
            self._guesses.note_right(client)
        return role

    def _role_of_token(self, secret: bytes) -> Role | None:
        found: Role | None = None
        for role, token in self._tokens.items():  # every token is compared, in constant time
            if hmac.compare_digest(secret, token):
                found = role
        return found
