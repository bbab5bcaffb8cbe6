"""The outbox page: what a receiver did not take is shown, sent again or dropped by a click."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Dialog, Page, expect

from gateway.server import Gateway
from tests.support.console import browser, gateway, open_page
from tests.support.webhook_receiver import Receiver, status
from tests.support.whole_gateway import phone, posted_to

READ_TOKEN = "a-token-that-only-looks"
ONE_ATTEMPT: Mapping[str, Any] = {"retry_delays_s": []}


@asynccontextmanager
async def served_for(receiver: Receiver, folder: Path) -> AsyncIterator[Gateway]:
    """A gateway that tries each event once."""
    hook = posted_to(receiver)
    async with gateway(folder, webhook=hook, outbox=dict(ONE_ATTEMPT), api_read_token=READ_TOKEN) as served:
        yield served


@asynccontextmanager
async def outbox_page(receiver: Receiver, folder: Path, **options: Any) -> AsyncIterator[Page]:
    """The page, after a call whose events the receiver was offered."""
    async with served_for(receiver, folder) as served, browser() as chromium:
        await short_call(served)
        await receiver.wait_for(2)  # call.started, call.ended
        async with open_page(chromium, served, "/outbox", **options) as page:
            yield page


async def short_call(served: Gateway) -> None:
    async with phone(served.stream_url) as line:
        await line.start()
        await line.stop()


async def test_a_dead_delivery_is_shown_and_arrives_after_a_click(tmp_path: Path) -> None:
    async with Receiver(status(422)) as receiver, outbox_page(receiver, tmp_path) as page:
        row = page.get_by_role("row").filter(has_text="call.started")
        await expect(row).to_contain_text("Given up")
        await expect(row).to_contain_text("refused (422)")
        receiver.answer = status(204)
        await row.get_by_role("button", name="Retry").click()
        again = (await receiver.wait_for(3))[2]
        assert again.id == receiver.requests[0].id
        await expect(page.get_by_role("status").filter(has_text="sent again")).to_be_visible()
        await expect(row).to_have_count(0)


async def test_receivers_are_shown_with_what_they_have_not_got(tmp_path: Path) -> None:
    async with Receiver(status(422)) as receiver, outbox_page(receiver, tmp_path) as page:
        card = page.get_by_role("listitem")
        await expect(card).to_contain_text(f"http://127.0.0.1:{receiver.port}")
        await expect(card).to_contain_text("2 given up")
        await expect(card).not_to_contain_text("hidden")


async def test_all_that_is_dead_arrives_after_one_click(tmp_path: Path) -> None:
    async with Receiver(status(422)) as receiver, outbox_page(receiver, tmp_path) as page:
        receiver.answer = status(204)
        await page.get_by_role("button", name="Retry all 2 given up").click()
        await receiver.wait_for(4)
        await expect(page.get_by_text("Nothing is left to deliver.")).to_be_visible()


@pytest.mark.parametrize(("answer", "outcome"), [("accept", "Dropped"), ("dismiss", "Given up")])
async def test_a_delivery_is_dropped_only_if_one_says_yes(tmp_path: Path, answer: str, outcome: str) -> None:
    async with Receiver(status(422)) as receiver, outbox_page(receiver, tmp_path) as page:
        asked: list[str] = []

        async def decide(dialog: Dialog) -> None:
            asked.append(dialog.message)
            await getattr(dialog, answer)()

        page.on("dialog", decide)
        row = page.get_by_role("row").filter(has_text="call.ended")
        await row.get_by_role("button", name="Drop").click()
        await expect(row.locator(".state")).to_have_text(outcome)
    assert len(asked) == 1


async def test_states_are_chosen(tmp_path: Path) -> None:
    async with Receiver(status(422)) as receiver, outbox_page(receiver, tmp_path) as page:
        await expect(page.locator("tr[data-event]")).to_have_count(2)
        await page.get_by_label("Given up", exact=True).uncheck()
        await expect(page.locator("tr[data-event]")).to_have_count(0)
        await page.get_by_label("Given up", exact=True).check()
        await expect(page.locator("tr[data-event]")).to_have_count(2)


async def test_with_no_state_chosen_nothing_is_shown_for_good(tmp_path: Path) -> None:
    async with Receiver(status(422)) as receiver, outbox_page(receiver, tmp_path) as page:
        for name in ("Waiting", "Given up", "Dropped"):
            await page.get_by_label(name, exact=True).uncheck()
        for _ in range(2):  # the first may have been on its way already
            async with page.expect_response(re.compile(r"/api/outbox\?")):
                pass
        await expect(page.get_by_text("None of these.")).to_be_visible()
        await expect(page.locator("tr[data-event]")).to_have_count(0)


async def test_an_outbox_that_cannot_be_read_is_not_said_to_be_empty(tmp_path: Path) -> None:
    refused: dict[str, Any] = {"status": 503, "json": {"error": "storage_error", "message": "the store is busy"}}
    async with gateway(tmp_path) as served, browser() as chromium, open_page(chromium, served, "/settings") as page:
        await page.route(re.compile(r"/api/outbox\?"), lambda route: route.fulfill(**refused), times=1)
        await page.get_by_role("link", name="Outbox").click()
        await expect(page.get_by_role("alert")).to_have_text("The gateway says: the store is busy")
        assert await page.get_by_text("Nothing is left to deliver.").count() == 0
        await expect(page.get_by_text("Nothing is left to deliver.")).to_be_visible()  # once it can be read
        await expect(page.get_by_role("alert")).to_have_count(0)


async def test_what_happens_elsewhere_appears_by_itself(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        served_for(receiver, tmp_path) as served,
        browser() as chromium,
        open_page(chromium, served, "/outbox") as page,
    ):
        await expect(page.get_by_text("Nothing is left to deliver.")).to_be_visible()
        receiver.answer = status(422)
        await short_call(served)
        await expect(page.locator("tr[data-event]")).to_have_count(2)


async def test_who_may_only_look_sees_no_buttons(tmp_path: Path) -> None:
    async with Receiver(status(422)) as receiver, outbox_page(receiver, tmp_path, token=READ_TOKEN) as page:
        await expect(page.locator("tr[data-event]")).to_have_count(2)
        await expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)


async def test_on_a_phone_nothing_has_to_be_scrolled_sideways(tmp_path: Path) -> None:
    small: dict[str, Any] = {"viewport": {"width": 360, "height": 740}}
    async with Receiver(status(422)) as receiver, outbox_page(receiver, tmp_path, **small) as page:
        await expect(page.locator("tr[data-event]")).to_have_count(2)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
