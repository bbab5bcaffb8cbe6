"""Twilio's way in: the voice webhook, the stream status callback, and the media stream."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import NoReturn
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError

from gateway import telemetry
from gateway.admission import Calls
from gateway.config import Settings
from gateway.dialects import twilio_signature, twiml
from gateway.dialects.twilio import TwilioDialect
from gateway.dialects.twilio_signature import BODY_PARAMETER, is_body_intact
from gateway.rooms import Rooms
from gateway.stream_route import StreamRoute
from gateway.stream_tokens import KEY_BYTES, NONCE_BYTES, StreamTokens, TokenRefused, derived_key

log = structlog.get_logger()

STREAM_PATH = "/twilio/stream"
STATUS_PATH = "/twilio/status"
_PASSED_ON_PREFIX = "SipHeader_"
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class TwilioRoutes:
    """
    The three Twilio routes.

    A request whose signature does not match is answered 403 (Twilio reports it as error 31920 for streams, 11200 for
    webhooks), as is a stream whose one-time token is not good; a stream too many, or while draining, 503 with
    Retry-After.

    Args:
        settings: all of them.
        calls: the registry.
        rooms: behind each call.
        clock: Unix seconds, for the tokens.
    """

    def __init__(
        self, settings: Settings, calls: Calls, rooms: Rooms, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._route = StreamRoute(TwilioDialect.name, settings.limits, calls, rooms)
        self._clock = clock
        token = settings.twilio.auth_token
        key = secrets.token_bytes(KEY_BYTES) if token is None else derived_key(token.get_secret_value())
        self._tokens = StreamTokens(key, settings.twilio.token_ttl_s)

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        app.router.add_post("/twilio/voice", self.voice)
        app.router.add_post(STATUS_PATH, self.status)
        app.router.add_get(STREAM_PATH, self.stream)
        app.router.add_get(STREAM_PATH + "/{token}", self.stream)

    async def voice(self, request: web.Request) -> web.Response:
        """Answer a call with TwiML that starts a stream to this gateway."""
        form = await self._verified_form(request)
        parameters = {name: value for name, value in request.query.items() if name != BODY_PARAMETER}
        parameters |= {
            name.removeprefix(_PASSED_ON_PREFIX): value for name, value in form if name.startswith(_PASSED_ON_PREFIX)
        }
        numbers = {"From": twiml.FROM_PARAMETER, "To": twiml.TO_PARAMETER}
        parameters |= {numbers[name]: value for name, value in form if name in numbers}
        base = self._public_base(request)
        answer = twiml.stream_response(
            _as_websocket(base) + STREAM_PATH + self._token_path(form),
            mode=self._settings.twilio.mode,
            then=self._settings.twilio.then,
            status_callback=base + STATUS_PATH,
            parameters=parameters,
        )
        if answer.left_out:
            log.warning("twilio_parameters_left_out", names=answer.left_out)
        return web.Response(body=answer.xml, content_type="text/xml", charset="utf-8")

    def _token_path(self, form: list[tuple[str, str]]) -> str:
        """The end of the address of the stream that this call may open; a request that names no call gets none."""
        call_sid = dict(form).get("CallSid", "")
        if self._settings.twilio.stream_token == "off" or not call_sid:  # noqa: S105 - a choice, not a token
            return ""
        return "/" + self._tokens.issue(call_sid, self._clock(), secrets.token_bytes(NONCE_BYTES))

    async def status(self, request: web.Request) -> web.Response:
        """Note what Twilio says of a stream: started, stopped, or an error."""
        form = dict(await self._verified_form(request))
        event = form.get("StreamEvent", "")
        known = event if event in ("stream-started", "stream-stopped", "stream-error") else "unknown"
        telemetry.STREAM_STATUS.labels("twilio", known).inc()
        level = log.warning if known in ("stream-error", "unknown") else log.info
        # StreamError is free text: the error's number is enough for the log, and holds nothing of the call.
        number = re.search(r"\b3\d{4}\b", form.get("StreamError", ""))
        level(
            "twilio_stream_status",
            stream_event=known,
            stream_id=form.get("StreamSid"),
            error=int(number[0]) if number else None,
        )
        return web.Response(status=204)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """A media stream: one call from upgrade to end."""
        self._verify(request, (), websocket=True)
        return await self._route.run(request, lambda: self._dialect(request))

    def _dialect(self, request: web.Request) -> TwilioDialect:
        """For one stream, whose token is used up by that; see `_redeem` for what it raises."""
        is_expected = self._redeem(request.match_info.get("token"))
        return TwilioDialect(bidirectional=self._settings.twilio.mode == "connect", is_expected=is_expected)

    def _redeem(self, token: str | None) -> Callable[[str | None], bool]:
        """
        Use the stream's token up; what comes of it tells whether a CallSid is the one that it was made for.

        Raises:
            web.HTTPForbidden: it is not good, or there has to be one.
        """
        demanded = self._settings.twilio.stream_token
        if demanded == "off" or (demanded == "optional" and token is None):
            return lambda _call_sid: True
        try:
            admission = self._tokens.redeem(token, self._clock())
        except TokenRefused as error:
            telemetry.STREAM_TOKENS.labels(error.code.removeprefix("token_")).inc()
            log.warning("stream_token_refused", code=error.code)
            raise web.HTTPForbidden(text=str(error)) from None
        telemetry.STREAM_TOKENS.labels("redeemed").inc()
        return admission.is_for

    async def _verified_form(self, request: web.Request) -> list[tuple[str, str]]:
        """
        The fields of a webhook.

        Raises:
            web.HTTPForbidden: its signature is missing or wrong, or does not cover its body.
            web.HTTPRequestTimeout: its body does not come.
        """
        try:
            async with asyncio.timeout(self._settings.limits.handshake_timeout_s):
                fields = await request.post()
                body = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the body did not arrive in time") from None
        except (ValueError, LookupError, HttpProcessingError):  # no text, an unknown charset, parts without boundaries
            raise web.HTTPBadRequest(text="the body is not a form") from None
        form = [(name, value) for name, value in fields.items() if isinstance(value, str)]
        self._verify(request, form, websocket=False)
        is_covered = not body or request.content_type in _FORMS or is_body_intact(request.path_qs, body)
        if self._settings.twilio.auth_token is not None and not is_covered:
            self._refuse("body_not_covered", [])
        return form

    def _verify(self, request: web.Request, form: Iterable[tuple[str, str]], *, websocket: bool) -> None:
        """
        Check X-Twilio-Signature.

        Raises:
            web.HTTPForbidden: missing or wrong.
        """
        token = self._settings.twilio.auth_token
        if token is None:
            return
        base = self._public_base(request)
        if websocket:
            base = _as_websocket(base)  # as our own TwiML names it
        candidates = twilio_signature.url_candidates(base, request.path_qs, websocket=websocket)
        signature = request.headers.get("X-Twilio-Signature")
        if signature is not None and twilio_signature.matching_url(
            token.get_secret_value(), candidates, signature, form
        ):
            telemetry.SIGNATURES.labels("twilio", "valid").inc()
            return
        self._refuse("missing" if signature is None else "invalid", candidates)

    def _refuse(self, outcome: str, candidates: Iterable[str]) -> NoReturn:
        telemetry.SIGNATURES.labels("twilio", outcome).inc()
        computed_for = [_without_secrets(url) for url in candidates]
        log.warning("twilio_signature_refused", outcome=outcome, computed_for=computed_for)
        raise web.HTTPForbidden(text=f"X-Twilio-Signature: {outcome}")

    def _public_base(self, request: web.Request) -> str:
        """
        The address that Twilio used: as configured, else as the request names it.

        Raises:
            web.HTTPBadRequest: it names none.
        """
        if self._settings.public_url:
            return self._settings.public_url
        if not _HOST.fullmatch(request.host):
            raise web.HTTPBadRequest(text="Host is not an address")
        return f"{request.scheme}://{request.host}"


def _without_secrets(url: str) -> str:
    """Without the query, which may hold what the operator passes on, and without the token of a stream."""
    return re.sub(f"({STREAM_PATH}/)[^/?]+", r"\1…", url.partition("?")[0])


def _as_websocket(base: str) -> str:
    """Twilio takes `wss://` only; who ends TLS before us makes the request look plain. A simulator may do without."""
    parts = urlsplit(base)
    is_plain = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    return parts._replace(scheme="ws" if is_plain else "wss").geturl()
