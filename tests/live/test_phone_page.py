"""The phone of the console: its sound as modules, and calls from a real browser with a microphone and with files."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from playwright.async_api import Page, expect

from gateway.server import Gateway
from gateway.simulate.recording import demo_turns, load_demo
from telephony_codecs import mulaw
from tests.support.console import browser, gateway, open_page
from tests.support.pulse_server import PulseServer
from tests.support.whole_gateway import heard_by, phone

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "gateway/simulate/recordings/demo.flac"
LINE_TOKEN = "the-token-of-the-phone-line"
READ_TOKEN = "a-token-that-only-looks"
DEADLINE_S = 60.0
Samples = npt.NDArray[np.float32]

SENTENCE = Path(__file__).parents[3] / "shared" / "audio" / "sentences" / "austen-0870.wav"


@asynccontextmanager
async def phone_page(
    folder: Path, *, microphone: Path | None = None, **tree: Any
) -> AsyncIterator[tuple[Page, PulseServer, Gateway]]:
    """The page, what hears its calls, and the gateway between."""
    async with (
        PulseServer() as speech,
        browser(microphone=microphone) as chromium,
        gateway(folder, **{"stt": heard_by(speech), **tree}) as served,
        open_page(chromium, served, "/phone", permissions=["microphone"]) as page,
    ):
        yield page, speech, served


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Both speakers of the demonstration on one track, for the microphone."""
    samples, rate_hz = soundfile.read(DEMO, dtype="int16")
    path = tmp_path / "spoken.wav"
    soundfile.write(path, samples.sum(axis=1, dtype=np.int16), rate_hz, subtype="PCM_16")
    return path


