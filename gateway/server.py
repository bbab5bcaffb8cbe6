"""
The process: rooms put together, routes, readiness, and the way down.

Everything that outlives a call is owned here. `serving` is the whole life of a gateway: what it starts it has stopped
when it returns, in the order that loses nothing: no new calls, calls to their end, the outbox as far as time allows.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

import structlog
from aiohttp import web

from gateway import telemetry
from gateway.admission import Calls
from gateway.assist.finder import CueFinder
from gateway.assist.rules_file import RulesFile
from gateway.browser_phone import BrowserPhone
from gateway.config import Settings
from gateway.engines.pool import SPHINX, EnginePool
from gateway.front_door import DoorSite, FrontDoor
from gateway.garbage import GarbageWatch
from gateway.journal import Journal
from gateway.live.access import Access
from gateway.live.feed import Feed, Spread
from gateway.live.feed_past import StoredPast
from gateway.live.feed_routes import FeedRoutes
from gateway.live.history import History
from gateway.live.login import Login
from gateway.live.meters import Meters
from gateway.live.openapi import ApiDocument
from gateway.live.operations import OPERATIONS
from gateway.live.outbox_view import OutboxView
from gateway.live.pages import Pages
from gateway.live.reading import StoreReader
from gateway.live.redacted import MaskedEvents, MaskedPartials, show_masked
from gateway.live.search import Search
from gateway.live.settings_view import SettingsView
from gateway.loop_watch import LoopWatch
from gateway.media.tape import Budget
from gateway.muting import Muting
from gateway.outbox import Outbox
from gateway.outbox.endpoint import endpoints_of
from gateway.post_call import PostCall
from gateway.recovery import Recovery
from gateway.redaction import Redaction
from gateway.rooms import Rooms
from gateway.speech_api.overview import Overview
from gateway.speech_api.routes import SpeechApi
from gateway.speech_api.uploads import Uploads
from gateway.stt.outages import Outages
from gateway.stt.profiles import ProfiledRecognizers
from gateway.stt.recordings import ProfiledRecordings
from gateway.stt.together import Together
from gateway.ticker import Ticker
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
    api_token: str
    outbox: Outbox
    calls: Calls
    has_tls: bool = False

    @property
    def url(self) -> str:
        return f"http{'s' if self.has_tls else ''}://{self.host}:{self.port}"

    @property
    def console_url(self) -> str:
        """The console, for a browser on this machine; the token in it becomes a cookie, and leaves the address."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return f"http{'s' if self.has_tls else ''}://{host}:{self.port}/?token={self.api_token}"

    @property
    def stream_url(self) -> str:
        """Where Twilio's dialect is spoken."""
        return f"ws{'s' if self.has_tls else ''}://{self.host}:{self.port}/twilio/stream"


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
        house = await _open_house(stack, settings, engine)
        calls = Calls(settings.limits.max_calls, house.rooms.budget)
        await stack.enter_async_context(GarbageWatch(lambda: len(calls)))
        background = await stack.enter_async_context(_Background())
        background.start(Meters(house.feed, calls.readings).run(), name="meters")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _House:
    """The rooms that outlive calls, and what watches over them."""

    outbox: Outbox
    journal: Journal | None
    recordings: ProfiledRecordings
    rooms: Rooms
    reader: StoreReader
    past: StoredPast
    feed: Feed
    search: Search
    loop_watch: LoopWatch


