"""Captions in a real browser: what is said in a call that goes on, as it is said."""

import re
from pathlib import Path

from playwright.async_api import expect

from tests.support.console import browser, gateway, open_page
from tests.support.live_stage import calls, captions, colour, say_final, stage, until_followed, words


async def test_words_appear_grey_as_they_are_spoken_and_become_firm(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call():
        await until_followed(page)
        partial = page.locator(".said.partial .text")
        await at.session().say("I'd like", words("I'd like"))
        await expect(partial).to_have_text("I'd like")
        await at.session().say("I'd like a refund", words("I'd like a refund"))
        await expect(partial).to_have_text("I'd like a refund")
        grey = await colour(partial)
        await say_final(at.session(), "I'd like a refund.")
        await expect(captions(page)).to_contain_text("I'd like a refund.")
        await expect(partial).to_have_count(0)
        firm = await colour(captions(page).locator(".text"))
        assert grey != firm == await colour(page.locator("body"))


async def test_each_word_of_a_final_carries_its_time(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call():
        await say_final(at.session(), "I'd like that.", 0.4)
        word = captions(page).locator(".word", has_text="like")
        await expect(word).to_have_attribute("data-start", re.compile(r"^0\.6"))
        await expect(word).to_have_attribute("data-end", re.compile(r"^0\.8"))


async def test_the_caller_is_left_and_the_agent_right(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call("inbound", "outbound"):
        await say_final(at.session("inbound"), "hello", 0.2)
        await say_final(at.session("outbound"), "good morning", 0.8)
        caller = await captions(page).locator(".said", has_text="hello").bounding_box()
        agent = await captions(page).locator(".said", has_text="good morning").bounding_box()
        assert caller is not None
        assert agent is not None
        assert caller["x"] + caller["width"] < agent["x"] + agent["width"]
        assert caller["x"] < agent["x"]
        assert caller["y"] < agent["y"]


async def test_what_comes_late_stands_where_it_was_said(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call("inbound", "outbound"):
        await say_final(at.session("outbound"), "second", 1.0)
        await expect(captions(page).locator(".text")).to_have_text(["second"])
        await say_final(at.session("inbound"), "first", 0.2)
        await expect(captions(page).locator(".text")).to_have_text(["first", "second"])


async def test_keys_and_a_lost_recogniser_are_told_at_their_place(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call() as calling:
        await say_final(at.session(), "before", 0.2)
        await calling.say({"event": "dtmf", "streamSid": "MZ1", "dtmf": {"track": "inbound_track", "digit": "5"}})
        await expect(captions(page)).to_contain_text("Key 5 pressed 0:02")
        at.session().cut()
        await expect(captions(page)).to_contain_text("Nobody transcribes the caller for now")
        lines = await captions(page).locator(".said, .happened").all_inner_texts()
        assert [text for text in lines if re.search("before|Key", text)] == [lines[0], lines[1]]


async def test_audio_that_never_arrived_is_told_at_its_place(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call() as calling:
        await say_final(at.session(), "before", 0.2)
        await calling.media(50, skip=75)
        await at.speech.until(lambda: at.session().audio_s >= 4.4)
        await say_final(at.session(), "after", 3.6)
        gap = captions(page).locator(".happened")
        await expect(gap).to_have_text("1.5 s of the caller never arrived 0:02")
        await expect(captions(page).locator(".text")).to_have_text(["before", "after"])
        lines = await captions(page).locator(".text, .happened").all_inner_texts()
        assert lines == ["before", "1.5 s of the caller never arrived 0:02", "after"]


async def test_a_recogniser_that_comes_back_is_told_after_its_loss(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call():
        await say_final(at.session(), "before", 0.2)
        await expect(captions(page)).to_contain_text("before")
        at.session().cut()
        lines = captions(page).locator(".happened")
        await expect(lines).to_have_count(2)
        await expect(lines.first).to_have_class("happened warning")
        await expect(lines.first).to_contain_text("Nobody transcribes the caller for now: stt ")
        await expect(lines.last).to_have_class("happened good")
        await expect(lines.last).to_contain_text("The caller is transcribed again 0:0")
        await expect(calls(page).locator(".stt")).to_have_text("live")


UNHEARD = "the caller could not be transcribed"
TOLD = {
    "call.gap": [
        ({"reason": "lost", "start_s": 1, "end_s": 2.25}, "1.3 s of the caller never arrived"),
        (
            {"reason": "not_held", "start_s": 1, "end_s": 84},
            "1:23 min of the caller could not be transcribed: not held",
        ),
        ({"reason": "lost", "track": "outbound", "start_s": 1, "end_s": 2}, "1.0 s of the agent never arrived"),
    ],
    "stt.degraded": [({"reason": "stt_closed", "at_s": 3}, "Nobody transcribes the caller for now: stt closed")],
    "stt.recovered": [({"at_s": 4, "track": "outbound"}, "The agent is transcribed again")],
    "call.dtmf": [({"at_s": 4, "digit": "#"}, "Key # pressed")],
    "call.ended": [
        ({"reason": "idle_timeout", "complete": True}, "Call ended: idle timeout"),
        ({"reason": "stop", "complete": False}, "Call ended: stop, not all of it transcribed"),
    ],
}


async def test_what_happens_is_told_in_words(tmp_path: Path) -> None:
    cases = [(type_, fields, text) for type_, each in TOLD.items() for fields, text in each]
    async with gateway(tmp_path) as served, browser() as chromium, open_page(chromium, served) as page:
        told = await page.evaluate(
            """async (events) => {
                 const { Captions } = await import("/assets/captions.js");
                 return events.map((event) => {
                   const captions = new Captions();
                   captions.add(event);
                   return captions.items.map(({ text }) => text).join();
                 });
               }""",
            [{"type": type_, "data": {"sequence": 1, "track": "inbound", **fields}} for type_, fields, _ in cases],
        )
    assert told == [text for _, _, text in cases]


async def test_a_line_that_stands_is_not_made_anew_for_the_next(tmp_path: Path) -> None:
    """Else each final of a call of four hours would cost as much as all of them."""
    async with gateway(tmp_path) as served, browser() as chromium, open_page(chromium, served) as page:
        read, lines = await page.evaluate(
            """async (count) => {
                 const { Captions } = await import("/assets/captions.js");
                 await import("/assets/call_captions.js");
                 let read = 0;
                 const final = (sequence) => ({ type: "transcript.final", data: {
                   sequence, track: "inbound", speaker: "caller", start_s: sequence, end_s: sequence + 0.5, words: [],
                   get text() { read += 1; return `final ${sequence}`; },
                 } });
                 const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                 const captions = new Captions();
                 const shown = Object.assign(document.createElement("call-captions"), { captions });
                 document.body.append(shown);
                 for (let sequence = 1; sequence <= count; sequence += 1) captions.add(final(sequence));
                 await frame();
                 read = 0;
                 captions.add(final(count + 1));
                 await frame();
                 return [read, shown.querySelectorAll(".said").length];
               }""",
            500,
        )
    assert lines == 501
    assert 1 <= read < 10


async def test_the_captions_say_that_nothing_was_said_yet(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call():
        empty = page.get_by_text("Nothing has been said yet.")
        await expect(empty).to_be_visible()
        await say_final(at.session(), "hello")
        await expect(captions(page)).to_contain_text("hello")
        await expect(empty).to_be_hidden()


async def test_screen_readers_are_told_finals_and_no_partials(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page() as page, at.call():
        await say_final(at.session(), "this stays")
        await expect(captions(page)).to_contain_text("this stays")
        await until_followed(page)
        await at.session().say("this does not", words("this does not", 1.0))
        await expect(page.get_by_text("this does not")).to_be_visible()
        assert await captions(page).get_attribute("aria-live") == "polite"
        await expect(captions(page)).to_have_attribute("aria-busy", "false")
        assert "this does not" not in await captions(page).inner_text()
        assert await page.locator(".partial").evaluate("each => each.closest('[aria-hidden=true]') !== null")


async def test_captions_follow_the_newest_until_the_reader_scrolls_up(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.page(viewport={"width": 900, "height": 640}) as page, at.call() as calling:
        await calling.media(500)
        newest = page.get_by_role("button", name="Newest")
        for number in range(24):
            await say_final(at.session(), f"sentence {number}.", 0.4 * number)
        await expect(captions(page).get_by_text("sentence 23.")).to_be_in_viewport()
        await expect(newest).to_be_hidden()
        await page.get_by_role("region", name="Captions").press("Home")
        await expect(newest).to_be_visible()
        await say_final(at.session(), "one more", 11.0)
        await expect(captions(page).get_by_text("one more")).to_have_count(1)
        await expect(captions(page).get_by_text("sentence 0.")).to_be_in_viewport()
        await newest.click()
        await expect(captions(page).get_by_text("one more")).to_be_in_viewport()
        await expect(newest).to_be_hidden()


async def test_whoever_comes_late_sees_what_was_said_before(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.call():
        await say_final(at.session(), "said to nobody")
        async with at.page() as page:
            await expect(captions(page)).to_contain_text("said to nobody")


async def test_lines_that_go_leave_nothing_behind(tmp_path: Path) -> None:
    """lit-html 3.3.3 as it is published leaves a comment for each (lit/lit#5298), and a page that stays open fills."""
    async with gateway(tmp_path) as served, browser() as chromium, open_page(chromium, served) as page:
        nodes = await page.evaluate(
            """async () => {
                 const { html, render, repeat } = await import("/assets/lib.js");
                 const place = document.createElement("ul");
                 const show = (...keys) => render(repeat(keys, (key) => key, (key) => html`<li>${key}</li>`), place);
                 show(0, 1, 2);
                 const before = place.childNodes.length;
                 for (let key = 0; key < 100; key += 1) show(key, key + 1, key + 2);
                 return [before, place.childNodes.length, place.textContent];
               }"""
        )
    assert nodes[1:] == [nodes[0], "99100101"]
