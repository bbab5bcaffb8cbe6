"""A call's page in a real browser: its facts, transcript and timeline, the playback of its recording, its files."""

import io
import json
import re
import wave
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.support.batch_server import batch_server
from tests.support.console import browser, gateway, open_page
from tests.support.kept_calls import FRAMES_PER_S, keep_call, speak, until_call
from tests.support.pulse_server import PulseServer
from tests.support.whole_gateway import heard_by, phone

RECORDED = {"recording": {"enabled": True}}
PHONE = {"width": 360, "height": 740}


async def played_s(page: Page) -> float:
    return float(await page.evaluate("document.querySelector('audio').currentTime"))


async def until_played(page: Page, seconds: float) -> None:
    await page.wait_for_function("seconds => document.querySelector('audio').currentTime > seconds", arg=seconds)


async def until_heard(page: Page, start: str) -> None:
    """Until both parties' words that begin then are marked, and no other."""
    marks = "[...document.querySelectorAll('.heard')].map(each => each.dataset.start).join()"
    await page.wait_for_function(f"start => {marks} === `${{start}},${{start}}`", arg=start)


async def test_a_call_shows_its_facts(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=2, tenant="acme")
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            facts = page.locator(".facts div")
            for name, value in (("Platform", "twilio"), ("Duration", "0:02"), ("tenant", "acme"), ("Id", call_id)):
                await expect(facts.filter(has=page.get_by_text(name, exact=True))).to_contain_text(value)
            await expect(facts.filter(has_text="Outcome")).to_contain_text("completed")
            await expect(facts.filter(has_text="Transcript")).to_contain_text("complete")


async def test_what_a_caller_sends_is_text_and_never_markup(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=1, note="<img src=x>")
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            await expect(page.get_by_text("<img src=x>")).to_be_visible()
            assert await page.locator("main img").count() == 0


async def test_both_sides_are_in_the_transcript(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=2)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            for track in ("inbound", "outbound"):
                words = page.locator(f".word[data-track={track}]")
                await expect(words).to_have_text(["second", "1", "second", "2"])


async def test_a_call_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path) as served,
        browser() as chromium,
        open_page(chromium, served, "/calls/call_none") as page,
    ):
        await expect(page.get_by_role("alert")).to_contain_text("There is no such call")


async def test_playback_marks_words_as_they_are_heard(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=4)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            await page.get_by_role("button", name="Play", exact=True).click()
            for start in ("0", "0.5", "1"):
                await until_heard(page, start)
            assert 1 <= await played_s(page) < 2.5


async def test_the_space_bar_plays_and_pauses(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=4)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            await expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
            await page.keyboard.press("Space")
            await until_played(page, 0.2)
            await page.keyboard.press("Space")
            await expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
            assert await page.evaluate("document.querySelector('audio').paused")


async def test_a_click_on_a_word_seeks_to_it(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=4)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            await page.locator(".word[data-track=inbound]", has_text="3").click()
            await until_heard(page, "2.5")
            assert await played_s(page) == pytest.approx(2.5)


async def test_the_time_in_the_address_is_where_it_opens(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=4)
        async with open_page(chromium, served, f"/calls/{call_id}?t=3.2") as page:
            await until_heard(page, "3")
            await page.wait_for_function("() => document.querySelector('audio').readyState > 0")
            assert await played_s(page) == pytest.approx(3.2)


async def test_keys_of_the_page_step_five_seconds(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=8)
        async with open_page(chromium, served, f"/calls/{call_id}?t=1") as page:
            await until_heard(page, "1")
            await page.keyboard.press("ArrowRight")
            await until_heard(page, "6")
            await page.keyboard.press("ArrowLeft")
            await until_heard(page, "1")


async def test_the_timeline_is_a_slider_for_keys(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=8)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            slider = page.get_by_role("slider", name="Position in the call")
            await expect(slider).to_have_attribute("aria-valuemax", "8.0")
            await slider.focus()
            for key, text in (("ArrowRight", "0:05"), ("End", "0:08"), ("ArrowLeft", "0:03"), ("Home", "0:00")):
                await page.keyboard.press(key)
                await expect(slider).to_have_attribute("aria-valuetext", f"{text} of 0:08")


