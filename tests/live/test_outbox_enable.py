"""A receiver that answered 410 is switched on again: over the API, and by a click; what waited for it arrives."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import expect

from gateway.outbox.endpoint import Endpoint
from gateway.server import Gateway
from tests.support.console import TOKEN, browser, gateway, open_page
from tests.support.webhook_receiver import Received, Receiver, status
from tests.support.whole_gateway import DEADLINE_S, phone, posted_to

READ_TOKEN = "a-token-that-only-looks"


@asynccontextmanager
async def refused(receiver: Receiver, folder: Path) -> AsyncIterator[Gateway]:
    """A gateway with three calls of two events each, to the first of which the receiver answered 410."""
    async with gateway(folder, webhook=posted_to(receiver, concurrency=1), api_read_token=READ_TOKEN) as served:
        await short_call(served)
        await until(served, enabled=False, pending=2)
        for _ in range(2):
            await short_call(served)
        await until(served, enabled=False, pending=6)
        yield served


async def short_call(served: Gateway) -> None:
    async with phone(served.stream_url) as line:
        await line.start()
        await line.stop()
        await line.closed()


async def receivers(served: Gateway) -> Sequence[Any]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as client, client.get(f"{served.url}/api/outbox") as answer:
        return list((await answer.json())["endpoints"])


async def until(served: Gateway, *, enabled: bool, pending: int) -> Any:
    """The one receiver, once it is like this."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            (receiver,) = await receivers(served)
            if (receiver["enabled"], receiver["pending"]) == (enabled, pending):
                return receiver


async def enable(served: Gateway, receiver: Receiver) -> Any:
    order = {"endpoint": Endpoint.of(receiver.settings()).key}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(f"{served.url}/api/outbox/enable", json=order) as answer,
    ):
        return await answer.json()


def in_order(requests: Sequence[Received]) -> bool:
    """Whether these are all events of the three calls, each once, and each call's in order."""
    calls: dict[str, list[int]] = {}
    for each in requests:
        calls.setdefault(each.call_id, []).append(each.sequence)
    return list(calls.values()) == [[1, 2]] * 3


async def test_what_waited_arrives_in_order_and_is_the_same(tmp_path: Path) -> None:
    async with Receiver(status(410)) as receiver, refused(receiver, tmp_path) as served:
        assert len(receiver.requests) == 1
        receiver.answer = status(204)
        assert await enable(served, receiver) == {"changed": True}
        first, *rest = await receiver.wait_for(7)
        shown = await until(served, enabled=True, pending=0)
    assert (first.id, first.body) in [(each.id, each.body) for each in rest]
    assert in_order(rest)
    assert (shown["reason"], shown["since"], shown["dead"], shown["dropped"]) == (None, None, 0, 0)


async def test_a_receiver_that_refuses_again_is_switched_off_again_and_nothing_is_lost(tmp_path: Path) -> None:
    async with Receiver(status(410)) as receiver, refused(receiver, tmp_path) as served:
        before = len(receiver.requests)
        await enable(served, receiver)
        await receiver.wait_for(before + 1)
        await until(served, enabled=False, pending=6)
        receiver.answer = status(204)
        await enable(served, receiver)
        await until(served, enabled=True, pending=0)
    assert in_order(receiver.requests[-6:])


async def test_it_is_enabled_by_a_click(tmp_path: Path) -> None:
    async with (
        Receiver(status(410)) as receiver,
        refused(receiver, tmp_path) as served,
        browser() as chromium,
        open_page(chromium, served, "/outbox") as page,
    ):
        card = page.get_by_role("listitem")
        await expect(card).to_contain_text("disabled: wants no more events")
        await expect(card).to_contain_text("6 waiting")
        receiver.answer = status(204)
        await card.get_by_role("button", name="Enable").click()
        await expect(page.get_by_role("status").filter(has_text="is enabled")).to_be_visible()
        await expect(card).to_contain_text("0 waiting")
        await expect(card.get_by_role("button", name="Enable")).to_have_count(0)
    assert in_order(receiver.requests[-6:])


async def test_who_may_only_look_sees_that_it_is_off_and_no_button(tmp_path: Path) -> None:
    async with (
        Receiver(status(410)) as receiver,
        refused(receiver, tmp_path) as served,
        browser() as chromium,
        open_page(chromium, served, "/outbox", token=READ_TOKEN) as page,
    ):
        await expect(page.get_by_role("listitem")).to_contain_text("disabled")
        await expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
