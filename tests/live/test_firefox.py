"""The console in a browser of another make: what its engine may do otherwise than Chromium's."""

from pathlib import Path

import numpy as np

from gateway.simulate import recording
from telephony_codecs import mulaw
from tests.support.console import TOKEN, gateway
from tests.support.cut_line import CutLine
from tests.support.demo_speech import demo_speech
from tests.support.firefox import Tab, firefox, sound_output
from tests.support.kept_calls import keep_call, until_found
from tests.support.pulse_server import PulseServer, PulseSession
from tests.support.whole_gateway import heard_by, start

DEMO = Path(recording.__file__).parent / "recordings" / "demo.flac"
SAID = [turn.text for turn in recording.demo_turns()]


def shows(text: str, place: str = "main") -> str:
    return f"[...document.querySelectorAll({place!r})].some(each => each.textContent.includes({text!r}))"


def rms(session: PulseSession) -> float:
    """Root mean square of what a recogniser was sent; full scale is 32768."""
    return float(np.sqrt(np.mean(np.square(np.frombuffer(mulaw.decode(bytes(session.audio)), "<i2"), dtype=float))))


async def log_in(tab: Tab, url: str) -> None:
    await tab.open(url)
    await tab.click("input[name=token]")
    await tab.type(f"{TOKEN}\n")
    await tab.until("document.querySelector('nav')")


async def test_a_call_is_seen_live_then_found_and_played(tmp_path: Path) -> None:
    async with (
        demo_speech(1) as stt,
        gateway(tmp_path, stt=stt, recording={"enabled": True}) as served,
        firefox() as tab,
    ):
        await log_in(tab, served.url)
        await tab.until(shows("Feed live", "[role=status]"))
        caller = await start("call", str(DEMO), "--url", served.stream_url)
        await tab.until(shows("unless to be", ".partial"))
        await tab.until(shows(SAID[0], "[role=log]"))
        assert await caller.wait() == 0
        await tab.until(shows(SAID[2], "[role=log]"))

        await tab.click("nav a[href='/calls']")
        await until_found(served, "amiable him", 1)
        await tab.click("input[type=search]")
        await tab.type("amiable him")
        await tab.until(shows("amiable", "main a"))
        await tab.click("main a mark")
        await tab.click(".word")
        await tab.until("document.querySelector('audio').readyState >= 1")
        await tab.type(" ")
        await tab.until("document.querySelector('.word.heard') && !document.querySelector('audio').paused")


async def test_after_a_broken_line_the_page_comes_back_by_itself(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, CutLine(served.port) as line, firefox() as tab:
        await log_in(tab, f"http://127.0.0.1:{line.port}")
        await tab.until(shows("Feed live", "[role=status]"))
        line.cut()
        await tab.until(shows("Reconnecting since", "[role=status]"))
        await keep_call(served, seconds=1)
        line.mend()
        await tab.until(shows("Feed live", "[role=status]"))
        await tab.click("nav a[href='/calls']")
        await tab.until("document.querySelectorAll('tbody tr').length === 1")


async def test_what_the_microphone_hears_is_transcribed(tmp_path: Path) -> None:
    async with (
        PulseServer() as speech,
        gateway(tmp_path, stt=heard_by(speech)) as served,
        sound_output() as sound,
        firefox(**sound) as tab,
    ):
        await log_in(tab, f"{served.url}/login?next=/phone")
        await tab.click("button.first")
        await tab.until(shows("second 2", "[role=log]"))
        await tab.click("button.hang-up")
        await tab.until(shows("Call ended: stop", "[role=log]"))
    (session,) = speech.sessions
    assert rms(session) > 1000


async def test_without_a_sound_output_the_microphone_is_said_to_need_one(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, firefox() as tab:
        await log_in(tab, f"{served.url}/login?next=/phone")
        await tab.click("button.first")
        await tab.until(shows("There is no sound output", "[role=alert]"))
        await tab.until("!document.querySelector('button.first').disabled")


async def test_a_recording_is_played_into_a_call(tmp_path: Path) -> None:
    async with PulseServer() as speech, gateway(tmp_path, stt=heard_by(speech)) as served, firefox() as tab:
        await log_in(tab, f"{served.url}/login?next=/phone")
        await tab.until("document.querySelector('#file')")
        await tab.choose("#file", DEMO)
        await tab.until(shows("second 3", "[role=log]"))
        await tab.click("button.hang-up")
        await tab.until(shows("Call ended: stop", "[role=log]"))
    assert max(rms(session) for session in speech.sessions) > 100  # one listens while the other speaks
