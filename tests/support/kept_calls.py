"""Calls that were held and kept, for the pages that show what was: each second of them is heard as `second <n>`."""

import asyncio
from typing import Any

import aiohttp

from gateway.server import Gateway
from tests.support.console import TOKEN
from tests.support.phone import Phone
from tests.support.whole_gateway import DEADLINE_S, phone

FRAMES_PER_S = 50


async def keep_call(served: Gateway, *, seconds: int = 4, call_sid: str = "CA1", **parameters: str) -> str:
    """
    Hold a call of two tracks and hang up.

    Returns:
        its id, once it has ended.
    """
    async with phone(served.stream_url) as caller:
        await caller.start("inbound", "outbound", call_sid=call_sid, **parameters)
        await speak(caller, seconds)
        await caller.stop()
        await caller.closed()
    return str((await until_call(served, call_sid, is_over=True))["id"])


async def speak(caller: Phone, seconds: int) -> None:
    """Both parties make so many seconds of noise."""
    for _ in range(seconds):
        for track in ("inbound", "outbound"):
            await caller.media(FRAMES_PER_S, track)


async def until_live_calls(served: Gateway, count: int) -> None:
    """Until the history has so many calls that go on, at most 200."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession(headers=headers) as client:
        while True:
            async with client.get(f"{served.url}/api/calls", params={"state": "live", "limit": 200}) as answer:
                if len((await answer.json())["calls"]) == count:
                    return


async def until_call(served: Gateway, call_sid: str, *, is_over: bool) -> dict[str, Any]:
    """The call as the history has it, once it is there, or over."""
    state = "ended" if is_over else "live"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession(headers=headers) as client:
        while True:
            async with client.get(f"{served.url}/api/calls", params={"state": state}) as answer:
                calls: list[dict[str, Any]] = (await answer.json())["calls"]
            for each in calls:
                if each["platform_call_id"] == call_sid:
                    return each


async def until_found(served: Gateway, typed: str, count: int) -> None:
    """Until the search has so many places of this: its index is a moment behind the store."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession(headers=headers) as client:
        while True:
            async with client.get(f"{served.url}/api/search", params={"q": typed}) as answer:
                if len((await answer.json())["hits"]) == count:
                    return
