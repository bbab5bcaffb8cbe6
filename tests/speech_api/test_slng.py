"""SLNG, as the server speaks it, without a socket."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import SpeechApiSettings
from gateway.events import Final, Finished, Partial, SpeechEnded, SpeechStarted, Word
from gateway.speech_api import slng
from gateway.speech_api.base import (
    CLIENT_LEFT,
    INTERNAL_ERROR,
    NORMAL_CLOSURE,
    POLICY_VIOLATION,
    Action,
    Close,
    End,
    Finalize,
    Hear,
    KeepAlive,
    Report,
    Say,
)
from gateway.speech_api.slng import SlngSession, open_slng
from telephony_codecs.formats import AudioFormat
from tests.support.wav_file import wav

AUDIO = bytes(range(256)) * 4
SETTINGS = SpeechApiSettings()
IDLE_S = SETTINGS.idle_timeout_s
S1 = {"language": "en", "sample_rate": 16000, "encoding": "linear16"}
FINAL = Final(
    text="Cancel my order.",
    start_s=1.0,
    end_s=2.9,
    words=(Word(word="Cancel", start_s=1.0, end_s=1.5, confidence=0.97123), Word(word="my", start_s=1.5, end_s=1.75)),
    language="en",
    confidence=0.96,
)


def new() -> SlngSession:
    session = open_slng({}, SETTINGS, "sl-7", 0.0)
    assert isinstance(session, SlngSession)
    return session


def init(session: SlngSession, config: Any = S1, **more: Any) -> list[Action]:
    return session.receive(json.dumps({"type": "init", "config": config, **more}), 1.0)


def ready(config: Any = S1) -> SlngSession:
    session = new()
    assert init(session, config) == []
    session.opened()
    return session


def control(session: SlngSession, kind: str, now: float = 2.0, **fields: Any) -> list[Action]:
    return session.receive(json.dumps({"type": kind, **fields}), now)


def said(actions: list[Action]) -> list[dict[str, Any]]:
    return [json.loads(action.text) for action in actions if isinstance(action, Say)]


def refused(actions: list[Action], code: str) -> str:
    """The session was given up with this code of an error; its message."""
    (message,) = said(actions)
    assert (message["type"], message["code"], actions[-1]) == ("error", code, Close(POLICY_VIOLATION))
    assert isinstance(message["message"], str)
    return message["message"]


# ── init ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_known_of_the_request_before_init() -> None:
    assert new().request is None


def test_init_says_what_the_recogniser_is_wanted_for_and_is_answered_when_it_is_open() -> None:
    session = new()
    assert init(session, {"language": "de", "sample_rate": 8000, "encoding": "linear16"}) == []
    assert session.request is not None
    assert (session.request.format, session.request.language) == (AudioFormat.parse("linear16-8000"), "de")
    assert said(session.opened()) == [{"type": "ready", "session_id": "sl-7", "slng_request_id": "sl-7"}]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 32000, 48000, "16000"])
def test_every_documented_rate_is_heard(rate: Any) -> None:
    session = ready({**S1, "sample_rate": rate})
    assert session.request is not None
    assert session.request.format.rate_hz == int(rate)


@pytest.mark.parametrize(
    "config", [{}, None, {"language": None, "sample_rate": None, "encoding": None}, {"language": ""}], ids=str
)
def test_what_init_leaves_out_is_16_khz_linear16_in_the_recognisers_language(config: Any) -> None:
    session = ready(config)
    assert session.request is not None
    assert (session.request.format, session.request.language) == (AudioFormat.parse("linear16-16000"), None)


@pytest.mark.parametrize("language", ["en", "en-US", "zh-Hans-CN", "multi"])
def test_languages_with_a_region_are_passed_on(language: str) -> None:
    session = ready({**S1, "language": language})
    assert session.request is not None
    assert session.request.language == language


@pytest.mark.parametrize(("asked_ms", "wanted_ms"), [(300, 300), (1, 100), (60_000, 10_000)])
def test_the_silence_that_ends_an_utterance_reaches_the_recogniser(asked_ms: int, wanted_ms: int) -> None:
    session = ready({**S1, "vad_min_silence_duration_ms": asked_ms})
    assert session.request is not None
    assert session.request.eou_timeout_ms == wanted_ms


def test_options_of_plugins_and_providers_do_not_disturb() -> None:
    ready(
        {
            **S1,
            "enable_vad": True,
            "vad_threshold": 0.5,
            "vad_speech_pad_ms": 30,
            "enable_diarization": False,
            "min_speakers": 1,
            "max_speakers": 2,
            "channels": 1,
            "smart_format": True,
            "utterances": [{"anything": "else"}],
        }
    )
    assert init(new(), S1, model="slng/deepgram/nova:3-en") == []


MALFORMED = [
    ({"encoding": "mp3"}, "linear16"),
    ({"encoding": "opus"}, "linear16"),
    ({"encoding": "mulaw"}, "linear16"),
    ({"encoding": 5}, "encoding"),
    ({"sample_rate": 44100}, "sample_rate"),
    ({"sample_rate": "fast"}, "sample_rate"),
    ({"sample_rate": 8000.5}, "sample_rate"),
    ({"language": "english please"}, "language"),
    ({"channels": 2}, "channels"),
    ({"enable_partials": "perhaps"}, "enable_partials"),
    ({"vad_threshold": []}, "vad_threshold"),
]


@pytest.mark.parametrize(("config", "named"), MALFORMED, ids=str)
def test_a_config_that_is_not_served_is_a_config_error_that_names_the_field(config: Any, named: str) -> None:
    session = new()
    assert named in refused(init(session, {**S1, **config}), "config_error")
    assert session.request is None


@pytest.mark.parametrize("config", [5, [], "x"], ids=str)
def test_a_config_that_is_no_object_is_a_config_error(config: Any) -> None:
    refused(init(new(), config), "config_error")


def test_a_second_init_is_refused_and_the_session_goes_on() -> None:
    session = ready()
    (message,) = said(init(session, {**S1, "sample_rate": 8000}))
    assert message["code"] == "invalid_request"
    assert session.request is not None
    assert session.request.format.rate_hz == 16000
    assert session.receive(AUDIO, 3.0) == [Hear(AUDIO)]


# ── Before init ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_toy_clients_send_audio_before_init() -> None:
    assert "init" in refused(new().receive(AUDIO, 1.0), "not_ready")
    refused(control(new(), "audio", data=base64.b64encode(AUDIO).decode()), "not_ready")


def test_toy_clients_do_not_wait_for_ready_and_lose_nothing() -> None:
    session = new()
    init(session)
    assert session.receive(AUDIO, 1.1) == [Hear(AUDIO)]
    assert control(session, "close") == [End()]
    assert [message["type"] for message in said(session.opened())] == ["ready"]


@pytest.mark.parametrize("word", ["close", "stop"])
def test_a_client_that_closes_before_init_is_closed_normally(word: str) -> None:
    assert control(new(), word) == [Close(NORMAL_CLOSURE)]


def test_other_messages_before_init_are_answered_and_forgiven() -> None:
    session = new()
    assert [message["code"] for message in said(control(session, "finalize"))] == ["not_ready"]
    assert control(session, "keepalive") == []
    assert init(session) == []


def test_a_client_that_never_says_init_is_given_up() -> None:
    session = new()
    assert session.next_deadline() == IDLE_S
    refused(session.handle_timeout(IDLE_S), "idle_timeout_exceeded")


def test_a_client_that_leaves_before_init_leaves_nothing() -> None:
    assert new().disconnected() == [Close(CLIENT_LEFT)]


# ── Audio and control ───────────────────────────────────────────────────────────────────────────────────────────


def test_audio_may_be_binary_or_base64() -> None:
    session = ready()
    assert session.receive(AUDIO, 2.0) == [Hear(AUDIO)]
    assert control(session, "audio", data=base64.b64encode(AUDIO).decode()) == [Hear(AUDIO)]


@pytest.mark.parametrize("data", [None, 5, "%%%", "a", "\u00e9"])
def test_base64_that_is_none_is_answered_and_forgiven(data: Any) -> None:
    session = ready()
    (message,) = said(control(session, "audio", data=data))
    assert message["code"] == "invalid_request"
    assert session.receive(AUDIO, 3.0) == [Hear(AUDIO)]


def test_a_wav_header_is_not_heard_and_one_that_disagrees_is_reported() -> None:
    file = wav(AUDIO)
    session = ready()
    heard = [a for at in range(0, len(file), 10) for a in session.receive(file[at : at + 10], 1.0)]
    assert b"".join(a.audio for a in heard if isinstance(a, Hear)) == AUDIO
    assert ready({**S1, "sample_rate": 8000}).receive(file, 1.0) == [Report("riff_format_differs"), Hear(AUDIO)]


def test_finalize_flushes_and_the_session_stays_open() -> None:
    session = ready()
    assert control(session, "finalize") == [Finalize()]
    (final,) = said(session.recognized(Final(text="", from_finalize=True), 2.1))
    assert final == {"type": "final_transcript", "transcript": "", "language": "en", "from_finalize": True}
    assert session.receive(AUDIO, 3.0) == [Hear(AUDIO)]


def test_keepalive_has_no_reply_and_puts_off_the_idle_end() -> None:
    session = ready()
    assert control(session, "keepalive", now=7.0) == [KeepAlive()]
    assert session.next_deadline() == 7.0 + IDLE_S


@pytest.mark.parametrize("word", ["close", "stop"])
def test_after_close_every_final_is_sent_and_then_the_socket_closed_normally(word: str) -> None:
    session = ready()
    assert control(session, word) == [End()]
    assert session.receive(AUDIO, 2.1) + control(session, "finalize") == []
    assert [message["transcript"] for message in said(session.recognized(FINAL, 2.2))] == ["Cancel my order."]
    assert session.recognized(Finished(), 2.3) == [Close(NORMAL_CLOSURE)]


@pytest.mark.parametrize("text", ["", "hello", "[]", '{"type":7}', '{"x":' + "[" * 100_000])
def test_text_that_is_no_message_is_answered_and_forgiven(text: str) -> None:
    session = ready()
    report, error = session.receive(text, 1.0)
    assert report == Report("bad_message")
    assert said([error])[0]["code"] == "invalid_request"
    assert session.receive(AUDIO, 1.1) == [Hear(AUDIO)]


def test_a_client_that_sends_only_nonsense_is_given_up() -> None:
    session = ready()
    *_, close = [action for _ in range(slng.ERROR_BUDGET) for action in control(session, "dance")]
    assert close == Close(POLICY_VIOLATION)


# ── Results ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_partial() -> None:
    (action,) = ready().recognized(Partial(text="cancel my"), 2.0)
    assert isinstance(action, Say)
    assert action.is_partial
    assert json.loads(action.text) == {"type": "partial_transcript", "transcript": "cancel my"}


@pytest.mark.parametrize("name", ["enable_partials", "enable_partial_transcripts"])
def test_there_are_no_partials_for_those_who_do_not_want_them(name: str) -> None:
    assert ready({**S1, name: False}).recognized(Partial(text="cancel my"), 2.0) == []
    assert ready({**S1, name: True}).recognized(Partial(text="cancel my"), 2.0) != []


def test_a_final() -> None:
    assert said(ready().recognized(FINAL, 2.0)) == [
        {
            "type": "final_transcript",
            "transcript": "Cancel my order.",
            "confidence": 0.96,
            "language": "en",
            "duration": 1.9,
            "words": [
                {"word": "Cancel", "start": 1.0, "end": 1.5, "confidence": 0.9712},
                {"word": "my", "start": 1.5, "end": 1.75},
            ],
        }
    ]


def test_what_the_recogniser_does_not_give_is_left_out() -> None:
    assert said(ready({}).recognized(Final(text="Yes."), 2.0)) == [{"type": "final_transcript", "transcript": "Yes."}]


def test_the_end_of_an_utterance_is_told_to_those_who_want_voice_activity() -> None:
    wanting = ready({**S1, "enable_vad": True})
    assert said(wanting.recognized(SpeechEnded(at_s=2.5), 3.0)) == [{"type": "utterance_end", "last_word_end": 2.5}]
    assert ready().recognized(SpeechEnded(at_s=2.5), 3.0) == []
    assert wanting.recognized(SpeechStarted(at_s=1.0), 3.0) == []


def test_trap_8_words_too_many_for_a_message_are_left_out() -> None:
    many = Final(text="word", words=FINAL.words * 10_000)
    (action,) = ready().recognized(many, 1.0)
    assert isinstance(action, Say)
    assert len(action.text.encode()) < 1 << 20


# ── Loss of either side, and time ───────────────────────────────────────────────────────────────────────────────


def test_a_recogniser_that_cannot_be_opened_is_told_from_one_that_is_lost() -> None:
    opening = new()
    init(opening)
    for session, code in ((opening, "backend_connection_failed"), (ready(), "backend_error")):
        error, close = session.failed("gone")
        assert said([error]) == [{"type": "error", "code": code, "message": "gone"}]
        assert close == Close(INTERNAL_ERROR)


def test_a_recogniser_that_ends_unasked_is_lost() -> None:
    assert ready().recognized(Finished(), 1.0)[-1] == Close(INTERNAL_ERROR)


def test_what_a_vanished_client_sent_is_recognised_to_its_end() -> None:
    session = ready()
    assert session.disconnected() == [End()]
    assert session.disconnected() == []
    assert session.recognized(Finished(), 1.0) == [Close(CLIENT_LEFT)]


def test_a_client_that_falls_silent_is_told_and_still_gets_its_finals() -> None:
    session = ready()
    session.receive(AUDIO, 5.0)
    assert session.next_deadline() == 5.0 + IDLE_S
    error, end = session.handle_timeout(5.0 + IDLE_S)
    assert (said([error])[0]["code"], end) == ("idle_timeout_exceeded", End())
    assert session.recognized(Finished(), 200.0) == [Close(NORMAL_CLOSURE)]


def test_nothing_follows_the_close() -> None:
    session = ready()
    session.failed("gone")
    actions = session.recognized(FINAL, 1.0) + session.failed("again") + session.disconnected() + session.opened()
    assert actions + session.handle_timeout(9e9) + init(session) == []
    assert session.next_deadline() is None


@settings(deadline=None)
@given(
    messages=st.lists(
        st.one_of(
            st.text(max_size=20),
            st.binary(max_size=20),
            st.sampled_from([json.dumps({"type": "init", "config": S1}), '{"type":"finalize"}', '{"type":"audio"}']),
        )
    )
)
def test_any_messages_are_survived(messages: list[str | bytes]) -> None:
    session = new()
    for message in messages:
        session.receive(message, 1.0)
    session.disconnected()
    assert session.recognized(Finished(), 2.0) in ([], [Close(CLIENT_LEFT)])
