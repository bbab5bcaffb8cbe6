"""vosk-server: its messages without a socket, then the driver against a strict server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest, Word
from gateway.stt.base import Recognizer
from gateway.stt.client import Limits, open_session
from gateway.stt.vosk import VoskProtocol
from telephony_codecs.formats import AudioFormat
from tests.support.strict_server import refuse
from tests.support.vosk_server import VoskServer, VoskSession, recognise

LINEAR = AudioFormat.parse("linear16-8000")
TENTH = bytes(1600)
"""A tenth of a second of linear16 at 8 kHz."""


def profile(url: str = "ws://127.0.0.1:2700", **settings: Any) -> SttProfile:
    return SttProfile(**{"kind": "vosk", "url": url, "audio": "linear16-8000", **settings})


def protocol(profiled: SttProfile | None = None, **wanted: Any) -> VoskProtocol:
    return VoskProtocol(profiled or profile(), RecognizerRequest(**{"format": LINEAR, **wanted}))


def config(profiled: SttProfile | None = None, **wanted: Any) -> Any:
    (message,) = protocol(profiled, **wanted).opening()
    assert isinstance(message, str)
    return json.loads(message)


def heard(*answers: dict[str, Any]) -> list[RecognizerEvent]:
    """What these answers to chunks of audio mean."""
    session = protocol()
    events: list[RecognizerEvent] = []
    for answer in answers:
        session.audio(TENTH)
        events += session.receive(json.dumps(answer))
    return events


def finals(events: list[RecognizerEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


THANKS = {"result": [{"conf": 0.99, "end": 0.8, "start": 0.3, "word": "thanks"}], "text": "thanks"}
NOTHING = {"partial": ""}

# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_configuration_says_rate_and_words_because_the_servers_own_may_be_others() -> None:
    assert config() == {"config": {"sample_rate": 8000, "words": True}}
    assert config(format=AudioFormat.parse("linear16-16000"))["config"]["sample_rate"] == 16000


def test_options_are_fields_of_the_configuration_but_rate_and_words_are_ours() -> None:
    tuned = profile(
        options={"phrase_list": '["yes", "no"]', "max_alternatives": "3", "words": "false", "sample_rate": "1"}
    )
    assert config(tuned)["config"] == {
        "phrase_list": ["yes", "no"],
        "max_alternatives": 3,
        "sample_rate": 8000,
        "words": True,
    }


def test_mulaw_is_refused_with_the_settings_because_the_server_would_take_it_for_samples() -> None:
    with pytest.raises(
        ValidationError, match="audio must be linear16-8000 or linear16-16000 for kind vosk, not mulaw-8000"
    ):
        profile(audio="mulaw-8000")


def test_the_default_audio_is_refused_too() -> None:
    with pytest.raises(ValidationError, match="audio must be"):
        SttProfile(kind="vosk", url="ws://127.0.0.1:2700")


def test_a_model_is_refused_because_it_would_be_every_clients() -> None:
    with pytest.raises(ValidationError, match="model"):
        profile(options={"model": "/models/other"})


def test_a_server_without_keys_is_sent_none_and_a_proxy_before_it_one() -> None:
    assert protocol().headers == {}
    assert protocol(profile(api_key=SecretStr("sk_1"))).headers == {"Authorization": "Bearer sk_1"}


def test_the_end_is_eof_byte_for_byte() -> None:
    """Toy clients send json.dumps({"eof": 1}), which the server takes for audio, and crashes."""
    assert protocol().end() == ('{"eof" : 1}',)


def test_finalize_is_reset_byte_for_byte() -> None:
    assert protocol().finalize() == ('{"reset" : 1}',)


def test_nothing_keeps_the_session_alive_because_any_text_would_be_taken_for_audio() -> None:
    assert protocol().keepalive() == ()


def test_audio_may_be_sent_at_once_and_is_sent_as_it_is() -> None:
    session = protocol()
    assert session.is_ready
    assert session.audio(b"\x00\xff") == (b"\x00\xff",)


# ── What answers mean ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_utterance_is_one_final_with_words_and_no_language() -> None:
    assert heard(THANKS) == [
        Final(
            text="thanks",
            start_s=0.3,
            end_s=0.8,
            words=(Word(word="thanks", start_s=0.3, end_s=0.8, confidence=0.99),),
        )
    ]


def test_of_a_partial_for_every_chunk_only_the_changes_are_passed_on() -> None:
    answers = [NOTHING, NOTHING, {"partial": "thank"}, {"partial": "thank"}, {"partial": "thanks"}]
    assert heard(*answers) == [Partial(text="thank"), Partial(text="thanks")]


def test_an_utterance_that_comes_to_nothing_takes_back_its_partial() -> None:
    assert heard({"partial": "huh"}, {"text": ""}) == [Partial(text="huh"), Partial(text="")]


def test_the_same_words_after_a_final_are_heard_again() -> None:
    assert heard({"partial": "thanks"}, THANKS, {"partial": "thanks"})[-1] == Partial(text="thanks")


def test_a_server_that_does_not_show_words_gives_text_without_times() -> None:
    assert heard({"text": "thanks"}) == [Final(text="thanks")]


def test_of_alternatives_the_first_counts_and_its_score_is_no_confidence() -> None:
    best = {"confidence": 231.5, "text": " thanks", "result": [{"start": 0.3, "end": 0.8, "word": "thanks"}]}
    assert heard({"alternatives": [best, {"confidence": 120.0, "text": "tanks"}]}) == [
        Final(text="thanks", start_s=0.3, end_s=0.8, words=(Word(word="thanks", start_s=0.3, end_s=0.8),))
    ]


def test_a_speaker_model_does_not_matter() -> None:
    assert finals(heard(THANKS | {"spk": [0.1, 0.2], "spk_frames": 80})) == ["thanks"]


@pytest.mark.parametrize("result", ["none", [7], [{"word": "thanks"}], [{"word": "thanks", "start": "soon", "end": 1}]])
def test_text_survives_whatever_is_wrong_with_its_words(result: Any) -> None:
    assert heard({"text": "thanks", "result": result}) == [Final(text="thanks")]


def test_finalize_is_answered_by_the_answer_to_its_reset_and_no_other() -> None:
    """The answer to audio that was sent before may be a final, too."""
    session = protocol()
    session.audio(TENTH)
    session.finalize()
    session.audio(TENTH)
    events = [event for answer in (THANKS, {"text": ""}, THANKS) for event in session.receive(json.dumps(answer))]
    assert [(event.text, event.from_finalize) for event in events if isinstance(event, Final)] == [
        ("thanks", False),
        ("", True),
        ("thanks", False),
    ]


def test_the_end_is_the_answer_to_eof_and_not_the_first_final_after_it() -> None:
    """Toy clients read one message after eof, and lose what came for audio that was still under way."""
    session = protocol()
    session.audio(TENTH)
    session.audio(TENTH)
    session.end()
    assert Finished() not in session.receive(json.dumps(THANKS))
    assert session.receive(json.dumps(NOTHING)) == []
    assert session.receive(json.dumps({"text": "bye"})) == [Final(text="bye"), Finished()]


def test_an_answer_that_makes_no_sense_is_still_an_answer() -> None:
    session = protocol()
    session.audio(TENTH)
    session.end()
    with pytest.raises(RecognizerProtocolError):
        session.receive("{")
    assert session.receive(json.dumps({"text": ""})) == [Finished()]


def test_a_last_answer_that_makes_no_sense_is_the_end_all_the_same() -> None:
    session = protocol()
    session.end()
    assert session.receive("{") == [Finished()]


@pytest.mark.parametrize(
    ("code", "named"), [(1000, "stt_closed_early"), (1011, "stt_closed_1011"), (1006, "stt_connection_lost")]
)
def test_a_close_before_the_answer_to_eof_is_a_loss(code: int, named: str) -> None:
    session = protocol()
    session.end()
    with pytest.raises(RecognizerUnavailable) as raised:
        session.closed(code)
    assert (raised.value.code, raised.value.retryable) == (named, True)


# ── The driver against a strict server ───────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def opened(server: VoskServer, **settings: Any) -> AsyncIterator[Recognizer]:
    chosen = profile(server.url, connect_timeout_s=2.0, **settings)
    made = protocol(chosen, format=chosen.format)
    async with open_session(chosen, made, Limits(close_timeout_s=0.05)) as recognizer:
        yield recognizer


async def rest_of(recognizer: Recognizer) -> list[RecognizerEvent]:
    async with asyncio.timeout(5):
        return [event async for event in recognizer.events()]


@pytest.mark.parametrize(
    ("audio", "options"),
    [("linear16-8000", {}), ("linear16-16000", {}), ("linear16-8000", {"max_alternatives": "2"})],
)
async def test_a_session_gives_utterances_with_times_and_the_end(audio: str, options: dict[str, str]) -> None:
    form = AudioFormat.parse(audio)
    async with VoskServer() as server, opened(server, audio=audio, options=options) as recognizer:
        for _ in range(25):
            await recognizer.send(bytes(form.rate_hz * form.bytes_per_sample // 10))
        await recognizer.end()
        events = await rest_of(recognizer)
    assert finals(events) == ["second 1", "second 2", "second 3"]
    assert [(event.start_s, event.end_s) for event in events if isinstance(event, Final)] == [(0, 1), (1, 2), (2, 2.5)]
    assert events[-1] == Finished()


async def test_audio_does_not_wait_for_answers() -> None:
    """Toy clients send a chunk, wait for its answer, and fall behind the call."""
    answers = asyncio.Event()
    async with VoskServer(recognise(answers_when=answers)) as server, opened(server) as recognizer:
        for _ in range(60):
            await recognizer.send(TENTH)
        await recognizer.end()
        answers.set()
        assert len(finals(await rest_of(recognizer))) == 6


async def test_finalize_is_answered_and_times_go_on() -> None:
    async with VoskServer() as server, opened(server) as recognizer:
        await recognizer.send(TENTH * 5)
        await recognizer.finalize()
        await recognizer.finalize()
        await recognizer.send(TENTH * 5)
        await recognizer.end()
        found = [event for event in await rest_of(recognizer) if isinstance(event, Final)]
    assert [(final.text, final.start_s, final.from_finalize) for final in found] == [
        ("second 1", 0.0, True),
        ("", None, True),
        ("second 1", 0.5, False),
    ]


async def test_a_session_without_audio_ends_like_any_other() -> None:
    async with VoskServer() as server, opened(server) as recognizer:
        await recognizer.keepalive()
        await recognizer.end()
        assert await rest_of(recognizer) == [Finished()]


async def test_a_server_that_crashes_is_a_loss_that_is_worth_another_try() -> None:
    async def act(session: VoskSession) -> None:
        await session.receive_heard()
        await session.close(1011)

    async with VoskServer(act) as server, opened(server) as recognizer:
        await recognizer.send(TENTH)
        with pytest.raises(RecognizerUnavailable) as raised:
            await rest_of(recognizer)
    assert (raised.value.code, raised.value.retryable) == ("stt_closed_1011", True)


async def test_a_proxy_that_refuses_is_believed() -> None:
    async with VoskServer(refuse(403)) as server:
        with pytest.raises(RecognizerUnavailable) as raised:
            async with opened(server):
                pass
    assert (raised.value.code, raised.value.retryable) == ("stt_refused_403", False)


class Toy(VoskProtocol):
    """What toy clients do: JSON as their library writes it."""

    def end(self) -> tuple[str]:
        return (json.dumps({"eof": 1}),)


async def test_the_server_of_these_tests_notices_toy_clients() -> None:
    async with VoskServer(strict=False) as server:
        chosen = profile(server.url)
        toy = Toy(chosen, RecognizerRequest(format=LINEAR))
        async with open_session(chosen, toy, Limits(close_timeout_s=0.05)) as recognizer:
            with suppress(RecognizerUnavailable):
                await recognizer.end()
            await server.until(lambda: bool(server.violations))
    assert server.violations == ['text for audio: {"eof": 1}']
