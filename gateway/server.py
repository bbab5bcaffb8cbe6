"""
The process: rooms put together, routes, readiness, and the way down.

Everything that outlives a call is owned here. `serving` is the whole life of a gateway: what it starts it has stopped
when it returns, in the order that loses nothing: no new calls, calls to their end, the outbox as far as time allows.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web

from gateway import telemetry
from gateway.admission import Calls
from gateway.config import Settings
from gateway.engines.pool import SPHINX, EnginePool
from gateway.errors import UnavailableError
from gateway.outbox import Outbox
from gateway.post_call import PostCall
from gateway.recovery import end_orphans
from gateway.speech_api.overview import Overview
from gateway.speech_api.routes import SpeechApi
from gateway.speech_api.uploads import Uploads
from gateway.stt.profiles import ProfiledRecognizers
from gateway.stt.recordings import ProfiledRecordings
from gateway.twilio_routes import TwilioRoutes

log = structlog.get_logger()

OUTBOX_DRAIN_S = 10.0
"""How long the way down may take for deliveries; what is left is delivered after the next start."""
HANDLERS_S = 2.0
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that serves: where, and with which token."""

    host: str
    port: int
    api_token: str
    outbox: Outbox
    calls: Calls

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def stream_url(self) -> str:
        """Where Twilio's dialect is spoken."""
        return f"ws://{self.host}:{self.port}/twilio/stream"


@asynccontextmanager
async def serving(settings: Settings, *, engine: str = SPHINX) -> AsyncIterator[Gateway]:
    """
    Serve while the context lasts; leaving it drains.

    Args:
        settings: all of them.
        engine: `module:factory` of the embedded recogniser; see `engines.worker.Engines`.

    Raises:
        StorageError: the data folder cannot be used.
        UnavailableError: the address to listen on is taken or not ours.
    """
    calls = Calls(settings.limits.max_calls)
    token = settings.api_token.get_secret_value() if settings.api_token else secrets.token_urlsafe(24)
    outbox_ = Outbox(settings.data_dir, settings.endpoints, settings.outbox)
    warm = settings.stt.profiles[settings.stt.default].kind == "local"
    async with outbox_ as outbox, EnginePool(settings.engine, engine=engine, warm=warm) as engines:
        await end_orphans(outbox)
        recognizers = ProfiledRecognizers(settings.stt.profiles, engines.open)
        app = web.Application(middlewares=[_one_edge], client_max_size=MAX_BODY_BYTES)
        recordings = ProfiledRecordings(settings.stt.profiles, recognizers, settings.batch)
        TwilioRoutes(settings, calls, recognizers, outbox, _post_call(settings, recordings)).add_to(app)
        if settings.speech_api.enabled:
            streams = SpeechApi(settings.speech_api, recognizers, token, is_draining=lambda: calls.is_draining)
            streams.add_to(app)
            profile = settings.speech_api.batch_profile or settings.speech_api.profile
            Uploads(streams, recordings, profile, settings.batch, settings.data_dir / "uploads").add_to(app)
            Overview(streams, settings.speech_api, settings.stt.profiles).add_to(app)
        _Health(calls, outbox).add_to(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=HANDLERS_S)
        await runner.setup()
        try:
            async with calls:  # gone before the runner is: it would wait for the handlers of calls that go on
                host, port = await _listen(runner, settings)
                telemetry.ACCEPTING_CALLS.set(1)
                log.info("gateway_started", host=host, port=port, profile=settings.stt.default)
                yield Gateway(host, port, token, outbox, calls)
                log.info("gateway_draining", calls=len(calls))
                await calls.drain(settings.drain_timeout_s, settings.stt.drain_s + HANDLERS_S)
                await outbox.drain(OUTBOX_DRAIN_S)
        finally:
            await runner.cleanup()
    log.info("gateway_stopped")


def _post_call(settings: Settings, recordings: ProfiledRecordings) -> PostCall | None:
    name = settings.post_call.profile
    if name is None:
        return None
    # A batch service tells speakers apart by itself; a recogniser of live audio hears each track alone.
    apart = not settings.stt.profiles[name].is_batch
    return PostCall(settings.post_call, recordings, settings.data_dir / "recordings", apart=apart)


async def _listen(runner: web.AppRunner, settings: Settings) -> tuple[str, int]:
    site = web.TCPSite(runner, settings.host, settings.port)
    try:
        await site.start()
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}", code="cannot_listen"
        ) from None
    host, port = runner.addresses[0][:2]
    return host, port


class _Health:
    """What orchestrators and monitoring ask."""

    def __init__(self, calls: Calls, outbox: Outbox) -> None:
        self._calls = calls
        self._outbox = outbox

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/healthz", self.alive)
        app.router.add_get("/readyz", self.ready)
        app.router.add_get("/metrics", self.metrics)

    async def alive(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(self, _request: web.Request) -> web.Response:
        reasons = []
        if self._calls.is_draining:
            reasons.append("draining")
        if not self._outbox.is_writable:
            reasons.append("outbox_not_writable")
        return web.json_response(
            {"status": "not_ready" if reasons else "ready", "reasons": reasons}, status=503 if reasons else 200
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=telemetry.metrics_page(), headers={"Content-Type": "text/plain; version=0.0.4"})


@web.middleware
async def _one_edge(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """The edge of every request: a bug costs this one, is logged once, and tells the client nothing of the inside."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:
        resource = request.match_info.route.resource
        log.exception("request_failed", route=resource.canonical if resource else None, exc_info=error)
        return web.json_response({"error": "internal error"}, status=500)