async def test_a_click_on_the_timeline_seeks(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=4)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            slider = page.get_by_role("slider", name="Position in the call")
            box = await slider.bounding_box()
            assert box is not None
            await slider.click(position={"x": box["width"] * 0.7, "y": 30})
            assert await played_s(page) == pytest.approx(2.8, abs=0.05)
            await until_heard(page, "2.5")


async def test_both_tracks_have_their_waveform(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=2)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            for track in ("inbound", "outbound"):
                shape = await page.locator(f".lane.{track} .wave path").get_attribute("d")
                assert shape is not None
                assert shape.startswith("M0 0L0 -0.")  # there is sound from the beginning


async def test_the_recording_can_be_played_faster(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=2)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            await page.get_by_label("Speed").select_option("2")
            await page.keyboard.press("Tab")
            assert await page.evaluate("document.querySelector('audio').playbackRate") == 2


async def test_what_is_heard_is_brought_in_sight(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=12)
        async with open_page(chromium, served, f"/calls/{call_id}?t=11") as page:
            await until_heard(page, "11")
            await expect(page.locator(".heard").last).to_be_in_viewport()


async def test_who_scrolls_away_is_left_alone_until_they_come_back(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=12)
        async with open_page(chromium, served, f"/calls/{call_id}?t=10") as page:
            await until_heard(page, "10")
            await page.get_by_role("button", name="Play", exact=True).click()
            await page.locator("call-captions .log").hover()
            await page.mouse.wheel(0, -5000)
            back = page.get_by_role("button", name="Back to what is heard")
            await expect(back).to_be_visible()
            await page.wait_for_function("() => document.querySelector('call-captions .log').scrollTop === 0")
            await until_played(page, 11.2)
            assert await page.locator("call-captions .log").evaluate("each => each.scrollTop") == 0
            await back.click()
            await expect(back).to_have_count(0)
            assert await page.locator("call-captions .log").evaluate("each => each.scrollTop") > 0


async def test_without_a_recording_the_timeline_is_still_there(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=4)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            await expect(page.locator(".lane.inbound .utterance")).to_have_count(4)
            await expect(page.get_by_role("button", name="Play", exact=True)).to_have_count(0)
            await page.get_by_role("slider").focus()
            await page.keyboard.press("ArrowRight")
            await page.keyboard.press("ArrowLeft")
            await until_heard(page, "0")


