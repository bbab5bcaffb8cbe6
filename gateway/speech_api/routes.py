"""
The door of the served speech APIs: who may come in, with what, and with how many others.

Everything that can be refused is refused before the upgrade, with an HTTP status and a JSON body, because that is the
only answer every WebSocket client shows its user. The recogniser, too, is opened before the upgrade, where the request
says for what: a client sends no audio before it sees status 101.
"""

import asyncio
import contextlib
import functools
import hmac
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from uuid import uuid4

import msgspec
import structlog
from aiohttp import web
from msgspec import structs

from gateway.config import SpeechApiSettings
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import RecognizerRequest
from gateway.speech_api.base import GOING_AWAY, RequestRefused, Session, SessionFactory
from gateway.speech_api.conversation import Conversation, Engine
from gateway.speech_api.lightning import open_lightning
from gateway.speech_api.pulse import open_get_text, open_live
from gateway.speech_api.slng import HTTP_CODES as SLNG_CODES
from gateway.speech_api.slng import open_slng
from gateway.stt.base import Recognizers
from gateway.telemetry import SPEECH_API_ERRORS, SPEECH_API_SESSIONS
from telephony_codecs.convert import Converter

ROUTES: dict[str, tuple[str, SessionFactory]] = {
    "/waves/v1/pulse/get_text": ("pulse", open_get_text),
    "/api/v1/pulse/get_text": ("pulse", open_get_text),  # as the vendor's cookbook has it
    "/waves/v1/stt/live": ("live", open_live),
    "/api/v1/lightning/get_text": ("lightning", open_lightning),
    "/waves/v1/lightning/get_text": ("lightning", open_lightning),  # as the vendor's later pages had it
    "/v1/stt/slng/deepgram/nova:3-en": ("slng", open_slng),
    "/v1/bridges/unmute/stt/{model:.+}": ("slng", open_slng),  # the same messages for whatever model
}

# Clients send a few kilobytes at a time; some send a whole second of 48 kHz.
LARGEST_MESSAGE_BYTES = 1 << 20
RETRY_AFTER_S = 5

log = structlog.get_logger()