def tone(frequency_hz: float, rate_hz: int) -> Samples:
    """One second at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(rate_hz) / rate_hz)).astype(np.float32)


def level_db(samples: Samples) -> float:
    """Of its middle, against a sine at half of full scale."""
    middle = samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64)
    return float(20 * np.log10(np.sqrt(np.mean(middle**2)) / (0.5 / np.sqrt(2))))


async def resampled(page: Page, samples: Samples, rate_hz: int, cuts: Sequence[int] = ()) -> Samples:
    """What the module makes of it, given in blocks of these lengths, over and over; none: in one."""
    out = await page.evaluate(
        """async ([octets, rate_hz, cuts]) => {
             const { Resampler } = await import("/assets/resampler.js");
             const resampler = new Resampler(rate_hz, 8000);
             const all = new Float32Array(Uint8Array.from(atob(octets), (each) => each.charCodeAt(0)).buffer);
             const out = [];
             for (let at = 0, turn = 0; at < all.length; turn += 1) {
               const length = cuts.length ? cuts[turn % cuts.length] : all.length;
               out.push(...resampler.push(all.subarray(at, at + length)));
               at += length;
             }
             const said = new Uint8Array(Float32Array.from([...out, ...resampler.flush()]).buffer);
             return btoa(Array.from(said, (each) => String.fromCharCode(each)).join(""));
           }""",
        [base64.b64encode(samples.astype("<f4").tobytes()).decode(), rate_hz, list(cuts)],
    )
    return np.frombuffer(base64.b64decode(out), "<f4")


def line_of(served: Gateway) -> str:
    return served.url.replace("http", "ws", 1) + "/api/phone/stream"


def share_heard(text: str, *tracks: str, until_s: float = 60) -> float:
    """How many of the words that the demonstration says on these tracks are in a text; some may well be wrong."""
    said = {
        word for turn in demo_turns() if turn.track in tracks and turn.end_s <= until_s for word in turn.text.split()
    }
    return len(said & set(text.split())) / len(said)


async def until(page: Page, condition: str) -> None:
    """Wait for something that no locator tells; Playwright's own way needs what the page's policy forbids."""
    async with asyncio.timeout(DEADLINE_S):
        await page.evaluate(
            f"""() => new Promise((done) => {{
                  const look = () => ({condition}) ? done() : requestAnimationFrame(look);
                  look();
                }})"""
        )


async def all_of_it(page: Page, text: str = "The call is over.") -> None:
    await expect(page.get_by_text(text, exact=True)).to_be_visible(timeout=DEADLINE_S * 1000)


# ── The sound ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_mu_law_is_that_of_the_gateway_for_every_sample(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, _, _):
        codes = await page.evaluate(
            """async () => {
                 const { encode } = await import("/assets/mulaw.js");
                 return [...encode(Int16Array.from({ length: 65536 }, (_, at) => at - 32768))];
               }"""
        )
    assert bytes(codes) == mulaw.encode(np.arange(-32768, 32768).astype("<i2").tobytes())


async def test_what_is_louder_than_full_scale_is_clipped(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, _, _):
        codes = await page.evaluate(
            """async () => {
                 const { encodeFloat } = await import("/assets/mulaw.js");
                 return [...encodeFloat(Float32Array.of(-2, -1, 0, 1, 2))];
               }"""
        )
    assert bytes(codes) == mulaw.encode(np.array([-32768, -32768, 0, 32767, 32767], "<i2").tobytes())


async def test_resampling_keeps_speech_and_takes_away_what_a_phone_does_not_carry(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, _, _):
        for rate_hz in (48_000, 44_100, 16_000):
            passed = [level_db(await resampled(page, tone(each, rate_hz), rate_hz)) for each in (300, 1000, 3400)]
            stopped = [level_db(await resampled(page, tone(each, rate_hz), rate_hz)) for each in (4500, 5000, 7000)]
            assert max(map(abs, passed)) < 0.05, rate_hz
            assert max(stopped) < -80, rate_hz


async def test_how_the_input_is_cut_changes_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(7).uniform(-1, 1, 4000).astype(np.float32)
    async with phone_page(tmp_path) as (page, _, _):
        for rate_hz in (48_000, 44_100, 8000):
            whole = await resampled(page, noise, rate_hz)
            for cuts in ((128,), (1, 2, 999), (441, 7)):
                assert np.array_equal(await resampled(page, noise, rate_hz, cuts), whole)


async def test_resampled_sound_is_as_long_as_it_was_and_at_its_time(tmp_path: Path) -> None:
    click = np.zeros(48_000, np.float32)
    click[24_000] = 1
    async with phone_page(tmp_path) as (page, _, _):
        sound = await resampled(page, click, 48_000)
    assert len(sound) == 8000
    assert int(np.argmax(np.abs(sound))) == 4000


async def test_a_phone_s_sound_passes_unchanged(tmp_path: Path) -> None:
    noise = np.random.default_rng(7).uniform(-1, 1, 999).astype(np.float32)
    async with phone_page(tmp_path) as (page, _, _):
        assert np.array_equal(await resampled(page, noise, 8000, (128,)), noise)


# ── The microphone ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_the_microphone_hears_is_captioned_until_one_hangs_up(tmp_path: Path, spoken: Path) -> None:
    async with phone_page(tmp_path, microphone=spoken) as (page, speech, _):
        await page.get_by_role("button", name="Call", exact=True).click()
        await expect(page.get_by_text("Talking", exact=True)).to_be_visible()
        await expect(page.get_by_role("log")).to_contain_text("second 2")
        await page.get_by_role("button", name="Hang up").click()
        await all_of_it(page)
        await expect(page.get_by_role("log")).to_contain_text("Call ended: stop")
    assert np.abs(np.frombuffer(mulaw.decode(bytes(speech.sessions[0].audio)), "<i2")).max() > 1000


async def test_the_level_meter_follows_the_voice(tmp_path: Path, spoken: Path) -> None:
    async with phone_page(tmp_path, microphone=spoken) as (page, _, _):
        await page.get_by_role("button", name="Call", exact=True).click()
        await until(page, "document.querySelector('.phone meter')?.value > -35")
        await until(page, "document.querySelector('.phone meter')?.value < -45")  # between the sentences


async def test_digits_of_the_keypad_are_pressed_by_keyboard(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, _, _):
        await page.get_by_role("button", name="Call", exact=True).press("Enter")
        await expect(page.get_by_text("Talking", exact=True)).to_be_visible()
        await page.get_by_role("group", name="Keypad").get_by_role("button", name="hash").press("Enter")
        await expect(page.get_by_role("log")).to_contain_text("Key # pressed")


async def test_the_embedded_recogniser_understands_the_microphone(tmp_path: Path, spoken: Path) -> None:
    async with phone_page(tmp_path, microphone=spoken, stt={"default": "local"}) as (page, _, _):
        await page.get_by_role("button", name="Call", exact=True).click()
        await until(page, "document.querySelector('.duration')?.textContent >= '0:08'")
        await page.get_by_role("button", name="Hang up").click()
        await all_of_it(page)
        words = await page.get_by_role("log").locator(".text").all_inner_texts()
    assert share_heard(" ".join(words), "inbound", "outbound", until_s=8) >= 0.5


@pytest.mark.skipif(not SENTENCE.exists(), reason="the sentences are not beside this checkout (../shared/audio)")
async def test_the_embedded_recogniser_understands_a_sentence_it_has_never_heard(tmp_path: Path) -> None:
    said = SENTENCE.with_suffix(".txt").read_text().lower().split()
    async with phone_page(tmp_path, microphone=SENTENCE, stt={"default": "local"}) as (page, _, _):
        await page.get_by_role("button", name="Call", exact=True).click()
        await until(
            page,
            f"document.querySelector('.duration')?.textContent >= '0:{soundfile.info(SENTENCE).duration + 1:02.0f}'",
        )
        await page.get_by_role("button", name="Hang up").click()
        await all_of_it(page)
        heard = " ".join(await page.get_by_role("log").locator(".text").all_inner_texts()).lower().split()
    assert sum(word in heard for word in said) >= len(said) / 2, heard


async def test_without_permission_the_page_says_what_to_do(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, speech, _):
        await page.evaluate(
            """() => { navigator.mediaDevices.getUserMedia =
                 async () => { throw new DOMException("", "NotAllowedError"); }; }"""
        )
        await page.get_by_role("button", name="Call", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("may not use the microphone")
        await expect(page.get_by_role("button", name="Call", exact=True)).to_be_enabled()
    assert speech.sessions == []


async def test_without_a_microphone_the_page_says_so(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, _, _):
        await page.evaluate(
            """() => { navigator.mediaDevices.getUserMedia =
                 async () => { throw new DOMException("", "NotFoundError"); }; }"""
        )
        await page.get_by_role("button", name="Call", exact=True).click()
        await expect(page.get_by_role("alert")).to_have_text("There is no microphone.")


async def test_a_microphone_that_goes_away_ends_the_call(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, _, _):
        await page.evaluate(
            """() => {
                 const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
                 navigator.mediaDevices.getUserMedia = async (wanted) => (window.given = await ask(wanted));
               }"""
        )
        await page.get_by_role("button", name="Call", exact=True).click()
        await expect(page.get_by_text("Talking", exact=True)).to_be_visible()
        await page.evaluate("window.given.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
        await expect(page.get_by_role("alert")).to_have_text("The microphone went away.")


# ── The line ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_page_calls_also_where_the_platform_has_to_sign(tmp_path: Path) -> None:
    twilio = {"auth_token": LINE_TOKEN, "stream_token": "required"}
    async with phone_page(tmp_path, twilio=twilio, public_url="https://gateway.example") as (page, _, _):
        await page.get_by_role("button", name="Call", exact=True).click()
        await expect(page.get_by_role("log")).to_contain_text("second 1")


async def test_a_full_gateway_is_said_to_be_full(tmp_path: Path) -> None:
    async with phone_page(tmp_path, limits={"max_calls": 1}) as (page, _, served), phone(served.stream_url):
        await page.get_by_role("button", name="Call", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("takes no call now")


async def test_a_token_that_only_allows_to_look_places_no_call(tmp_path: Path) -> None:
    async with (
        PulseServer() as speech,
        browser() as chromium,
        gateway(tmp_path, stt=heard_by(speech), api_read_token=READ_TOKEN) as served,
        open_page(chromium, served, "/phone", token=READ_TOKEN) as page,
    ):
        await page.get_by_role("button", name="Call", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("only allows to look")
    assert speech.sessions == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        ({"Authorization": f"Bearer {READ_TOKEN}"}, 403),
    ],
)
async def test_the_line_is_closed_to_who_may_not_call(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    async with gateway(tmp_path, api_read_token=READ_TOKEN) as served:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with phone(line_of(served), **headers):
                pass
    assert refused.value.status == status


async def test_a_page_of_another_site_cannot_call_with_our_cookie(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, speech, served):
        cookies = "; ".join(f"{each['name']}={each['value']}" for each in await page.context.cookies())
        async with phone(line_of(served), Cookie=cookies, Origin=served.url):
            pass  # a page of ours can
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with phone(line_of(served), Cookie=cookies, Origin="https://elsewhere.example"):
                pass
    assert refused.value.status == 403
    assert speech.sessions == []


async def test_a_call_goes_on_while_other_pages_are_looked_at(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, _, _):
        await page.get_by_role("button", name="Call", exact=True).click()
        await expect(page.get_by_role("log")).to_contain_text("second 1")
        await page.get_by_role("link", name="Outbox").click()
        await expect(page.get_by_role("heading", name="Outbox")).to_be_visible()
        await page.get_by_role("link", name="Phone").click()
        await expect(page.get_by_text("Talking", exact=True)).to_be_visible()
        await expect(page.get_by_role("log")).to_contain_text("second 2")


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_phone_recording_arrives_sample_for_sample(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, speech, _):
        await page.get_by_label("Speed", exact=True).select_option("twenty times as fast")
        await page.get_by_label("File", exact=True).set_input_files(DEMO)
        await all_of_it(page)
    heard = {bytes(session.audio) for session in speech.sessions}
    assert heard == {audio.ljust(-(-len(audio) // 160) * 160, b"\xff") for audio in load_demo().values()}


@pytest.mark.parametrize(("form", "rate_hz"), [("WAV", 44_100), ("FLAC", 16_000), ("OGG", 48_000)])
async def test_a_recording_of_any_form_is_played_as_a_phone_would(tmp_path: Path, form: str, rate_hz: int) -> None:
    path = tmp_path / f"tone.{form.lower()}"
    soundfile.write(path, tone(1000, rate_hz), rate_hz, format=form)
    async with phone_page(tmp_path) as (page, speech, _):
        await page.get_by_label("Speed", exact=True).select_option("twenty times as fast")
        await page.get_by_label("File", exact=True).set_input_files(path)
        await all_of_it(page)
    (session,) = speech.sessions
    sound = np.frombuffer(mulaw.decode(bytes(session.audio)), "<i2").astype(np.float32) / np.float32(32768)
    assert abs(len(sound) - 8000) <= 320
    assert abs(level_db(sound)) < 0.2


async def test_a_file_that_is_dropped_on_the_page_is_heard_by_the_embedded_recogniser(tmp_path: Path) -> None:
    octets = base64.b64encode(DEMO.read_bytes()).decode()
    async with phone_page(tmp_path, stt={"default": "local"}) as (page, _, _):
        await page.get_by_label("Speed", exact=True).select_option("five times as fast")
        dropped = await page.evaluate_handle(
            """(octets) => {
                 const transfer = new DataTransfer();
                 const data = Uint8Array.from(atob(octets), (each) => each.charCodeAt(0));
                 transfer.items.add(new File([data], "demo.flac", { type: "audio/flac" }));
                 return transfer;
               }""",
            octets,
        )
        await page.get_by_role("region", name="Play a recording").dispatch_event("drop", {"dataTransfer": dropped})
        await expect(page.get_by_role("heading", name="demo.flac")).to_be_visible()
        await all_of_it(page)
        words = {
            track: " ".join(await page.get_by_role("log").locator(f"[data-track={track}] .text").all_inner_texts())
            for track in ("inbound", "outbound")
        }
    assert share_heard(words["inbound"], "inbound") >= 0.5
    assert share_heard(words["outbound"], "outbound") >= 0.5


async def test_a_file_that_is_no_sound_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam")
    async with phone_page(tmp_path) as (page, speech, _):
        await page.get_by_label("File", exact=True).set_input_files(tmp_path / "letter.txt")
        await expect(page.get_by_role("alert")).to_have_text("This browser cannot read the file as sound.")
    assert speech.sessions == []


async def test_playing_can_be_cut_short(tmp_path: Path) -> None:
    async with phone_page(tmp_path) as (page, speech, _):
        await page.get_by_label("File", exact=True).set_input_files(DEMO)
        await expect(page.get_by_role("log")).to_contain_text("second 1")
        await page.get_by_role("button", name="Hang up").click()
        await all_of_it(page)
    assert all(session.audio_s < 10 for session in speech.sessions)


# ── Looks ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_on_a_phone_nothing_has_to_be_scrolled_sideways(tmp_path: Path) -> None:
    async with (
        browser() as chromium,
        gateway(tmp_path) as served,
        open_page(chromium, served, "/phone", viewport={"width": 360, "height": 740}) as page,
    ):
        await page.get_by_label("File", exact=True).set_input_files(DEMO)
        await expect(page.get_by_role("log")).to_contain_text("second 1")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