async def test_a_gap_is_hatched_and_told_at_its_place(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        async with phone(served.stream_url) as caller:
            await caller.start("inbound")
            await caller.media(FRAMES_PER_S)
            await caller.media(FRAMES_PER_S, skip=2 * FRAMES_PER_S)
            await caller.stop()
            await caller.closed()
        call_id = (await until_call(served, "CA1", is_over=True))["id"]
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            gap = page.locator(".lane.inbound .gap")
            await expect(gap).to_have_attribute("x", "25.000%")
            await expect(gap).to_have_attribute("width", "50.000%")
            await expect(page.locator("call-captions")).to_contain_text("2.0 s of the caller never arrived")


async def test_a_call_that_goes_on_is_followed_to_its_end(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium, phone(served.stream_url) as caller:
        await caller.start("inbound", "outbound")
        call_id = (await until_call(served, "CA1", is_over=False))["id"]
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            await expect(page.locator(".facts")).to_contain_text("live")
            await speak(caller, 2)
            await expect(page.locator(".word[data-track=outbound]")).to_have_text(["second", "1", "second", "2"])
            await expect(page.locator(".lane.inbound .utterance")).to_have_count(2)
            await caller.stop()
            await expect(page.locator(".facts")).to_contain_text("completed")
            await expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
            await page.locator(".word[data-track=inbound]").last.click()
            await until_heard(page, "1.5")


async def test_a_call_that_goes_on_grows_while_nobody_speaks(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium, phone(served.stream_url) as caller:
        await caller.start("inbound")
        call_id = (await until_call(served, "CA1", is_over=False))["id"]
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            fact = page.locator(".facts div").filter(has_text="Duration")
            await expect(fact).to_contain_text("so far")
            before = await fact.inner_text()
            await expect(fact).not_to_have_text(before)
            await expect(fact).to_contain_text("so far")


async def test_how_long_a_call_goes_on_is_told_by_the_gateways_clock(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium, phone(served.stream_url) as caller:
        await caller.start("inbound")
        call_id = (await until_call(served, "CA1", is_over=False))["id"]
        async with open_page(chromium, served) as page:
            await page.clock.install(time=datetime.now(UTC) + timedelta(hours=3))
            await page.goto(f"/calls/{call_id}")
            fact = page.locator(".facts div").filter(has_text="Duration")
            await expect(fact).to_contain_text(re.compile(r"\D0:\d\d so far"))


async def test_what_was_transcribed_after_the_call_is_there_to_be_opened(tmp_path: Path) -> None:
    async with batch_server() as service, browser() as chromium, PulseServer() as speech:
        stt = heard_by(speech)
        stt["profiles"]["whole"] = {"kind": "pulse-batch", "url": service.url}
        async with gateway(tmp_path, stt=stt, post_call={"profile": "whole"}) as served:
            call_id = await keep_call(served, seconds=1)
            async with open_page(chromium, served, f"/calls/{call_id}") as page:
                said = page.get_by_text("Call me back.")
                summary = page.get_by_text("Transcribed again after the call, by whole")
                await expect(summary).to_be_visible()
                await expect(said).to_be_hidden()
                await summary.click()
                await expect(said).to_be_visible()
                await expect(page.locator("details p")).to_have_text(re.compile(r"0:00 speaker 0\s+Call me back\."))


@pytest.mark.parametrize("time", ["nonsense", "1e999", "-3"])
async def test_a_time_in_the_address_that_is_none_is_left_alone(tmp_path: Path, time: str) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=1)
        async with open_page(chromium, served, f"/calls/{call_id}?t={time}") as page:
            await expect(page.locator(".wave")).to_have_count(2)
            await expect(page.locator(".now")).to_have_text("0:00 / 0:01")
            await expect(page.get_by_role("alert")).to_have_count(0)


async def downloaded(page: Page, link: str) -> tuple[str, bytes]:
    """Name and content of what a link gives."""
    async with page.expect_download() as waiting:
        await page.get_by_role("link", name=link, exact=True).click()
    download = await waiting.value
    return download.suggested_filename, (await download.path()).read_bytes()


async def test_the_files_of_a_call_have_what_was_said(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=2)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            name, document = await downloaded(page, "JSON")
            _, text = await downloaded(page, "Text")
            _, srt = await downloaded(page, "SRT captions")
            _, vtt = await downloaded(page, "WebVTT captions")
    assert name == f"{call_id}.json"
    assert [each["text"] for each in json.loads(document)["passages"]] == ["second 1"] * 2 + ["second 2"] * 2
    assert text.decode().splitlines()[0].endswith(": second 1")
    assert "00:00:01,000 --> " in srt.decode()
    assert vtt.decode().startswith("WEBVTT\n")


async def test_the_recording_can_be_taken_away(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=2)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            name, content = await downloaded(page, "Recording (WAV)")
    with wave.open(io.BytesIO(content)) as file:
        assert (name, file.getnchannels(), file.getnframes()) == (f"{call_id}.wav", 2, 2 * file.getframerate())


async def test_the_print_view_has_the_transcript(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=1)
        async with open_page(chromium, served, f"/calls/{call_id}") as page:
            async with page.expect_popup() as waiting:
                await page.get_by_role("link", name="Print view").click()
            printed = await waiting.value
            await expect(printed.get_by_text("second 1").first).to_be_visible()


async def test_on_a_phone_nothing_is_beside_the_window(tmp_path: Path) -> None:
    async with gateway(tmp_path, **RECORDED) as served, browser() as chromium:
        call_id = await keep_call(served, seconds=2, reference="x" * 80)
        async with open_page(chromium, served, f"/calls/{call_id}", viewport=PHONE) as page:
            await expect(page.locator(".lane.inbound .utterance")).to_have_count(2)
            assert await page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
