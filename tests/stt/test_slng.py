"""SLNG's messages, in both dialects, without a socket; and with one, what only the order of things shows."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import (
    Final,
    Finished,
    Partial,
    RecognizerEvent,
    RecognizerRequest,
    SpeechEnded,
    SpeechStarted,
    Word,
)
from gateway.stt.base import Recognizer
from gateway.stt.client import Limits, open_session
from gateway.stt.slng import SlngProtocol, _Message
from telephony_codecs.formats import AudioFormat
from tests.support.slng_server import KEY, Playing, SlngServer, SlngSession
from tests.support.strict_server import refuse

URL = "wss://api.example.com/v1/stt/slng/deepgram/nova:3-en"


def profile(url: str = URL, **settings: Any) -> SttProfile:
    return SttProfile(**{"kind": "slng", "url": url, "audio": "linear16-8000", **settings})


def request(**wanted: Any) -> RecognizerRequest:
    return RecognizerRequest(format=AudioFormat.parse(wanted.pop("format", "linear16-8000")), **wanted)


def config_of(protocol: SlngProtocol) -> dict[str, Any]:
    (init,) = protocol.opening()
    message = json.loads(init)
    assert message["type"] == "init"
    config: dict[str, Any] = message["config"]
    return config


def receive(**fields: Any) -> list[RecognizerEvent]:
    return SlngProtocol(profile(), request()).receive(json.dumps(fields))


def failure(**fields: Any) -> RecognizerUnavailable:
    with pytest.raises(RecognizerUnavailable) as raised:
        receive(**fields)
    return raised.value


# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────


def test_init_names_language_audio_and_that_partials_are_wanted() -> None:
    assert config_of(SlngProtocol(profile(), request())) == {
        "language": "en",
        "sample_rate": 8000,
        "encoding": "linear16",
        "enable_partials": True,
    }


def test_the_colon_of_the_path_stays_a_colon() -> None:
    assert SlngProtocol(profile(), request()).url == URL


def test_the_key_is_a_bearer_token() -> None:
    assert SlngProtocol(profile(api_key=SecretStr("k\n")), request()).headers == {"Authorization": "Bearer k"}


def test_options_go_into_config_as_what_they_look_like() -> None:
    tuned = profile(options={"enable_vad": "true", "vad_threshold": "0.7", "enable_partials": "false"})
    config = config_of(SlngProtocol(tuned, request()))
    assert (config["enable_vad"], config["vad_threshold"], config["enable_partials"]) == (True, 0.7, False)


def test_the_request_wins_over_options_and_they_over_the_profile() -> None:
    tuned = profile(language="de", options={"language": "fr", "sample_rate": "48000"})
    assert config_of(SlngProtocol(tuned, request()))["language"] == "fr"
    config = config_of(SlngProtocol(tuned, request(language="es", eou_timeout_ms=700)))
    assert (config["language"], config["sample_rate"], config["vad_min_silence_duration_ms"]) == ("es", 8000, 700)


def test_mulaw_is_refused_by_the_settings_because_slng_does_not_take_it() -> None:
    with pytest.raises(ValidationError, match="linear16-8000 or linear16-16000 for kind slng"):
        profile(audio="mulaw-8000")


def test_control_messages_are_text_and_audio_is_binary_and_unchanged() -> None:
    protocol = SlngProtocol(profile(), request())
    assert protocol.audio(b"\x00\xff") == (b"\x00\xff",)
    assert protocol.finalize() == ('{"type":"finalize"}',)
    assert protocol.keepalive() == ('{"type":"keepalive"}',)
    assert protocol.end() == ('{"type":"close"}',)


# ── What answers mean ────────────────────────────────────────────────────────────────────────────────────────────

WORD = Word(word="Cancel", start_s=0.2, end_s=0.5, confidence=0.9)
WORDS = [{"word": "cancel", "punctuated_word": "Cancel", "start": 0.2, "end": 0.5, "confidence": 0.9}]
CHANNEL = {"alternatives": [{"transcript": "Cancel", "confidence": 0.8, "words": WORDS}]}


@pytest.mark.parametrize("kind", ["ready", "Metadata", "Results", "partial_transcript", "something_new"])
def test_whatever_comes_first_opens_the_gate(kind: str) -> None:
    protocol = SlngProtocol(profile(), request())
    assert not protocol.is_ready
    protocol.receive(json.dumps({"type": kind}))
    assert protocol.is_ready


def test_an_error_does_not_open_the_gate() -> None:
    protocol = SlngProtocol(profile(), request())
    with pytest.raises(RecognizerUnavailable):
        protocol.receive('{"type":"error","code":"config_error"}')
    assert not protocol.is_ready


def test_a_partial() -> None:
    assert receive(type="partial_transcript", transcript="cancel my", confidence=0.8) == [Partial(text="cancel my")]


def test_a_final_without_words_has_no_times_because_its_duration_does_not_say_where() -> None:
    events = receive(
        type="final_transcript", transcript="Cancel my order.", confidence=0.96, language="en", duration=1.9
    )
    assert events == [Final(text="Cancel my order.", confidence=0.96, language="en")]


def test_words_of_the_providers_style_give_the_times() -> None:
    events = receive(type="final_transcript", transcript="Cancel", words=WORDS)
    assert events == [Final(text="Cancel", start_s=0.2, end_s=0.5, words=(WORD,))]


def test_words_of_another_provider_are_read_as_well() -> None:
    (final,) = receive(type="final_transcript", transcript="Yes", words=[{"text": "Yes", "start": 1, "end": 2}])
    assert isinstance(final, Final)
    assert final.words == (Word(word="Yes", start_s=1.0, end_s=2.0),)


@pytest.mark.parametrize(
    "words", [7, "x", [7], [{}], [{"word": "a"}], [{"word": 1, "start": 0, "end": 1}], [{"word": "a", "start": "x"}]]
)
def test_text_survives_whatever_is_wrong_with_its_words(words: Any) -> None:
    assert receive(type="final_transcript", transcript="Yes.", words=words) == [Final(text="Yes.")]


def test_results_of_deepgram_are_partials_until_they_are_final() -> None:
    assert receive(type="Results", is_final=False, channel=CHANNEL, start=0, duration=1) == [
        Partial(text="Cancel", start_s=0.2, words=(WORD,))
    ]
    assert receive(type="Results", is_final=True, speech_final=False, channel=CHANNEL) == [
        Final(text="Cancel", start_s=0.2, end_s=0.5, words=(WORD,), confidence=0.8)
    ]


def test_results_without_words_have_the_span_of_their_audio() -> None:
    channel = {"alternatives": [{"transcript": "Cancel"}]}
    (final,) = receive(type="Results", is_final=True, channel=channel, start=1.5, duration=2.0)
    assert isinstance(final, Final)
    assert (final.start_s, final.end_s) == (1.5, 3.5)


def test_text_that_the_bridge_leaves_nested_is_found() -> None:
    assert receive(type="final_transcript", channel={"alternatives": [{"transcript": "Yes."}]}) == [Final(text="Yes.")]


@pytest.mark.parametrize("huge", [10**400, 1.7e308])
def test_numbers_beyond_all_bounds_are_no_times(huge: float) -> None:
    channel = {"alternatives": [{"transcript": "Yes.", "confidence": 10**400}]}
    (final,) = receive(type="Results", is_final=True, channel=channel, start=huge, duration=huge)
    assert isinstance(final, Final)
    assert (final.end_s, final.confidence) == (None, None)


@pytest.mark.parametrize("channel", [None, 5, [], {}, {"alternatives": []}, {"alternatives": [5]}])
def test_results_without_an_alternative_say_nothing(channel: Any) -> None:
    assert receive(type="Results", is_final=True, channel=channel) == []


def test_the_answer_to_finalize_is_told_even_if_empty_and_other_empty_finals_are_not() -> None:
    assert receive(type="final_transcript", transcript="", from_finalize=True) == [Final(text="", from_finalize=True)]
    assert receive(type="Results", is_final=True, from_finalize=True, channel=CHANNEL)[0] == Final(
        text="Cancel", start_s=0.2, end_s=0.5, words=(WORD,), confidence=0.8, from_finalize=True
    )
    assert receive(type="final_transcript", transcript=" ") == []


def test_the_end_of_an_utterance_is_when_its_last_word_ended() -> None:
    assert receive(type="utterance_end", last_word_end=2.5) == [SpeechEnded(at_s=2.5)]
    assert receive(type="UtteranceEnd", channel=[0, 1], last_word_end=2.5) == [SpeechEnded(at_s=2.5)]
    assert receive(type="UtteranceEnd", last_word_end=-1) == []
    assert receive(type="SpeechStarted", timestamp=0.6) == [SpeechStarted(at_s=0.6)]
    assert receive(type="SpeechStarted") == []


CODES = {
    "auth_error": False,
    "config_error": False,
    "invalid_request": False,
    "payload_too_large": False,
    "rate_limit": True,
    "rate_limit_exceeded": True,
    "idle_timeout_exceeded": True,
    "max_connection_duration_exceeded": True,
    "not_ready": True,
    "backpressure": True,
    "stt_metering_unavailable": True,
    "provider_error": True,
    "backend_error": True,
    "backend_connection_failed": True,
    "translation_error": True,
}


@pytest.mark.parametrize(("code", "retryable"), CODES.items())
def test_every_error_code_says_whether_to_try_again(code: str, retryable: bool) -> None:
    error = failure(type="error", code=code, message="secret")
    assert (error.code, error.retryable) == (f"stt_{code}", retryable)
    assert "secret" not in str(error)


def test_toy_clients_ignore_what_is_nested_in_data() -> None:
    error = failure(type="error", data={"code": "auth_error", "message": "no such key"})
    assert (error.code, error.retryable) == ("stt_auth_error", False)


@pytest.mark.parametrize(
    "fields", [{"type": "Error", "description": "x"}, {"type": "error", "code": "new"}, {"type": "error", "data": 5}]
)
def test_an_error_of_no_known_code_is_worth_another_try(fields: dict[str, Any]) -> None:
    error = failure(**fields)
    assert (error.code, error.retryable) == ("stt_vendor_error", True)


@pytest.mark.parametrize("code", [1000, 1001, 1005])
def test_toy_clients_take_the_close_after_the_finals_for_an_error(code: int) -> None:
    protocol = SlngProtocol(profile(), request())
    protocol.end()
    assert protocol.closed(code) == [Finished()]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1011])
def test_a_close_that_nobody_asked_for_is_a_loss(code: int) -> None:
    with pytest.raises(RecognizerUnavailable):
        SlngProtocol(profile(), request()).closed(code)


@pytest.mark.parametrize("code", [1006, 1008, 1011])
def test_a_close_with_another_code_is_a_loss_even_at_the_end(code: int) -> None:
    protocol = SlngProtocol(profile(), request())
    protocol.end()
    with pytest.raises(RecognizerUnavailable):
        protocol.closed(code)


@pytest.mark.parametrize("message", ["", "[]", "{}", '{"type":5}', b"\0"])
def test_garbage_is_a_protocol_error(message: str | bytes) -> None:
    with pytest.raises(RecognizerProtocolError):
        SlngProtocol(profile(), request()).receive(message)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from(["alternatives", "words", "code"]), children),
    max_leaves=8,
)
_kinds = st.sampled_from(
    ["final_transcript", "partial_transcript", "Results", "error", "UtteranceEnd", "SpeechStarted"]
)


@settings(deadline=None)
@given(fields=st.dictionaries(st.sampled_from(_Message.__struct_fields__), _json), kind=_kinds, cut=st.integers(0, 400))
def test_any_message_gives_events_or_one_of_two_errors(fields: dict[str, Any], kind: str, cut: int) -> None:
    for fields_ in (fields, {**fields, "type": kind}):
        for message in (json.dumps(fields_), json.dumps(fields_)[:cut]):
            try:
                events = SlngProtocol(profile(), request()).receive(message)
            except (RecognizerProtocolError, RecognizerUnavailable):
                continue
            assert all(isinstance(event, Partial | Final | SpeechStarted | SpeechEnded) for event in events)


# ── The order of things, over a socket ───────────────────────────────────────────────────────────────────────────

AUDIO = bytes(range(250)) * 4


@asynccontextmanager
async def session_with(*acts: Playing) -> AsyncIterator[tuple[SlngServer, Recognizer]]:
    async with SlngServer(*acts) as server:
        chosen = profile(server.url, api_key=SecretStr(KEY), connect_timeout_s=2.0)
        limits = Limits(close_timeout_s=0.05)
        async with open_session(chosen, SlngProtocol(chosen, request()), limits) as recognizer:
            yield server, recognizer


async def rest_of(recognizer: Recognizer) -> list[RecognizerEvent]:
    async with asyncio.timeout(5):
        return [event async for event in recognizer.events()]


async def _recognise(session: SlngSession) -> None:
    await session.ready()
    await session.receive_until("finalize")
    await session.final("Cancel.", from_finalize=True)
    await session.receive_until("close")
    await session.final("Thanks.")
    await session.close()


async def test_a_session_from_init_to_the_normal_close() -> None:
    async with session_with(_recognise) as (server, recognizer):
        await recognizer.send(AUDIO)
        await recognizer.keepalive()
        await recognizer.finalize()
        await recognizer.end()
        told = await rest_of(recognizer)
    assert told == [Final(text="Cancel.", from_finalize=True), Final(text="Thanks."), Finished()]
    assert server.sessions[0].controls == ["init", "keepalive", "finalize", "close"]
    assert server.sessions[0].audio == AUDIO


async def test_toy_clients_send_audio_before_ready() -> None:
    async def act(session: SlngSession) -> None:
        await session.receive_until("init")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.receive())  # a violation while the server is not open to audio
            await (await session.connection.ping())
            await session.ready()
        await _recognise(session)

    async with SlngServer(act) as server:
        await _send_at_once(server.url)
        assert server.sessions[0].audio == AUDIO


async def _send_at_once(url: str) -> None:
    chosen = profile(url, api_key=SecretStr(KEY))
    async with open_session(chosen, SlngProtocol(chosen, request())) as recognizer:
        await recognizer.send(AUDIO)
        await recognizer.finalize()
        await recognizer.end()
        await rest_of(recognizer)


async def test_toy_clients_wait_for_ready_where_only_metadata_comes() -> None:
    async def act(session: SlngSession) -> None:
        await session.receive_until("init")
        session.is_open_to_audio = True
        await session.send(type="Metadata", request_id="r")
        await session.receive_until("close")
        await session.send(type="Results", is_final=True, channel=CHANNEL)
        await session.close()

    async with session_with(act) as (_, recognizer):
        await recognizer.send(AUDIO)
        await recognizer.end()
        assert [event.text for event in await rest_of(recognizer) if isinstance(event, Final)] == ["Cancel"]


async def test_where_nothing_comes_before_the_first_audio_it_is_sent_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SlngProtocol, "ready_within_s", 0.02)

    async def act(session: SlngSession) -> None:
        session.is_open_to_audio = True
        await session.receive_until("close")
        await session.send(type="Results", is_final=True, channel=CHANNEL)
        await session.close()

    async with session_with(act) as (server, recognizer):
        await recognizer.send(AUDIO)
        await recognizer.end()
        assert Finished() in await rest_of(recognizer)
    assert server.sessions[0].audio == AUDIO


@pytest.mark.parametrize(("code", "retryable"), [("auth_error", False), ("backpressure", True)])
async def test_an_error_instead_of_ready_is_a_session_that_was_not_opened(code: str, retryable: bool) -> None:
    async def act(session: SlngSession) -> None:
        await session.receive_until("init")
        await session.send(type="error", data={"code": code, "message": "x"})

    with pytest.raises(RecognizerUnavailable) as raised:
        async with session_with(act):
            pass
    assert (raised.value.code, raised.value.retryable) == (f"stt_{code}", retryable)


async def test_a_wrong_key_is_refused_before_the_upgrade() -> None:
    async with SlngServer(refuse(401)) as server:
        with pytest.raises(RecognizerUnavailable) as raised:
            await _send_at_once(server.url)
    assert (raised.value.code, raised.value.retryable) == ("stt_refused_401", False)


async def test_a_close_before_close_was_asked_for_is_a_loss_after_the_finals() -> None:
    async def act(session: SlngSession) -> None:
        await session.ready()
        await session.final("Heard.")
        await session.close(1000)

    async with session_with(act) as (_, recognizer):
        events = aiter(recognizer.events())
        assert await anext(events) == Final(text="Heard.")
        with pytest.raises(RecognizerUnavailable) as raised:
            await anext(events)
    assert raised.value.code == "stt_closed_early"
