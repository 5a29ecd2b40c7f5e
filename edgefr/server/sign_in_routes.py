"""Signing in and out, and links that let others sign in."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field

from edgefr.server.guess_limits import TooManyGuessesError
from edgefr.server.middleware import refuse, refuse_rate
from edgefr.server.page_origins import PageOrigins
from edgefr.server.sign_in import Access, SignIn
from edgefr.server.web_sessions import CODE_S, LIFE_S


class Login(BaseModel):
    token: str = Field(max_length=1000, description="A token, or the code at the end of a link.")


class Logout(BaseModel):
    everyone: bool = Field(
        False, strict=True, description="End all sessions, and make unused links invalid. Only for an admin."
    )


class NewLink(BaseModel):
    role: Literal["admin", "viewer"] = "viewer"


def access_of(request: Request) -> Access:
    """What a request may do, as the middleware has found."""
    access: Access = request.state.access
    return access


def add_sign_in_routes(app: FastAPI, sign_in: SignIn, origins: PageOrigins) -> None:
    """Add the routes."""

    def is_secure(request: Request) -> bool:
        """Whether the browser speaks TLS, with a proxy in front of the page."""
        return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")

    @app.post("/api/login", status_code=204)
    async def login(given: Login, request: Request) -> Response:
        try:
            session = sign_in.open_session(given.token, request)
        except TooManyGuessesError:
            return refuse_rate()
        if session is None:
            return refuse(401, "The token is wrong, or the link was used or is too old. Ask for another one.")
        secure = is_secure(request) or origins.is_public(request)
        response = Response(status_code=204)
        response.set_cookie(
            sign_in.cookie_name(secure), session, max_age=int(LIFE_S), httponly=True, samesite="strict", secure=secure
        )
        return response

    @app.post("/api/logout", status_code=204)
    async def logout(request: Request, given: Logout) -> Response:
        access = access_of(request)
        if given.everyone:
            if access.role != "admin":
                raise HTTPException(403, "A viewer may only sign itself out. Sign in as an admin.")
            sign_in.sessions.close_all()
        elif access.session is not None:
            sign_in.sessions.close(access.session)
        response = Response(status_code=204)
        for secure in (False, True):
            response.delete_cookie(sign_in.cookie_name(secure), httponly=True, samesite="strict", secure=secure)
        return response

    @app.post("/api/links", status_code=201)
    async def link(given: NewLink) -> dict[str, Any]:
        """A code for `#code=...` at the end of the address of the page."""
        return {"code": sign_in.sessions.create_code(given.role), "role": given.role, "seconds": int(CODE_S)}
