"""The live page in a real browser: calls that come and go, and the line over which they are told."""

import asyncio
import dataclasses
import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from gateway.server import serving
from tests.support.console import DEADLINE_MS, TOKEN, browser, open_page
from tests.support.cut_line import CutLine
from tests.support.kept_calls import until_call, until_live_calls
from tests.support.live_stage import (
    Stage,
    calls,
    captions,
    colour,
    listen,
    say_final,
    stage,
    until_followed,
    until_live,
    words,
)
from tests.support.pulse_server import refuse
from tests.support.whole_gateway import phone, settings

NARROW = {"width": 360, "height": 740}
MOST_BYTES = 300_000
LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitänskajütenschlüssel" * 2


# ── The list ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_without_a_call_the_page_says_how_to_place_one(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page:
        await expect(page.get_by_text(f"gateway call recording.wav --url {at.served.stream_url}")).to_be_visible()
        await page.get_by_role("link", name="microphone").click()
        await page.wait_for_url("**/phone")


async def test_a_call_appears_by_itself_with_its_levels_and_the_state_of_its_recogniser(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page:
        await until_live(page)
        async with at.call("inbound", "outbound"):
            await expect(calls(page)).to_have_count(1)
            await expect(calls(page)).to_contain_text("twilio")
            await expect(calls(page).locator(".stt")).to_have_text(["live", "live"])
            await expect(calls(page).get_by_role("meter", name="Level of the caller")).to_be_visible()
            await expect(calls(page).get_by_role("meter", name="Level of the agent")).to_be_visible()


async def test_a_meter_shows_how_loud_its_track_is(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call("inbound", "outbound") as calling:
        meter = calls(page).get_by_role("meter", name="Level of the caller")
        async with asyncio.timeout(DEADLINE_MS / 1000):
            while float(await meter.evaluate("each => each.value")) < -50:
                await calling.media(10)
        await expect(calls(page).get_by_role("meter", name="Level of the agent")).to_have_js_property("value", -60)


async def test_the_duration_is_the_call_time_reached(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call() as calling:
        shown = calls(page).locator(".duration")
        await expect(shown).to_have_text("0:02")
        await calling.media(200)
        await expect(shown).to_have_text("0:06")


async def test_a_recogniser_that_is_lost_shows(tmp_path: Path) -> None:
    async with stage(tmp_path, listen, refuse(503)) as at, at.page() as page, at.call():
        state = calls(page).locator(".stt")
        await expect(state).to_have_text("live")
        fine = await colour(state)
        at.session().cut()
        await expect(state).to_have_text("degraded")
        assert await colour(state) != fine


async def test_a_cue_is_shown_beside_the_captions_at_its_place_in_them_and_in_the_list(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rule]]\nname = "cancel"\nwords = ["cancel", "account"]\nwithin = 5\nnote = "Offer the discount first."\n'
    )
    async with stage(tmp_path, assist={"rules_file": str(rules)}) as at, at.page() as page, at.call():
        await until_followed(page)
        await say_final(at.session(), "please cancel my account")
        beside = page.get_by_role("complementary", name="Cues")
        await expect(beside).to_contain_text("Offer the discount first.")
        await expect(beside).to_contain_text("cancel")
        await expect(captions(page).locator(".happened.cue")).to_contain_text("cancel my account")
        await expect(calls(page)).to_contain_text("cancel my account")


async def test_a_call_is_chosen_by_keyboard(tmp_path: Path) -> None:
    async with (
        stage(tmp_path) as at,
        at.page() as page,
        at.call(call_sid="CA1"),
        phone(at.served.stream_url) as second,
    ):
        await say_final(at.session(), "from the first call")
        await expect(captions(page)).to_contain_text("from the first call")
        await second.start(call_sid="CA2")
        await second.media(100)
        await at.speech.until(lambda: len(at.speech.sessions) == 2 and at.session().audio_s >= 1.9)
        await say_final(at.session(), "from the second call")
        await expect(calls(page)).to_have_count(2)
        await expect(page.get_by_role("button", name="CA1")).to_have_attribute("aria-pressed", "true")
        await page.get_by_role("button", name="CA1").focus()
        await page.keyboard.press("ArrowUp")
        await page.keyboard.press("Enter")
        await expect(captions(page)).to_contain_text("from the second call")
        await expect(captions(page)).not_to_contain_text("from the first call")
        await expect(page.get_by_role("button", name="CA2")).to_have_attribute("aria-pressed", "true")


async def test_a_chosen_call_is_in_the_address_so_that_it_is_there_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call():
        await page.get_by_role("button", name="CA1").click()
        await page.wait_for_url("**/?call=call_*")
        await say_final(at.session(), "still here")
        await page.reload()
        await expect(captions(page)).to_contain_text("still here")


async def test_a_call_that_ends_is_not_counted_and_leads_to_its_own_page(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page:
        async with at.call() as calling:
            await say_final(at.session(), "good bye")
            await expect(page.get_by_role("heading", name="Live calls 1")).to_be_visible()
            await calling.stop()
            await calling.closed()
        await expect(captions(page)).to_contain_text("Call ended: stop")
        await expect(page.get_by_role("heading", name="Live calls 0")).to_be_visible()
        await calls(page).get_by_role("link", name="open").click()
        await page.wait_for_url("**/calls/call_*")


async def test_the_next_call_is_shown_once_the_one_that_was_shown_by_itself_is_over(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page:
        async with at.call(call_sid="CA1") as calling:
            await until_followed(page)
            await calling.stop()
            await calling.closed()
        await expect(captions(page)).to_contain_text("Call ended")
        async with at.call(call_sid="CA2"):
            await say_final(at.session(), "the next one")
            await expect(captions(page)).to_contain_text("the next one")


async def test_more_calls_than_one_page_of_the_list_holds_are_all_there(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, AsyncExitStack() as lines:
        for number in range(101):
            line = await lines.enter_async_context(phone(at.served.stream_url))
            await line.start(call_sid=f"CA{number:03}")
        await until_live_calls(at.served, 101)
        async with at.page() as page:
            await expect(calls(page)).to_have_count(101)
            await expect(page.get_by_role("heading", name="Live calls 101")).to_be_visible()
            await page.get_by_label("Find a call").fill("ca007")
            await expect(calls(page)).to_have_count(1)
            await expect(calls(page)).to_contain_text("CA007")
            await page.get_by_label("Find a call").fill("nobody")
            await expect(page.get_by_text("No call is like this.")).to_be_visible()


async def test_of_many_calls_only_those_that_nobody_transcribes_can_be_seen(tmp_path: Path) -> None:
    async with (
        stage(tmp_path, listen, listen, refuse(503)) as at,
        at.page() as page,
        at.call(call_sid="CA1"),
        at.call(call_sid="CA2"),
    ):
        await expect(calls(page)).to_have_count(2)
        at.session().cut()
        only = page.get_by_role("button", name="1 not transcribed")
        await only.click()
        await expect(calls(page)).to_have_count(1)
        await expect(calls(page)).to_contain_text("CA2")
        await only.click()
        await expect(calls(page)).to_have_count(2)


async def test_a_call_that_was_over_for_a_while_leaves_the_list(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call(call_sid="CA1"):
        await page.clock.install()
        await page.reload()
        await page.get_by_role("button", name="CA1").click()
        async with at.call(call_sid="CA2") as calling:
            await expect(calls(page)).to_have_count(2)
            await calling.stop()
            await calling.closed()
        await expect(calls(page).locator(".ended")).to_have_count(1)
        await page.clock.fast_forward(20_000)
        await expect(calls(page)).to_have_count(2)
        await page.clock.fast_forward(12_000)
        await expect(calls(page)).to_have_count(1)


async def test_a_call_of_the_address_that_is_not_there_any_more_is_said_so(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page("/?call=call_gone") as page:
        await expect(page.get_by_role("alert")).to_have_text("The call of this address is not there any more.")
        await until_live(page)
        async with at.call(call_sid="CA1"):
            await expect(page.get_by_role("button", name="CA1")).to_have_attribute("aria-pressed", "true")


async def test_a_call_of_the_address_that_is_over_is_shown_by_its_name(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        async with at.call(call_sid="CA1") as calling:
            await calling.stop()
            await calling.closed()
        call_id = (await until_call(at.served, "CA1", is_over=True))["id"]
        async with at.page(f"/?call={call_id}") as page:
            await expect(page.get_by_role("heading", name="CA1")).to_be_visible()
            await expect(captions(page)).to_contain_text("Call ended: stop")
            await expect(page.get_by_text("Nothing was said.")).to_be_visible()


async def test_a_list_that_cannot_be_had_is_asked_for_again(tmp_path: Path) -> None:
    refused: dict[str, Any] = {"status": 503, "json": {"error": "store_busy", "message": "the store is busy"}}
    async with stage(tmp_path) as at, at.call(call_sid="CA1"), at.page("/settings") as page:
        await page.route(re.compile(r"/api/calls\?"), lambda route: route.fulfill(**refused), times=1)
        await page.get_by_role("link", name="Live").click()
        await expect(page.get_by_role("alert")).to_have_text(
            "The list cannot be had. The gateway says: the store is busy"
        )
        await expect(calls(page)).to_have_count(1)
        await expect(page.get_by_role("alert")).to_have_count(0)


async def test_the_tab_tells_how_many_calls_there_are(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page:
        await expect(page).to_have_title(re.compile("^Live . Gateway$"))
        async with at.call():
            await expect(page).to_have_title(re.compile(r"^Live \(1\) "))


async def test_the_content_is_reached_without_opening_the_page_anew(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page("/settings?q=idle") as page:
        await page.get_by_role("searchbox").fill("idle limits")
        await page.get_by_role("link", name="Skip to the content").focus()
        await page.evaluate("document.querySelector('h1').here = true")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("main")).to_be_focused()
        assert await page.evaluate("document.querySelector('h1').here")
        assert await page.evaluate("location.hash") == ""


# ── The feed ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_after_a_broken_line_the_page_comes_back_by_itself_and_has_missed_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as direct, CutLine(direct.served.port) as road:
        at = Stage(dataclasses.replace(direct.served, port=road.port), direct.speech, direct.chromium)
        async with at.page() as page, phone(direct.served.stream_url) as calling:
            await calling.start(call_sid="CA1")
            await calling.media(100)
            await until_followed(page)
            await at.speech.until(lambda: at.session().audio_s >= 1.9)
            road.cut()
            await expect(page.get_by_role("status")).to_contain_text("Reconnecting since")
            await say_final(at.session(), "said meanwhile")
            async with phone(direct.served.stream_url) as second:
                await second.start(call_sid="CA2")
                road.mend()
                await until_live(page)
                await expect(captions(page)).to_contain_text("said meanwhile")
                await expect(page.get_by_role("button", name="CA2")).to_be_visible()


async def test_a_line_that_is_dead_without_a_word_is_noticed(tmp_path: Path) -> None:
    """So it is after a change of networks: nobody closes the connection, and nothing comes over it any more."""
    async with stage(tmp_path) as direct, CutLine(direct.served.port) as road:
        at = Stage(dataclasses.replace(direct.served, port=road.port), direct.speech, direct.chromium)
        async with at.page() as page, direct.call():
            await until_followed(page)
            await expect(calls(page).locator(".stt")).to_have_text("live")
            road.deafen()
            await expect(page.get_by_role("status")).to_contain_text("Reconnecting since")
            await expect(page.get_by_text("What is below may be old")).to_be_visible()
            await say_final(at.session(), "said meanwhile")
            road.mend()
            await until_live(page)
            await expect(captions(page)).to_contain_text("said meanwhile")
            await expect(page.get_by_text("What is below may be old")).to_have_count(0)


async def test_a_dead_line_is_noticed_where_nothing_happens(tmp_path: Path) -> None:
    async with stage(tmp_path) as direct, CutLine(direct.served.port) as road:
        at = Stage(dataclasses.replace(direct.served, port=road.port), direct.speech, direct.chromium)
        async with at.page() as page:
            await page.clock.install()
            await page.reload()
            await until_live(page)
            road.deafen()
            await page.clock.run_for(60_000)
            await expect(page.get_by_role("status")).to_contain_text("Reconnecting since")


async def test_a_call_that_ends_behind_a_broken_line_is_not_in_progress_any_more(tmp_path: Path) -> None:
    async with stage(tmp_path) as direct, CutLine(direct.served.port) as road:
        at = Stage(dataclasses.replace(direct.served, port=road.port), direct.speech, direct.chromium)
        async with at.page() as page:
            async with direct.call() as calling:
                await until_followed(page)
                road.cut()
                await expect(page.get_by_role("status")).to_contain_text("Reconnecting since")
                await calling.stop()
                await calling.closed()
            road.mend()
            await until_live(page)
            await expect(page.get_by_role("heading", name="Live calls 0")).to_be_visible()


async def test_who_is_not_logged_in_any_more_is_sent_to_the_log_in(tmp_path: Path) -> None:
    """A restart of the gateway logs everybody out."""
    tree = {"api_token": TOKEN}
    async with browser() as chromium, AsyncExitStack() as opened:
        async with serving(settings(tmp_path / "data", **tree)) as served:
            page = await opened.enter_async_context(open_page(chromium, served))
            await until_live(page)
        await expect(page.get_by_role("status")).to_contain_text("Reconnecting since")
        async with serving(settings(tmp_path / "data", **tree, port=served.port)):
            await page.wait_for_url("**/login?next=%2F*")


# ── The looks ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_dark_and_light_are_two_sets_of_colours(tmp_path: Path) -> None:
    grounds = {}
    async with stage(tmp_path) as at:
        for scheme in ("light", "dark"):
            async with at.page(color_scheme=scheme) as page:
                await until_live(page)
                colours = "({ backgroundColor: ground, color }) => [ground, color]"
                grounds[scheme] = await page.evaluate(f"({colours})(getComputedStyle(document.body))")
    light, dark = (
        [brightness(each) for each in grounds[scheme]] for scheme in ("light", "dark")
    )  # of the ground, and of the text on it
    assert light[0] > 0.9 > 0.3 > light[1]
    assert dark[0] < 0.2 < 0.7 < dark[1]


@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "with a call"])
async def test_a_phone_shows_all_of_it_without_scrolling_sideways(tmp_path: Path, is_empty: bool) -> None:
    async with stage(tmp_path) as at, at.page(viewport=NARROW) as page:
        await until_live(page)
        if is_empty:
            await expect(page.get_by_text("No call at the moment")).to_be_visible()
            assert await width(page) <= NARROW["width"]
            return
        async with at.call("inbound", "outbound", call_sid="CA" + "0" * 32):
            await say_final(at.session(), LONG_WORD)
            await until_followed(page)
            await at.session("outbound").say(LONG_WORD, words(LONG_WORD))
            await expect(captions(page)).to_contain_text(LONG_WORD)
            await expect(page.locator(".partial")).to_contain_text(LONG_WORD)
            assert await width(page) <= NARROW["width"]


async def test_nothing_moves_for_those_who_want_no_motion(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page(reduced_motion="reduce") as page, at.call():
        await until_followed(page)
        await at.session().say("I'd like", words("I'd like"))
        word = page.locator(".partial .new").first
        await expect(word).to_be_visible()
        assert await word.evaluate("each => getComputedStyle(each).animationName") == "none"


@pytest.mark.parametrize("place", ["/", "/calls", "/outbox", "/settings", "/phone"])
async def test_a_page_is_light_and_asks_nobody_else(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """That no other host is asked `open_page` holds, too; here the browser's own account of it counts."""
    async with stage(tmp_path) as at, at.page(f"{place}?token={TOKEN}", token=None) as page:
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        loaded = json.loads(await page.evaluate("JSON.stringify(performance.getEntries())"))
        parts = [each for each in loaded if each["entryType"] in ("navigation", "resource")]
        paint_ms = [round(each["startTime"]) for each in loaded if each["name"] == "first-contentful-paint"]
        size = sum(each["transferSize"] for each in parts)
        unpacked = sum(each["decodedBodySize"] for each in parts)
        with capsys.disabled():
            print(f"\n{place}: first paint {paint_ms} ms; {size} bytes, unpacked {unpacked}, in {len(parts)} parts")
        assert {each["name"].split("/")[2] for each in parts} == {f"127.0.0.1:{at.served.port}"}
        assert {"app.js", "lit-html.js", "style.css"} <= {each["name"].split("/")[-1] for each in parts}
        assert 20_000 < size < MOST_BYTES
        assert unpacked < MOST_BYTES


async def width(page: Page) -> int:
    return int(await page.evaluate("document.scrollingElement.scrollWidth"))


def brightness(rgb: str) -> float:
    """Of `rgb(r, g, b)`, 0 to 1."""
    found = [int(each) for each in re.findall(r"\d+", rgb)[:3]]
    return sum(found) / (3 * 255)