async def _open_house(stack: AsyncExitStack, settings: Settings, engine: str) -> _House:
    """Start what outlives calls; the stack stops it again: recovery before the journal, the outbox last."""
    rules = RulesFile(settings.assist.rules_file) if settings.assist.rules_file else None
    cues = (lambda: CueFinder(lambda: rules.book)) if rules else None
    redaction = Redaction(settings.redaction)
    outbox = await stack.enter_async_context(
        Outbox(settings.data_dir, settings.endpoints, settings.outbox, redaction=redaction)
    )
    viewers = redaction.viewers
    show = partial(show_masked, mask=viewers) if viewers is not None else None
    reader = await stack.enter_async_context(StoreReader(settings.data_dir, prepare=show))
    past = StoredPast(await stack.enter_async_context(StoreReader(settings.data_dir, prepare=show)))
    feed = Feed(
        past,
        max_viewers=settings.live.max_viewers,
        unread_s=settings.live.viewer_timeout_s,
        encode=MaskedPartials(viewers).encode if viewers else None,
    )
    masked = MaskedEvents(feed, viewers) if viewers is not None and not settings.redaction.store else None
    outbox.add_listener(masked.note if masked is not None else feed.note)
    search = await stack.enter_async_context(Search(settings.data_dir, reader))
    outbox.add_listener(search.note)
    journal = None
    if settings.journal.enabled:
        journal = await stack.enter_async_context(Journal(settings.data_dir / "journal", settings.journal))
    warm = settings.stt.profiles[settings.stt.default].kind == "local"
    engines = await stack.enter_async_context(EnginePool(settings.engine, engine=engine, warm=warm))
    recognizers = ProfiledRecognizers(settings.stt.profiles, engines.open)
    recordings = ProfiledRecordings(settings.stt.profiles, recognizers, settings.batch)
    post_call = _post_call(settings, recordings, outbox, redaction)
    outages = Outages()
    recovery = Recovery(
        outbox,
        journal,
        recognizers,
        recordings,
        stt=settings.stt,
        settings=settings.journal,
        folder=settings.data_dir,
        outages=outages,
        post_call=post_call,
        cues=cues,
    )
    await stack.enter_async_context(recovery)
    await recovery.resume()
    ticker = Ticker()
    rooms = Rooms(
        recognizers=recognizers,
        sink=Spread(outbox, feed),
        stt=settings.stt,
        limits=settings.limits,
        budget=Budget(settings.limits.buffer_mb * 2**20),
        outages=outages,
        journal=journal,
        hand_over=recovery.take,
        post_call=post_call,
        cues=cues,
        ticker=ticker,
        together=Together(ticker.soon),
    )
    loop_watch = LoopWatch()
    background = await stack.enter_async_context(_Background())
    background.start(post_call.run(), name="recordings-prune")
    background.start(loop_watch.run(), name="loop-watch")
    if masked is not None:
        background.start(masked.run(), name="feed-mask")
    if rules is not None:
        background.start(rules.run(), name="rules-file")
    background.start(search.run(), name="search")
    return _House(
        outbox=outbox,
        journal=journal,
        recordings=recordings,
        rooms=rooms,
        reader=reader,
        past=past,
        feed=feed,
        search=search,
        loop_watch=loop_watch,
    )


def _application(settings: Settings, house: _House, calls: Calls, door: FrontDoor, token: str) -> web.Application:
    app = web.Application(middlewares=[door.middleware, _one_edge], client_max_size=MAX_BODY_BYTES)
    read_token = settings.api_read_token.get_secret_value() if settings.api_read_token else None
    access = Access(token, read_token, public_url=settings.public_url, address_of=door.client_key)
    Login(access).add_to(app)
    SettingsView(settings, access).add_to(app)
    Pages(access).add_to(app)
    History(access, house.reader, house.search, settings.data_dir).add_to(app)
    FeedRoutes(house.feed, house.past, access).add_to(app)
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
    _Health(calls, house).add_to(app)
    return app


class _Background:
    """Tasks that end with the process."""

    def __init__(self) -> None:
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run `work` until the context is left."""
        self._running.append(self._tasks.create_task(work, name=name))


def _post_call(settings: Settings, recordings: ProfiledRecordings, outbox: Outbox, redaction: Redaction) -> PostCall:
    name = settings.post_call.profile
    # A batch service tells speakers apart by itself; a recogniser of live audio hears each track alone.
    apart = name is not None and not settings.stt.profiles[name].is_batch
    muting = Muting(outbox, redaction.recording, settings.redaction.margin_s) if redaction.recording else None
    return PostCall(
        settings.post_call,
        settings.recording,
        recordings,
        settings.data_dir,
        apart=apart,
        muted=muting.spans_of if muting else None,
    )


async def _listen(
    runner: web.AppRunner, door: FrontDoor, settings: Settings, certificate: ServerCertificate | None
) -> tuple[str, int]:
    await DoorSite(runner, door, settings.limits, settings.host, settings.port, certificate).start()
    host, port = runner.addresses[0][:2]
    return host, port


class _Health:
    """What orchestrators and monitoring ask."""

    def __init__(self, calls: Calls, house: _House) -> None:
        self._calls = calls
        self._house = house

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/healthz", self.alive)
        app.router.add_get("/readyz", self.ready)
        app.router.add_get("/metrics", self.metrics)

    async def alive(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(self, _request: web.Request) -> web.Response:
        journal = self._house.journal
        troubles = {
            "draining": self._calls.is_draining,
            "outbox_not_writable": not self._house.outbox.is_writable,
            "journal_not_writable": journal is not None and not journal.is_writable,
            "event_loop_late": self._house.loop_watch.is_lagging,
        }
        reasons = [name for name, is_so in troubles.items() if is_so]
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
    if not all(request.headers.get(name, "").isascii() for name in _HANDSHAKE):  # which aiohttp stumbles over
        raise web.HTTPBadRequest(text="the headers of the handshake are not ASCII")
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except (ConnectionResetError, web.RequestPayloadError):  # the client left, or sent what its head did not announce
        return web.json_response({"error": "the request did not arrive"}, status=400)
    except Exception as error:
        resource = request.match_info.route.resource
        log.exception("request_failed", route=resource.canonical if resource else None, exc_info=error)
        return web.json_response({"error": "internal error"}, status=500)
