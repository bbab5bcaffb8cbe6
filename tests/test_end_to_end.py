"""Real speech, the embedded recogniser, real sockets, official verification: everything at once."""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.events import Track
from gateway.server import serving
from gateway.simulate import recording, softphone
from gateway.simulate.recording import Turn
from telephony_codecs import mulaw
from telephony_codecs.resample import Resampler
from tests.support import seeds
from tests.support.wav_file import wav
from tests.support.webhook_receiver import SECRET, Receiver
from tests.support.whole_gateway import posted_to, settings, until_ended

SPEED = 6.0
TOLERANCE_S = 0.5
API_TOKEN = "sk_test"
ONE_WORKER = {"workers": 1}  # each loads its own model
RECORDINGS = Path(__file__).parents[1].parent / "shared" / "audio"


def free_port() -> int:
    """One that is likely still free when the gateway takes it: a profile's address must name it before."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def transcribed(
    data_dir: Path, audio: Mapping[Track, bytes], *, port: int = 0, **stt: Any
) -> list[dict[str, Any]]:
    """The data of a call's verified events, in the order of their arrival."""
    async with Receiver() as receiver:
        # Faster than real time on whatever machine: what counts is what is heard, not how soon.
        stt = {"drain_s": 120, "buffer_s": 120, **stt}
        tree = {"webhook": posted_to(receiver), "api_token": API_TOKEN, "port": port, "stt": stt, "engine": ONE_WORKER}
        async with serving(settings(data_dir, **tree)) as served:
            call = softphone.TwilioCall(url=served.stream_url, audio=audio, speed=SPEED)
            assert (await softphone.place(call)).close_code == 1000
            await until_ended(receiver)
        events = [request.verify(SECRET) for request in receiver.requests]
    assert [event["data"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events] == [
        "call.started",
        *["transcript.final"] * (len(events) - 2),
        "call.ended",
    ]
    return [event["data"] for event in events]


def assert_heard(events: list[dict[str, Any]], turns: list[Turn], audio: Mapping[Track, bytes]) -> None:
    """Each turn begins a final of its track, whose words lie in it, and the end holds the whole conversation."""
    _, *finals, ended = events
    for turn in turns:
        mine = [each for each in finals if each["track"] == turn.track]
        assert any(abs(each["start_s"] - turn.start_s) <= TOLERANCE_S for each in mine), turn
    for final in finals:
        assert final["text"]
        assert any(
            final["track"] == turn.track
            and turn.start_s - TOLERANCE_S <= word["start_s"] <= word["end_s"] <= turn.end_s + TOLERANCE_S
            for word in final["words"]
            for turn in turns
        ), final
    assert ended["complete"] is True
    assert (ended["outcome"], ended["reason"]) == ("completed", "stop")
    assert ended["duration_s"] == pytest.approx(len(audio[Track.INBOUND]) / 8000, abs=0.02)
    assert [each["text"] for each in ended["conversation"]] == [
        each["text"] for each in sorted(finals, key=lambda final: float(final["start_s"]))
    ]


def assert_words_of(events: list[dict[str, Any]], sentence: str, least: float) -> None:
    """At least so much of the sentence was heard by somebody."""
    heard = {word for final in events[1:-1] for word in final["text"].split()}
    words = sentence.split()
    assert sum(word in heard for word in words) >= least * len(words), heard


async def test_the_demo_call_is_heard_by_the_embedded_recogniser_true_to_time(tmp_path: Path) -> None:
    audio = recording.load_demo()
    events = await transcribed(tmp_path, audio)
    assert_heard(events, recording.demo_turns(), audio)
    assert_words_of(events, "he might even have been made amiable himself", 0.6)


@pytest.mark.parametrize(
    ("kind", "path", "form"),
    [
        ("pulse-live", "/waves/v1/stt/live", "mulaw-8000"),
        ("pulse", "/waves/v1/pulse/get_text", "linear16-16000"),
    ],
)
async def test_the_demo_call_is_heard_through_the_gateways_own_speech_api_just_as_well(
    kind: str, path: str, form: str, tmp_path: Path
) -> None:
    """The speech client and the served API, each written from the vendor's documents, prove one another."""
    port = free_port()
    own = {"kind": kind, "url": f"ws://127.0.0.1:{port}{path}", "api_key": API_TOKEN, "audio": form}
    audio = recording.load_demo()
    events = await transcribed(tmp_path, audio, port=port, default="own", profiles={"own": own})
    assert_heard(events, recording.demo_turns(), audio)
    assert_words_of(events, "he might even have been made amiable himself", 0.6)
    assert {final["provider"] for final in events[1:-1]} == {"own"}


async def test_a_call_between_two_people_is_heard_true_to_time(tmp_path: Path) -> None:
    if not (RECORDINGS / "call-a.wav").exists():
        pytest.skip("the recorded call is not beside this checkout (../shared/audio)")
    audio = recording.load(RECORDINGS / "call-a.wav")
    turns = msgspec.json.decode((RECORDINGS / "call-a.json").read_bytes(), type=list[Turn])
    assert_heard(await transcribed(tmp_path, audio), turns, audio)


async def test_the_vendors_own_programs_get_a_transcript_from_the_embedded_recogniser(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sentence = mulaw.decode(recording.load_demo()[Track.OUTBOUND])[8 * 8000 :]  # a byte pair per sample: from 4 s on
    resampler = Resampler(8000, 16_000)
    audio = tmp_path / "audio.wav"
    audio.write_bytes(wav(resampler.process(sentence) + resampler.flush()))
    async with serving(settings(tmp_path / "data", api_token=API_TOKEN, engine=ONE_WORKER)) as served:
        host = served.url.removeprefix("http://")
        programs = {
            "realtime": seeds.pulse_realtime(host, audio),
            "agent": seeds.live_agent(host, API_TOKEN, audio),
            "single_shot": seeds.live_single_shot(host, API_TOKEN, audio),
        }
        async with asyncio.TaskGroup() as tasks:
            runs = [
                tasks.create_task(seeds.run(program, tmp_path_factory.mktemp(name), key=API_TOKEN))
                for name, program in programs.items()
            ]
    for run in runs:
        assert (run.result().code, run.result().errors) == (0, "")
        assert "have been made" in run.result().output