class SpeechApi:
    """
    Serves speech-to-text clients.

    Args:
        settings: of this room.
        recognizers: open the engine behind `settings.profile`.
        token: what clients must present, unless `settings.anonymous`.
        is_draining: while true, new sessions get 503.
    """

    def __init__(
        self,
        settings: SpeechApiSettings,
        recognizers: Recognizers,
        token: str,
        *,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._recognizers = recognizers
        self._token = token
        self._is_draining = is_draining
        self._held = 0
        self._conversations: set[Conversation] = set()

    @property
    def active(self) -> int:
        """Sessions that are open or being opened."""
        return self._held

    def add_to(self, app: web.Application) -> None:
        """Serve every path, and close what is open with 1001 when the application shuts down."""
        for path, (name, open_session) in ROUTES.items():
            app.router.add_get(path, self._handler(name, open_session), allow_head=False)
        app.on_shutdown.append(self._shut_down)

    def _handler(
        self, name: str, open_session: SessionFactory
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            session_id = uuid4().hex
            with structlog.contextvars.bound_contextvars(session_id=session_id, route=name):
                try:
                    self.authorize(request)
                    now = asyncio.get_running_loop().time()
                    session = open_session(request.query, self._settings, session_id, now)
                    with self.place():
                        return await self._serve(request, name, session, session_id)
                except RequestRefused as refusal:
                    return _refuse(name, session_id, refusal)

        return handle

    async def _serve(self, request: web.Request, name: str, session: Session, session_id: str) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False, autoping=False, max_msg_size=LARGEST_MESSAGE_BYTES)
        if not socket.can_prepare(request):
            raise RequestRefused("this path speaks WebSocket", code="not_a_websocket", status=426)
        async with contextlib.AsyncExitStack() as stack:
            open_engine = functools.partial(self._open_engine, session_id=session_id)
            if session.request is not None:
                try:
                    engine = await stack.enter_async_context(open_engine(session.request))
                except (RecognizerUnavailable, RecognizerProtocolError) as error:
                    raise _unavailable(error) from error
                open_engine = functools.partial(_as_it_is, engine)
            try:
                await socket.prepare(request)
            except ConnectionError as error:
                raise RequestRefused("the client has left", code="client_left", status=499) from error
            conversation = Conversation(
                socket,
                lambda: _abort(request),
                session,
                open_engine,
                buffer_bytes=self._settings.buffer_mb << 20,
                route=name,
            )
            await self._run(conversation, name)
        return socket

    @contextlib.asynccontextmanager
    async def _open_engine(self, request: RecognizerRequest, session_id: str) -> AsyncIterator[Engine]:
        format_ = self._recognizers.audio_format(self._settings.profile, request.format)
        wanted = structs.replace(request, format=format_, call_id=session_id)
        async with self._recognizers.open(self._settings.profile, wanted) as recognizer:
            yield Engine(recognizer, Converter(request.format, format_))

    async def _run(self, conversation: Conversation, name: str) -> None:
        log.info("speech_api_session_started")
        self._conversations.add(conversation)
        try:
            await conversation.run()
        finally:
            self._conversations.discard(conversation)
            SPEECH_API_SESSIONS.labels(name, conversation.outcome).inc()
            log.info(
                "speech_api_session_ended",
                outcome=conversation.outcome,
                audio_bytes=conversation.audio_bytes,
                finals=conversation.finals,
            )

    async def _shut_down(self, _app: web.Application) -> None:
        for conversation in list(self._conversations):
            await conversation.stop(GOING_AWAY)

    # ── Who may come in ─────────────────────────────────────────────────────────────────────────────────────────

    def presented_key(self, request: web.Request) -> str:
        """The header first, then `?token=` and `?api_key=` for browsers, which cannot set headers; may be empty."""
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        presented = bearer.strip() if scheme.lower() == "bearer" else ""
        return presented or request.query.get("token", "") or request.query.get("api_key", "")

    def authorize(self, request: web.Request) -> None:
        """
        Let in who has the key.

        Raises:
            RequestRefused: 401.
        """
        presented = self.presented_key(request)
        if not presented and self._settings.anonymous:
            return
        if not presented:
            raise RequestRefused("an API key is required", code="unauthorized", status=401)
        if not hmac.compare_digest(presented.encode(errors="surrogateescape"), self._token.encode()):
            raise RequestRefused("the API key is not valid", code="unauthorized", status=401)

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """One of the sessions that may be held at once."""
        if self._is_draining():
            raise RequestRefused("shutting down", code="draining", status=503, retry_after_s=RETRY_AFTER_S)
        if self._held >= self._settings.max_sessions:
            raise RequestRefused("too many sessions", code="too_many_sessions", status=429, retry_after_s=RETRY_AFTER_S)
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1


@contextlib.asynccontextmanager
async def _as_it_is(engine: Engine, _request: RecognizerRequest) -> AsyncIterator[Engine]:
    """An engine that is open already; whoever opened it closes it."""
    yield engine


def _unavailable(error: RecognizerUnavailable | RecognizerProtocolError) -> RequestRefused:
    asked_s = error.retry_after_s if isinstance(error, RecognizerUnavailable) else None
    retry_after_s = math.ceil(asked_s or RETRY_AFTER_S) if error.retryable else None
    return RequestRefused("no recogniser is available", code=error.code, status=503, retry_after_s=retry_after_s)


def _refuse(name: str, session_id: str, refusal: RequestRefused) -> web.Response:
    SPEECH_API_ERRORS.labels(name, refusal.code).inc()
    log.warning("speech_api_request_refused", code=refusal.code, status=refusal.status)
    headers = {"X-Request-Id": session_id}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status == 426:
        headers["Upgrade"] = "websocket"
    message = str(refusal)
    body = {"type": "error", "status": "error", "error_code": refusal.code, "message": message, "error": message}
    if name == "slng":
        body["code"] = SLNG_CODES.get(refusal.code, refusal.code)
    return web.Response(
        status=refusal.status, headers=headers, body=msgspec.json.encode(body), content_type="application/json"
    )


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
