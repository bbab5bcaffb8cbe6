"""
Who may look, and who may also change something.

A request shows a token (`Authorization: Bearer`, or `?token=` for what cannot set headers) or the cookie of a session.
A browser adds the cookie to whatever any page makes it send, so with a cookie it also counts which page that was; a
header has to be written on purpose, and needs no such proof. A token in an address ends up in histories and logs: it
opens a page, which trades it for a cookie at once, and it reads, but it changes nothing.

The cookie is `SameSite=Lax`, not `Strict`: links from elsewhere, such as the customer's record or a chat, open the page
that they name. What Lax lets through are navigations, and none of ours changes anything.
"""

import json
import re
import secrets
import time
from collections.abc import Callable
from enum import Enum
from typing import NoReturn
from urllib.parse import quote, urlsplit

from aiohttp import web

from gateway.live.origins import hostname, is_own, local_path
from gateway.live.sessions import Sessions
from gateway.live.tokens import Kind, Tokens, TooManyGuesses

__all__ = ["Access", "Kind", "refusal"]

_FORM_TYPES = frozenset({"", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
"""Bodies that a page of anybody's may post without asking first (Fetch standard, CORS-safelisted request headers)."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Way(Enum):
    """How a request shows who it is from."""

    HEADER = "header"
    ADDRESS = "address"
    COOKIE = "cookie"


class Access:
    """
    Decides about requests to the console and `/api`.

    Args:
        token: allows everything.
        read_token: allows to look; None: there is none.
        public_url: the address at which a proxy serves us, if there is one.
        address_of: names who is asking, for the limit of wrong tokens; by default the other end of the connection.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        token: str,
        read_token: str | None = None,
        *,
        public_url: str | None = None,
        address_of: Callable[[web.Request], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = Tokens(token, read_token, clock)
        self._sessions: Sessions[Kind] = Sessions()
        self._public_url = public_url
        self._address_of = address_of or (lambda request: request.remote or "")
        self._clock = clock

    # ── Requests ────────────────────────────────────────────────────────────────────────────────────────────────

    def require(self, request: web.Request, *, writes: bool = False) -> Kind:
        """
        Let a request pass.

        Args:
            writes: it changes something.

        Returns:
            what its token allows.

        Raises:
            web.HTTPSeeOther: a page without a session, to the log-in; a page with a token, to itself without it.
            web.HTTPUnauthorized: no token, or not one of ours.
            web.HTTPForbidden: a token that does not allow this, or a page of another site.
            web.HTTPUnsupportedMediaType: a body that a form of another site could have made.
            web.HTTPTooManyRequests: a page with a token, after too many wrong ones.
        """
        way, kind = self._shown(request)
        if way is _Way.ADDRESS and _is_page(request):
            self._trade(request)
        if kind is None:
            raise _stranger(request)
        if way is _Way.COOKIE:
            self._require_use_by_us(request, writes=writes)
        if writes and way is _Way.ADDRESS:
            raise refusal(web.HTTPForbidden, "token_in_address", "a token in the address only allows to look")
        if writes and kind is not Kind.FULL:
            raise refusal(web.HTTPForbidden, "read_only", "this token only allows to look")
        return kind

    def kind_of(self, request: web.Request) -> Kind | None:
        """
        What a request may do; None: nothing.

        An answer that goes on for long asks again now and then: the session of the request may have ended. That is no
        use of the session, or a page that somebody left open would keep it for as long as it may last at all.
        """
        return self._shown(request, is_use=False)[1]

    def _shown(self, request: web.Request, *, is_use: bool = True) -> tuple[_Way, Kind | None]:
        """Header before address before cookie: what is wrong is not made good by the next."""
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _Way.HEADER, self._tokens.kind_of(bearer.strip())
        if "token" in request.query:
            return _Way.ADDRESS, self._tokens.kind_of(request.query["token"])
        return _Way.COOKIE, self.session_of(request, is_use=is_use)

    def require_our_page(self, request: web.Request) -> None:
        """
        Refuse what a page of anybody else's made the browser send.

        Raises:
            web.HTTPForbidden: so it is, or nothing says that it is not.
        """
        headers = request.headers
        site = headers.get("Sec-Fetch-Site")  # which browsers send over TLS and on loopback only
        origin = headers.get("Origin") or headers.get("Referer") or ""  # a GET of our own page has no Origin
        if site == "same-origin" or (site is None and is_own(origin, request.host, self._public_url)):
            return
        message = "this request does not come from a page of the gateway, or of its `public_url`"
        raise refusal(web.HTTPForbidden, "cross_site", message)

    def _require_use_by_us(self, request: web.Request, *, writes: bool) -> None:
        """The cookie came along; what it is good for depends on who asks. A link may lead here from anywhere."""
        headers = request.headers
        is_foreign = headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
        is_socket = "Upgrade" in headers  # whose answers no browser holds back from other origins
        if writes or is_socket or (is_foreign and headers.get("Sec-Fetch-Mode") != "navigate"):
            self.require_our_page(request)
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if writes and request.body_exists and kind in _FORM_TYPES:
            raise refusal(web.HTTPUnsupportedMediaType, "not_json", "the body must be JSON, and say so")

    # ── Sessions ────────────────────────────────────────────────────────────────────────────────────────────────

    def session_of(self, request: web.Request, *, is_use: bool = True) -> Kind | None:
        """What the cookie of a request allows; None: it has none, or its session has ended."""
        session_id = request.cookies.get(self._cookie(request), "")
        return self._sessions.find(session_id, self._clock(), is_use=is_use) if session_id else None

    def try_out(self, request: web.Request, token: str) -> Kind | None:
        """
        What a token that somebody shows at the log-in allows; None: it is not one of ours.

        Raises:
            TooManyGuesses: this address has shown too many wrong ones.
        """
        return self._tokens.try_out(token, self._address_of(request))

    def log_in(self, request: web.Request, response: web.StreamResponse, kind: Kind) -> None:
        """Begin a session, whose cookie goes with this answer; the one that the request was of ends."""
        name = self._cookie(request)
        self._sessions.end(request.cookies.get(name, ""))
        session_id = secrets.token_urlsafe(32)
        self._sessions.begin(session_id, kind, self._clock())
        secure = self._is_secure(request)
        response.set_cookie(name, session_id, path="/", httponly=True, samesite="Lax", secure=secure)

    def log_out(self, request: web.Request, response: web.StreamResponse) -> None:
        """End the session of a request; a copy of its cookie is good for nothing, either."""
        name = self._cookie(request)
        self._sessions.end(request.cookies.get(name, ""))
        response.del_cookie(name, path="/", httponly=True, samesite="Lax", secure=self._is_secure(request))

    def _trade(self, request: web.Request) -> NoReturn:
        """To the same address without the token, which becomes a session: it does not stay in bar and history."""
        there = local_path(str(request.rel_url.without_query_params("token")))
        try:
            kind = self.try_out(request, request.query["token"])
        except TooManyGuesses as error:
            headers = {"Retry-After": str(error.wait_s)}
            raise refusal(web.HTTPTooManyRequests, "rate_limited", str(error), headers=headers) from None
        if kind is None and self.session_of(request) is None:
            raise _to_login(there)
        answer = web.HTTPSeeOther(there)
        if kind is not None:
            self.log_in(request, answer, kind)
        raise answer

    def _cookie(self, request: web.Request) -> str:
        """Its name has the port: cookies do not tell ports apart, and two gateways may share a host."""
        port = re.search(r":(\d{1,5})$", request.host)
        return f"{'__Host-' if self._is_secure(request) else ''}gateway_session{f'_{port[1]}' if port else ''}"

    def _is_secure(self, request: web.Request) -> bool:
        """
        Whether the browser came by TLS: to us, or to a proxy.

        One in the own network may come without although `public_url` is https. It would throw a Secure cookie away, and
        each log-in would lead back to the log-in.
        """
        # Some proxies (Traefik) name the scheme of a WebSocket `wss`: the cookie must have the same name there.
        if request.secure or request.headers.get("X-Forwarded-Proto", "").lower() in ("https", "wss"):
            return True
        public = urlsplit(self._public_url or "")
        return public.scheme == "https" and hostname(request.host) in (public.hostname, *_LOOPBACK)


def refusal(
    kind: type[web.HTTPError], code: str, message: str, *, headers: dict[str, str] | None = None
) -> web.HTTPException:
    """
    An error as `/api` answers it.

    Args:
        kind: of the answer, such as `web.HTTPNotFound`.
        code: stable snake_case name of the case.
        message: for people.
    """
    body = json.dumps({"error": code, "message": message})
    return kind(text=body, content_type="application/json", headers=headers)


def _to_login(there: str) -> web.HTTPException:
    return web.HTTPSeeOther("/login" if there == "/" else f"/login?next={quote(there, safe='/')}")


def _is_page(request: web.Request) -> bool:
    """Whether a browser shows the answer, rather than a script reading it."""
    is_api = request.path == "/api" or request.path.startswith("/api/")
    return request.method in ("GET", "HEAD") and not is_api and "Upgrade" not in request.headers


def _stranger(request: web.Request) -> web.HTTPException:
    if _is_page(request):
        return _to_login(local_path(str(request.rel_url)))
    return refusal(web.HTTPUnauthorized, "unauthorized", "a token is needed", headers={"WWW-Authenticate": "Bearer"})
