"""The feed of a whole gateway while a call goes on: for a client of its API, and for a browser."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Page

from gateway.server import Gateway, serving
from tests.support.console import TOKEN, browser, gateway, open_page
from tests.support.cut_line import CutLine
from tests.support.feed_house import DEADLINE_S, EventSource, Told
from tests.support.pulse_server import PulseServer, PulseSession, recognise, say_nothing
from tests.support.whole_gateway import heard_by, phone, settings

FRAMES_PER_S = 50
LISTEN = """([types, token]) => {
    window.seen = [];
    window.waiting = [];
    window.until = (type, count) => new Promise(reached => {
        waiting.push([type, count, reached]);
        look();
    }).then(() => seen);
    const look = () => waiting.forEach(([type, count, reached]) => {
        if (seen.filter(each => each.type === type).length >= count) reached();
    });
    const source = new EventSource(`/api/events?token=${token}`);
    for (const type of types) {
        source.addEventListener(type, event => {
            seen.push({ type, id: event.lastEventId, ...JSON.parse(event.data).data });
            look();
        });
    }
    return new Promise(opened => source.addEventListener("open", opened, { once: true }));
}"""
TYPES = ["call.started", "transcript.partial", "transcript.final", "call.ended"]


@asynccontextmanager
async def watching(served: Gateway, query: str = "", **headers: str) -> AsyncIterator[EventSource]:
    shown = {"Authorization": f"Bearer {TOKEN}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(served.url) as session,
        session.get(f"/api/events{query}", headers=shown) as answer,
    ):
        yield EventSource(answer)


async def until_type(source: EventSource, type_: str) -> list[Told]:
    """The events up to the first of this type."""
    found: list[Told] = []
    while not found or found[-1].type != type_:
        told = await source.next()
        assert told is not None, "the stream has ended"
        found.append(told)
    return found


async def until_kept(served: Gateway, call_id: str, type_: str, count: int) -> None:
    """Until so many events of this type are in the store."""
    async with asyncio.timeout(DEADLINE_S):
        while [event.type for event in await served.outbox.events_of(call_id)].count(type_) < count:
            pass


async def test_a_call_is_seen_as_it_goes_on_and_after_a_break(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, phone(served.stream_url) as caller:
        async with watching(served) as source:
            await source.begun()
            await caller.start()
            await caller.media(FRAMES_PER_S)
            first = await until_type(source, "transcript.final")
        # Partials wait for no disk: one may come before the start of its call.
        kept = [told.type for told in first if told.type != "transcript.partial"]
        assert kept == ["call.started", "transcript.final"]
        await caller.media(FRAMES_PER_S)
        await until_kept(served, first[0].data["data"]["call"]["id"], "transcript.final", 2)
        async with watching(served, "?partials=0", Last_Event_ID=source.last_event_id) as again:
            await caller.stop()
            rest = await until_type(again, "call.ended")
        assert [told.data["data"]["sequence"] for told in rest] == list(range(3, 3 + len(rest)))
        assert rest[0].type == "transcript.final"


async def test_a_partial_of_a_call_reaches_the_feed(tmp_path: Path) -> None:
    async def hear(session: PulseSession) -> None:
        await session.receive_audio(0.5)
        await session.say("I'd like")
        await say_nothing()(session)

    async with (
        PulseServer(hear) as speech,
        serving(settings(tmp_path, stt=heard_by(speech) | {"drain_s": 0.1}, api_token=TOKEN)) as served,
        watching(served, "?types=transcript.partial") as source,
        phone(served.stream_url) as caller,
    ):
        await source.begun()
        await caller.start()
        await caller.media(FRAMES_PER_S)
        told = await source.next()
        assert told is not None
        assert told.data["data"]["text"] == "I'd like"


async def test_the_end_of_the_gateway_is_the_end_of_the_stream(tmp_path: Path) -> None:
    async with AsyncExitStack() as clients:
        async with gateway(tmp_path) as served:
            source = await clients.enter_async_context(watching(served))
            await source.begun()
        assert await source.next() is None  # in good order: cut off in the middle it would raise


async def test_a_browser_sees_a_call_and_resumes_after_its_connection_was_cut(tmp_path: Path) -> None:
    async def hear(session: PulseSession) -> None:
        await session.receive_audio(0.5)
        await session.say("I'd like")  # alone: with a final behind it nobody might be shown it
        await recognise()(session)

    async with (
        PulseServer(hear) as speech,
        gateway(tmp_path, stt=heard_by(speech)) as served,
        CutLine(served.port) as line,
        browser() as chromium,
        open_page(chromium, replace(served, port=line.port), "/assets/lib.js", token=None) as page,
        phone(served.stream_url) as caller,
    ):
        await page.evaluate(LISTEN, [TYPES, TOKEN])
        await caller.start()
        await _until(page, caller.media(FRAMES_PER_S // 2), "transcript.partial", 1)
        seen = await _until(page, caller.media(FRAMES_PER_S // 2), "transcript.final", 1)
        line.cut()
        await caller.media(FRAMES_PER_S)
        await until_kept(served, seen[0]["call"]["id"], "transcript.final", 2)
        await _until(page, _now(line.mend), "transcript.final", 2)
        seen = await _until(page, caller.stop(), "call.ended", 1)
        kept = [each for each in seen if each["type"] != "transcript.partial"]
        assert [each["sequence"] for each in kept] == list(range(1, len(kept) + 1))
        assert {each["type"] for each in seen} == set(TYPES)


async def _until(page: Page, cause: Awaitable[None], type_: str, count: int) -> Any:
    """What the page has seen once it has seen so many of a type, which `cause` brings about."""
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        seen = tasks.create_task(page.evaluate("([type, count]) => until(type, count)", [type_, count]))
        await cause
    return seen.result()


async def _now(act: Callable[[], None]) -> None:
    act()
