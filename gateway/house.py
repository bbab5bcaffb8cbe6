"""
What outlives calls, put together: the store and who reads it, the feed, the journal, the recognisers, recovery.

Opened before the first call can come, closed when the last one is over, in the order that loses nothing: what works in
the background first, then recovery, the journal, and the outbox last.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from gateway.assist.finder import CueFinder
from gateway.assist.rules_file import RulesFile
from gateway.background import Background
from gateway.config import Settings
from gateway.engines.pool import EnginePool
from gateway.journal import Journal
from gateway.live.feed import Feed, Spread
from gateway.live.feed_past import StoredPast
from gateway.live.reading import StoreReader
from gateway.live.redacted import MaskedEvents, MaskedPartials, mask_key, show_masked
from gateway.live.search import Search
from gateway.loop_watch import LoopWatch
from gateway.media.tape import Budget
from gateway.muting import Muting
from gateway.outbox import Outbox
from gateway.post_call import PostCall
from gateway.recovery import Recovery
from gateway.redaction import Redaction
from gateway.rooms import Rooms
from gateway.stt.outages import Outages
from gateway.stt.profiles import ProfiledRecognizers
from gateway.stt.recordings import ProfiledRecordings


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """
    What people look at.

    Args:
        reader: of the history.
        past: of the feed, on a connection of its own.
        feed: what happens now.
        search: over what was said.
    """

    reader: StoreReader
    past: StoredPast
    feed: Feed
    search: Search


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The rooms that outlive calls, and what watches over them."""

    outbox: Outbox
    journal: Journal | None
    recordings: ProfiledRecordings
    rooms: Rooms
    views: Views
    loop_watch: LoopWatch
    background: Background


async def open_house(stack: AsyncExitStack, settings: Settings, engine: str) -> House:
    """
    Start what outlives calls; the stack stops it again.

    Args:
        engine: `module:factory` of the embedded recogniser; see `engines.worker.Engines`.

    Raises:
        ConfigError: the file of rules cannot be used.
        StorageError: the data folder cannot be used.
    """
    rules = RulesFile(settings.assist.rules_file) if settings.assist.rules_file else None
    cues = (lambda: CueFinder(lambda: rules.book)) if rules else None
    redaction = Redaction(settings.redaction)
    outbox = await stack.enter_async_context(
        Outbox(settings.data_dir, settings.endpoints, settings.outbox, redaction=redaction)
    )
    views, masked = await _open_views(stack, settings, redaction, outbox)
    journal = None
    if settings.journal.enabled:
        journal = await stack.enter_async_context(Journal(settings.data_dir / "journal", settings.journal))
    recognizers, recordings = await _open_recognizers(stack, settings, engine)
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
    rooms = Rooms(
        recognizers=recognizers,
        sink=Spread(outbox, views.feed),
        stt=settings.stt,
        limits=settings.limits,
        budget=Budget(settings.limits.buffer_mb * 2**20),
        outages=outages,
        journal=journal,
        hand_over=recovery.take,
        post_call=post_call,
        cues=cues,
    )
    loop_watch = LoopWatch()
    background = await stack.enter_async_context(Background())
    background.start(post_call.run, name="recordings-prune")
    background.start(loop_watch.run, name="loop-watch")
    background.start(views.search.run, name="search")
    if masked is not None:
        background.start(masked.run, name="feed-mask")
    if rules is not None:
        background.start(rules.run, name="rules-file")
    return House(
        outbox=outbox,
        journal=journal,
        recordings=recordings,
        rooms=rooms,
        views=views,
        loop_watch=loop_watch,
        background=background,
    )


async def _open_views(
    stack: AsyncExitStack, settings: Settings, redaction: Redaction, outbox: Outbox
) -> tuple[Views, MaskedEvents | None]:
    """What people look at, and what masks what happens now on its way there, if anything is to."""
    mask = redaction.viewers
    show = partial(show_masked, mask=mask) if mask is not None else None
    reader = await stack.enter_async_context(StoreReader(settings.data_dir, prepare=show))
    past = StoredPast(await stack.enter_async_context(StoreReader(settings.data_dir, prepare=show)))
    feed = Feed(
        past,
        max_viewers=settings.live.max_viewers,
        unread_s=settings.live.viewer_timeout_s,
        encode=MaskedPartials(mask).encode if mask else None,
    )
    masked = MaskedEvents(feed, mask) if mask is not None and not settings.redaction.store else None
    outbox.add_listener(masked.note if masked is not None else feed.note)
    search = await stack.enter_async_context(Search(settings.data_dir, reader, mask_key(settings.redaction)))
    outbox.add_listener(search.note)
    return Views(reader=reader, past=past, feed=feed, search=search), masked


async def _open_recognizers(
    stack: AsyncExitStack, settings: Settings, engine: str
) -> tuple[ProfiledRecognizers, ProfiledRecordings]:
    """Of calls, and of whole recordings."""
    warm = settings.stt.profiles[settings.stt.default].kind == "local"
    engines = await stack.enter_async_context(EnginePool(settings.engine, engine=engine, warm=warm))
    recognizers = ProfiledRecognizers(settings.stt.profiles, engines.open)
    return recognizers, ProfiledRecordings(settings.stt.profiles, recognizers, settings.batch)


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
