"""
The process: rooms put together, routes, readiness, and the way down.

Everything that outlives a call is owned here. `serving` is the whole life of a gateway: what it starts it has stopped
when it returns, in the order that loses nothing: no new calls, calls to their end, the outbox as far as time allows.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from urllib.parse import quote

import structlog
from aiohttp import web

from gateway import telemetry
from gateway.admission import Calls
from gateway.browser_phone import BrowserPhone
from gateway.config import Settings
from gateway.engines.pool import SPHINX
from gateway.front_door import DoorSite, FrontDoor
from gateway.garbage import GarbageWatch
from gateway.health import Health
from gateway.house import House, open_house
from gateway.live.access import Access
from gateway.live.feed_routes import FeedRoutes
from gateway.live.history import History
from gateway.live.login import Login
from gateway.live.meters import Meters
from gateway.live.openapi import ApiDocument
from gateway.live.operations import OPERATIONS
from gateway.live.outbox_view import OutboxView
from gateway.live.pages import Pages
from gateway.live.settings_view import SettingsView
from gateway.outbox import Outbox
from gateway.outbox.endpoint import endpoints_of
from gateway.speech_api.overview import Overview
from gateway.speech_api.routes import SpeechApi
from gateway.speech_api.uploads import Uploads
from gateway.tls import ServerCertificate
from gateway.twilio_routes import TwilioRoutes

log = structlog.get_logger()

OUTBOX_DRAIN_S = 10.0
"""How long the way down may take for deliveries; what is left is delivered after the next start."""
HANDLERS_S = 2.0
MAX_BODY_BYTES = 64 * 1024
_HANDSHAKE = ("Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that serves: where, and with which token."""

    host: str
    port: int
    api_token: str = field(repr=False)
    outbox: Outbox
    calls: Calls
    has_tls: bool = False

    @property
    def url(self) -> str:
        """For whoever is on this machine."""
        return f"http{self._secure}://{self._place}"

    @property
    def console_url(self) -> str:
        """The console, for a browser; the token in it becomes a cookie, and leaves the address."""
        return f"{self.url}/?token={quote(self.api_token, safe='')}"

    @property
    def stream_url(self) -> str:
        """Where Twilio's dialect is spoken."""
        return f"ws{self._secure}://{self._place}/twilio/stream"

    @property
    def _secure(self) -> str:
        return "s" if self.has_tls else ""

    @property
    def _place(self) -> str:
        """Host and port; a host that means all addresses is one to listen on, not one to ask."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@asynccontextmanager
async def serving(settings: Settings, *, engine: str = SPHINX) -> AsyncIterator[Gateway]:
    """
    Serve while the context lasts; leaving it drains.

    Args:
        settings: all of them.
        engine: `module:factory` of the embedded recogniser; see `engines.worker.Engines`.

    Raises:
        ConfigError: the certificate or the file of rules cannot be used.
        StorageError: the data folder cannot be used.
        UnavailableError: the address to listen on is taken or not ours.
    """
    certificate = ServerCertificate(settings.tls) if settings.tls.certificate else None
    token = settings.api_token.get_secret_value() if settings.api_token else secrets.token_urlsafe(24)
    async with AsyncExitStack() as stack:
        house = await open_house(stack, settings, engine)
        calls = Calls(settings.limits.max_calls, house.rooms.budget)
        await stack.enter_async_context(GarbageWatch(lambda: len(calls)))
        house.background.start(Meters(house.views.feed, calls.readings).run, name="meters")
        door = FrontDoor(settings.limits)
        runner = web.AppRunner(
            _application(settings, house, calls, door, token),
            access_log=None,
            shutdown_timeout=HANDLERS_S,
            keepalive_timeout=settings.limits.keepalive_timeout_s,
        )
        await runner.setup()
        try:
            async with calls:  # gone before the runner is: it would wait for the handlers of calls that go on
                host, port = await _listen(runner, door, settings, certificate)
                telemetry.ACCEPTING_CALLS.set(1)
                log.info("gateway_started", host=host, port=port, profile=settings.stt.default)
                yield Gateway(host, port, token, house.outbox, calls, certificate is not None)
                log.info("gateway_draining", calls=len(calls))
                await calls.drain(settings.drain_timeout_s, settings.stt.drain_s + HANDLERS_S)
                await house.outbox.drain(OUTBOX_DRAIN_S)
        finally:
            await runner.cleanup()
    log.info("gateway_stopped")


def _application(settings: Settings, house: House, calls: Calls, door: FrontDoor, token: str) -> web.Application:
    app = web.Application(middlewares=[door.middleware, _one_edge], client_max_size=MAX_BODY_BYTES)
    read_token = settings.api_read_token.get_secret_value() if settings.api_read_token else None
    access = Access(token, read_token, public_url=settings.public_url, address_of=door.client_key)
    Login(access).add_to(app)
    SettingsView(settings, access).add_to(app)
    Pages(access).add_to(app)
    History(access, house.views.reader, house.views.search, settings.data_dir).add_to(app)
    FeedRoutes(house.views.feed, house.views.past, access).add_to(app)
    TwilioRoutes(settings, calls, house.rooms).add_to(app)
    BrowserPhone(settings, calls, house.rooms, access).add_to(app)
    OutboxView(settings.data_dir, endpoints_of(settings.endpoints), access).add_to(app)
    ApiDocument(access, OPERATIONS, version("media-stream-gateway")).add_to(app)
    if settings.speech_api.enabled:
        recognizers = house.rooms.recognizers
        streams = SpeechApi(settings.speech_api, recognizers, token, is_draining=lambda: calls.is_draining)
        streams.add_to(app)
        profile = settings.speech_api.batch_profile or settings.speech_api.profile
        Uploads(streams, house.recordings, profile, settings.batch, settings.data_dir / "uploads").add_to(app)
        Overview(streams, settings.speech_api, settings.stt.profiles).add_to(app)
    Health(calls, house).add_to(app)
    return app


async def _listen(
    runner: web.AppRunner, door: FrontDoor, settings: Settings, certificate: ServerCertificate | None
) -> tuple[str, int]:
    await DoorSite(runner, door, settings.limits, settings.host, settings.port, certificate).start()
    host, port = runner.addresses[0][:2]
    return host, port


@web.middleware
async def _one_edge(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """The edge of every request: a bug costs this one, is logged once, and tells the client nothing of the inside."""
    if not all(request.headers.get(name, "").isascii() for name in _HANDSHAKE):  # which aiohttp stumbles over
        raise web.HTTPBadRequest(text="the headers of the handshake are not ASCII")
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except (ConnectionResetError, web.RequestPayloadError):  # the client left, or sent what its head did not announce
        return _problem(400, "request_broken", "the request did not arrive")
    except Exception as error:
        resource = request.match_info.route.resource
        log.exception("request_failed", route=resource.canonical if resource else None, exc_info=error)
        return _problem(500, "internal_error", "the gateway has a fault; its log says where")


def _problem(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": code, "message": message}, status=status)
