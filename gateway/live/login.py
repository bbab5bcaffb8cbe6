"""
The log-in: a token becomes the cookie of a session, by a plain form that needs no script.
"""

import asyncio
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.live.access import Access, refusal
from gateway.live.origins import local_path
from gateway.live.tokens import TooManyGuesses

BODY_S = 10.0
"""How long the form may take to arrive."""
_PAGE = Template((Path(__file__).parent / "console" / "login.html").read_text(encoding="utf-8"))


class Login:
    """
    Serves the log-in, the log-out, and who one is.

    Args:
        access: knows the tokens, and keeps the sessions.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/login", self.page)
        app.router.add_post("/login", self.log_in)
        app.router.add_post("/logout", self.log_out)
        app.router.add_get("/api/session", self.session)

    async def page(self, request: web.Request) -> web.Response:
        """The form; whoever is logged in goes on at once."""
        there = local_path(request.query.get("next", "/"))
        if self._access.session_of(request) is not None:
            raise web.HTTPSeeOther(there)
        return _form(there)

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        """Takes the form: `token`, and `next`, where to go then."""
        self._access.require_our_page(request)  # or another site could log somebody in as somebody else
        fields = await _fields(request)
        there = local_path(fields.get("next", "/"))
        try:
            kind = self._access.try_out(request, fields.get("token", "").strip())
        except TooManyGuesses as error:
            refused = _form(there, f"Too many wrong tokens came from here. Try again in {error.wait_s} s.", status=429)
            refused.headers["Retry-After"] = str(error.wait_s)
            return refused
        if kind is None:
            return _form(there, "This is not a token of this gateway.", status=403)
        answer = web.Response(status=303, headers={"Location": there})
        self._access.log_in(request, answer, kind)
        return answer

    async def log_out(self, request: web.Request) -> web.StreamResponse:
        """Ends the session of the browser, not others of the same token."""
        self._access.require_our_page(request)
        answer = web.Response(status=303, headers={"Location": "/login"})
        self._access.log_out(request, answer)
        return answer

    async def session(self, request: web.Request) -> web.Response:
        """What the token or session of this request allows."""
        return web.json_response({"kind": self._access.require(request)})


async def _fields(request: web.Request) -> dict[str, str]:
    """What the form says, in the encoding that HTML gives forms; of any other body nothing."""
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.read()
    except TimeoutError:
        raise refusal(web.HTTPRequestTimeout, "body_too_slow", "the form did not arrive in time") from None
    return dict(parse_qsl(body.decode(errors="replace")))


def _form(there: str, message: str = "", *, status: int = 200) -> web.Response:
    text = _PAGE.substitute(
        next=escape(there),
        message=escape(message),
        invalid="true" if message else "false",
    )
    return web.Response(text=text, content_type="text/html", status=status, headers={"Cache-Control": "no-store"})
