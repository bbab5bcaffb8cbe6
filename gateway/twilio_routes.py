"""Twilio's way in: the voice webhook, the stream status callback, and the media stream."""

import re
import uuid
from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from gateway import telemetry
from gateway.admission import Calls
from gateway.call import Call
from gateway.config import Settings
from gateway.dialects import twilio_signature, twiml
from gateway.dialects.twilio import TwilioDialect
from gateway.dialects.twilio_signature import BODY_PARAMETER, is_body_intact
from gateway.errors import CapacityError
from gateway.post_call import PostCall
from gateway.reporter import EventSink
from gateway.stt.base import Recognizers

log = structlog.get_logger()

STREAM_PATH = "/twilio/stream"
STATUS_PATH = "/twilio/status"
HEARTBEAT_S = 20.0
RETRY_AFTER_S = 5
_PASSED_ON_PREFIX = "SipHeader_"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class TwilioRoutes:
    """
    The three Twilio routes.

    A request whose signature does not match is answered 403 (Twilio reports it as error 31920 for streams, 11200 for
    webhooks); a stream too many, or while draining, 503 with Retry-After.
    """

    def __init__(
        self,
        settings: Settings,
        calls: Calls,
        recognizers: Recognizers,
        sink: EventSink,
        post_call: PostCall | None = None,
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._recognizers = recognizers
        self._sink = sink
        self._post_call = post_call

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        app.router.add_post("/twilio/voice", self.voice)
        app.router.add_post(STATUS_PATH, self.status)
        app.router.add_get(STREAM_PATH, self.stream)

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
            _as_websocket(base) + STREAM_PATH,
            mode=self._settings.twilio.mode,
            then=self._settings.twilio.then,
            status_callback=base + STATUS_PATH,
            parameters=parameters,
        )
        if answer.left_out:
            log.warning("twilio_parameters_left_out", names=answer.left_out)
        return web.Response(body=answer.xml, content_type="text/xml", charset="utf-8")

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
        limits = self._settings.limits
        try:
            with self._calls.place():
                socket = web.WebSocketResponse(
                    compress=False,
                    decode_text=False,
                    heartbeat=HEARTBEAT_S,
                    max_msg_size=limits.max_message_kb * 1024,
                )
                await socket.prepare(request)
                call = Call(
                    call_id=f"call_{uuid.uuid4().hex}",
                    dialect=TwilioDialect(bidirectional=self._settings.twilio.mode == "connect"),
                    socket=socket,
                    recognizers=self._recognizers,
                    sink=self._sink,
                    stt=self._settings.stt,
                    limits=limits,
                    post_call=self._post_call,
                )
                await self._calls.run(call)
                return socket
        except CapacityError as error:
            telemetry.CALLS_REFUSED.labels("twilio", error.code).inc()
            log.warning("call_refused", dialect="twilio", code=error.code)
            raise web.HTTPServiceUnavailable(text=str(error), headers={"Retry-After": str(RETRY_AFTER_S)}) from None

    async def _verified_form(self, request: web.Request) -> list[tuple[str, str]]:
        """
        The fields of a webhook.

        Raises:
            web.HTTPForbidden: its signature is missing or wrong, or does not cover its body.
        """
        form = [(name, value) for name, value in (await request.post()).items() if isinstance(value, str)]
        self._verify(request, form, websocket=False)
        body = await request.read()
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
        # Without the query, which may hold what the operator passes on.
        computed_for = [url.partition("?")[0] for url in candidates]
        log.warning("twilio_signature_refused", outcome=outcome, computed_for=computed_for)
        raise web.HTTPForbidden(text=f"X-Twilio-Signature: {outcome}")

    def _public_base(self, request: web.Request) -> str:
        """The address that Twilio used: as configured, else as the request names it."""
        return self._settings.public_url or f"{request.url.scheme}://{request.host}"


def _as_websocket(base: str) -> str:
    """Twilio takes `wss://` only; who ends TLS before us makes the request look plain. A simulator may do without."""
    parts = urlsplit(base)
    is_plain = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    return parts._replace(scheme="ws" if is_plain else "wss").geturl()
