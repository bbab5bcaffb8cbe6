"""Soniox: its messages without a socket, then the driver against a strict server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest, Word
from gateway.stt.base import Recognizer
from gateway.stt.client import Limits, open_session
from gateway.stt.pace import PacedRecognizer
from gateway.stt.profiles import ProfiledRecognizers
from gateway.stt.soniox import MAX_HELD_TOKENS, SonioxProtocol
from telephony_codecs.formats import AudioFormat
from tests.support.soniox_server import KEY, SonioxServer, SonioxSession, marker, token
from tests.support.strict_server import refuse

MULAW = AudioFormat.parse("mulaw-8000")
SECOND = b"\x2a" * 8000
"""One second of mu-law."""
FINALIZE = '{"type":"finalize"}'


def profile(url: str = "wss://stt-rt.soniox.com/transcribe-websocket", **settings: Any) -> SttProfile:
    return SttProfile(kind="soniox", url=url, **settings)


def protocol(profiled: SttProfile | None = None, **wanted: Any) -> SonioxProtocol:
    asked = RecognizerRequest(format=wanted.pop("format", MULAW), **wanted)
    return SonioxProtocol(profiled or profile(), asked)


def start(profiled: SttProfile | None = None, **wanted: Any) -> dict[str, Any]:
    (message,) = protocol(profiled, **wanted).opening()
    found = json.loads(message)
    assert isinstance(found, dict)
    return found


def response(*tokens: dict[str, Any], **more: Any) -> str:
    return json.dumps({"tokens": tokens, "final_audio_proc_ms": 0, "total_audio_proc_ms": 0, **more})


def said(*messages: str) -> list[RecognizerEvent]:
    """What these messages mean, one after the other."""
    session = protocol()
    return [event for message in messages for event in session.receive(message)]


def words_of(*tokens: dict[str, Any]) -> list[tuple[str, float, float, float | None]]:
    """The words of a final made of these tokens."""
    final = said(response(*tokens, marker("<end>")))[0]
    assert isinstance(final, Final)
    return [(word.word, word.start_s, word.end_s, word.confidence) for word in final.words]


def finals(events: list[RecognizerEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


def answers(events: list[RecognizerEvent]) -> list[tuple[str, bool]]:
    return [(event.text, event.from_finalize) for event in events if isinstance(event, Final)]


GOOD = token("Good", 0.1, 0.3)
MOR, NING = token(" mor", 0.4, 0.6), token("ning", 0.6, 0.8, confidence=0.5)
END, FIN = marker("<end>"), marker("<fin>")

# ── What is asked for ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_session_is_asked_for_with_everything_it_needs() -> None:
    assert start() == {
        "model": "stt-rt-v5",
        "audio_format": "mulaw",
        "sample_rate": 8000,
        "num_channels": 1,
        "language_hints": ["en"],
        "enable_language_identification": True,
        "enable_endpoint_detection": True,
    }


def test_the_key_is_in_the_header_and_not_in_the_start_message_where_it_will_be_refused() -> None:
    secret = profile(api_key=SecretStr("sk_1"))
    assert protocol(secret).headers == {"Authorization": "Bearer sk_1"}
    assert "sk_1" not in str(start(secret))


def test_linear_audio_is_named_as_the_vendor_names_it() -> None:
    asked = start(format=AudioFormat.parse("linear16-16000"))
    assert (asked["audio_format"], asked["sample_rate"]) == ("pcm_s16le", 16000)


def test_options_are_fields_of_the_start_message_and_win_over_defaults() -> None:
    tuned = profile(options={"model": "stt-rt-v6", "endpoint_sensitivity": "-0.5", "context": '{"terms": ["Zyrtec"]}'})
    asked = start(tuned)
    assert (asked["model"], asked["endpoint_sensitivity"], asked["context"]) == (
        "stt-rt-v6",
        -0.5,
        {"terms": ["Zyrtec"]},
    )


def test_format_and_request_win_over_options() -> None:
    tuned = profile(options={"audio_format": "auto", "enable_endpoint_detection": "true", "language_hints": '["de"]'})
    asked = start(tuned, endpointing=False, language="fr")
    assert (asked["audio_format"], asked["enable_endpoint_detection"], asked["language_hints"]) == (
        "mulaw",
        False,
        ["fr"],
    )


@pytest.mark.parametrize(
    ("language", "hints"), [("de", ["de"]), ("en-GB", ["en"]), ("multi", None), ("auto", None), (None, None)]
)
def test_a_language_is_a_hint_without_its_region(language: str | None, hints: list[str] | None) -> None:
    assert start(profile(language=language)).get("language_hints") == hints


@pytest.mark.parametrize(("asked_ms", "sent_ms"), [(100, 500), (1500, 1500), (9000, 3000)])
def test_the_pause_that_ends_an_utterance_is_the_requests_within_the_vendors_limits(
    asked_ms: int, sent_ms: int
) -> None:
    assert start(eou_timeout_ms=asked_ms)["max_endpoint_delay_ms"] == sent_ms


def test_audio_may_be_sent_at_once_and_is_sent_as_it_is() -> None:
    session = protocol()
    assert session.is_ready
    assert session.audio(b"\x00\xff") == (b"\x00\xff",)


def test_an_idle_session_is_kept_alive_by_a_message() -> None:
    """Toy clients are closed after 20 s of silence."""
    assert protocol().keepalive() == ('{"type":"keepalive"}',)


def test_a_pause_between_keepalives_that_the_vendor_does_not_bear_is_refused_with_the_settings() -> None:
    with pytest.raises(ValidationError, match="keepalive_s must be at most 15 for kind soniox"):
        profile(keepalive_s=20)


def test_the_end_is_an_empty_text_message() -> None:
    assert protocol().end() == ("",)


# ── Finalising not too often ─────────────────────────────────────────────────────────────────────────────────────


def test_the_first_finalize_is_sent_at_once() -> None:
    assert protocol().finalize() == (FINALIZE,)


def test_a_finalize_right_after_another_waits_for_two_seconds_of_audio() -> None:
    """Toy clients finalise too often, and are disconnected."""
    session = protocol()
    session.finalize()
    assert session.audio(SECOND) == (SECOND,)
    assert session.finalize() == ()
    assert session.audio(SECOND) == (SECOND, FINALIZE)
    assert session.audio(SECOND) == (SECOND,)


def test_two_seconds_are_those_of_the_audio_that_is_sent() -> None:
    session = protocol(format=AudioFormat.parse("linear16-16000"))
    session.finalize()
    session.audio(bytes(32_000))
    assert session.finalize() == ()
    assert session.audio(bytes(32_000))[-1] == FINALIZE


def test_a_finalize_that_was_put_off_goes_instead_of_a_keepalive() -> None:
    session = protocol()
    session.finalize()
    session.finalize()
    assert session.keepalive() == (FINALIZE,)
    assert session.keepalive() == ('{"type":"keepalive"}',)


def test_every_request_to_finalize_is_answered_although_fewer_are_sent() -> None:
    session = protocol()
    sent = [*session.finalize(), *session.finalize(), *session.finalize(), *session.keepalive()]
    assert sent == [FINALIZE, FINALIZE]
    assert answers(session.receive(response(GOOD, FIN))) == [("Good", True)]
    assert answers(session.receive(response(MOR, NING, FIN))) == [("morning", True), ("", True)]


def test_requests_that_were_never_sent_are_answered_at_the_end() -> None:
    session = protocol()
    session.finalize()
    session.finalize()
    session.receive(response(FIN))
    assert session.receive(response(GOOD, finished=True)) == [
        *said(response(GOOD, END)),
        Final(text="", from_finalize=True),
        Finished(),
    ]


def test_requests_that_were_sent_but_not_answered_are_answered_at_the_end() -> None:
    session = protocol()
    session.finalize()
    assert session.receive(response(finished=True)) == [Final(text="", from_finalize=True), Finished()]


# ── What answers mean ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_whole_conversation() -> None:
    heard = said(
        response(GOOD, MOR | {"is_final": False}),
        response(MOR, NING, END),
        response(token(" Who", 1.0, 1.2), token(" is", 1.2, 1.3, is_final=False)),
        response(token(" is it?", 1.2, 1.6)),
        response(finished=True),
    )
    assert [(type(event), getattr(event, "text", None)) for event in heard] == [
        (Partial, "Good mor"),
        (Final, "Good morning"),
        (Partial, "Who is"),
        (Partial, "Who is it?"),
        (Final, "Who is it?"),
        (Finished, None),
    ]


def test_final_tokens_are_sent_once_and_collected_and_others_are_replaced() -> None:
    """Toy clients replace the final ones, or append the others."""
    heard = token(" mar", 0.4, 0.6, is_final=False)
    events = said(response(GOOD, heard), response(MOR, NING | {"is_final": False}), response(NING, END))
    assert [event.text for event in events if isinstance(event, Partial)] == ["Good mar", "Good morning"]
    assert finals(events) == ["Good morning"]


def test_an_utterance_is_one_final_with_span_words_and_language() -> None:
    assert said(response(GOOD, MOR, NING, END)) == [
        Final(
            text="Good morning",
            start_s=0.1,
            end_s=0.8,
            words=(
                Word(word="Good", start_s=0.1, end_s=0.3, confidence=0.9),
                Word(word="morning", start_s=0.4, end_s=0.8, confidence=0.5),
            ),
            language="en",
        )
    ]


def test_a_word_is_as_sure_as_its_least_certain_piece() -> None:
    assert words_of(MOR, NING) == [("morning", 0.4, 0.8, 0.5)]


def test_marks_belong_to_the_word_before_and_neither_move_its_end_nor_its_confidence() -> None:
    assert words_of(GOOD, token("!", 0.3, 0.9, confidence=0.1)) == [("Good!", 0.1, 0.3, 0.9)]


def test_a_mark_with_a_blank_before_it_belongs_to_the_word_after() -> None:
    assert words_of(GOOD, token(" $", 0.3, 0.4), token("20", 0.4, 0.6)) == [
        ("Good", 0.1, 0.3, 0.9),
        ("$20", 0.4, 0.6, 0.9),
    ]


def test_an_apostrophe_is_inside_its_word() -> None:
    pieces = (token(" don", 0.0, 0.2), token("'", 0.2, 0.2), token("t", 0.2, 0.3))
    assert words_of(*pieces) == [("don't", 0.0, 0.3, 0.9)]


def test_a_blank_of_its_own_parts_words() -> None:
    assert [word for word, *_ in words_of(GOOD, token(" ", 0.3, 0.4), token("day", 0.4, 0.5))] == ["Good", "day"]


def test_a_blank_after_a_word_parts_it_from_the_next() -> None:
    assert [word for word, *_ in words_of(token("Good ", 0.1, 0.3), token("day", 0.4, 0.5))] == ["Good", "day"]


def test_languages_without_blanks_have_one_word_per_token() -> None:
    pieces = (
        token("今", 0.0, 0.1, language="ja"),
        token("日", 0.1, 0.2, language="ja"),
        token("。", 0.2, 0.2, language="ja"),
    )
    assert [word for word, *_ in words_of(*pieces)] == ["今", "日。"]


def test_a_token_without_times_is_text_without_a_word() -> None:
    final = said(response({"text": "Good", "is_final": True}, END))[0]
    assert final == Final(text="Good")


@pytest.mark.parametrize("broken", [{"start_ms": "soon"}, {"end_ms": None}, {"confidence": "high"}, {"language": 5}])
def test_text_survives_whatever_is_wrong_beside_it(broken: dict[str, Any]) -> None:
    assert finals(said(response(GOOD | broken, END))) == ["Good"]


@pytest.mark.parametrize("language", [5, {}, [], None])
def test_the_rest_of_a_word_survives_an_odd_language(language: Any) -> None:
    assert finals(said(response(MOR, NING | {"language": language}, END))) == ["morning"]


def test_the_end_mark_is_never_said() -> None:
    """Toy clients print it."""
    assert said(response(END)) == []


def test_text_after_the_end_mark_is_of_the_next_utterance() -> None:
    final, partial = said(response(GOOD, END, MOR | {"is_final": False}))
    assert (final, partial) == (said(response(GOOD, END))[0], said(response(MOR | {"is_final": False}))[0])


def test_the_answer_to_finalize_is_marked_even_if_nothing_was_said() -> None:
    assert said(response(FIN)) == [Final(text="", from_finalize=True)]


def test_final_tokens_of_an_utterance_that_goes_on_are_part_of_the_partial() -> None:
    (partial,) = said(response(GOOD))
    assert isinstance(partial, Partial)
    assert (partial.text, partial.start_s) == ("Good", 0.1)


def test_a_response_without_tokens_takes_back_what_was_heard_and_is_not_final() -> None:
    assert said(response(MOR | {"is_final": False}), response(), response())[1:] == [Partial(text="")]


def test_silence_is_no_event() -> None:
    assert said(response(), response()) == []


def test_tokens_are_not_collected_for_ever_where_no_utterance_ends() -> None:
    assert len(finals(said(*[response(MOR)] * MAX_HELD_TOKENS))) == 1


def test_translations_are_not_what_was_said() -> None:
    spoken = GOOD | {"translation_status": "original"}
    translated = {"text": "Gut", "is_final": True, "translation_status": "translation", "language": "de"}
    assert finals(said(response(spoken, translated, END))) == ["Good"]


def test_finished_gives_what_is_collected_before_the_end() -> None:
    events = said(response(GOOD), response(finished=True))
    assert (finals(events), events[-1]) == (["Good"], Finished())


def test_finished_alone_is_the_end_alone() -> None:
    assert said(response(finished=True)) == [Finished()]


@pytest.mark.parametrize(
    ("status", "is_retryable", "retry_after_s"),
    [
        (400, False, None),
        (401, False, None),
        (402, False, None),
        (403, False, None),
        (408, True, None),
        (429, True, None),
        (500, True, None),
        (503, True, 0.0),
    ],
)
def test_an_error_is_tried_again_only_where_that_can_help_and_503_at_once(
    status: int, is_retryable: bool, retry_after_s: float | None
) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        said(json.dumps({"error_code": status, "error_message": "secret detail"}))
    error = raised.value
    assert (error.code, error.retryable, error.retry_after_s) == (f"stt_error_{status}", is_retryable, retry_after_s)
    assert "secret" not in str(error)


@pytest.mark.parametrize("code", ["no", 7, 12_345_678, True, {}])
def test_an_odd_error_code_is_no_label_of_its_own(code: Any) -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        said(json.dumps({"error_code": code}))
    assert (raised.value.code, raised.value.retryable) == ("stt_vendor_error", True)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"text": st.text(max_size=4) | st.sampled_from(["<end>", "<fin>", " a", "b", " ", "."])},
            optional={
                name: st.none() | st.booleans() | st.integers(0, 9) | st.floats() | st.text(max_size=2)
                for name in ("is_final", "start_ms", "end_ms", "confidence", "language", "translation_status")
            },
        )
    )
)
def test_any_tokens_give_events_or_an_error_of_the_tree(tokens: list[dict[str, Any]]) -> None:
    with suppress(RecognizerProtocolError, RecognizerUnavailable):
        said(response(*tokens))


# ── The driver against a strict server ───────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def opened(server: SonioxServer, key: str = KEY, **settings: Any) -> AsyncIterator[Recognizer]:
    chosen = profile(server.url, api_key=SecretStr(key), connect_timeout_s=2.0, **settings)
    made = protocol(chosen, format=chosen.format)
    async with open_session(chosen, made, Limits(close_timeout_s=0.05)) as recognizer:
        yield recognizer


async def rest_of(recognizer: Recognizer) -> list[RecognizerEvent]:
    async with asyncio.timeout(5):
        return [event async for event in recognizer.events()]


async def loss_of(recognizer: Recognizer) -> RecognizerUnavailable:
    with pytest.raises(RecognizerUnavailable) as raised:
        await rest_of(recognizer)
    return raised.value


@pytest.mark.parametrize("audio", ["mulaw-8000", "linear16-8000", "linear16-16000"])
async def test_a_session_gives_utterances_with_times_and_the_end(audio: str) -> None:
    form = AudioFormat.parse(audio)
    async with SonioxServer() as server, opened(server, audio=audio) as recognizer:
        for _ in range(25):
            await recognizer.send(bytes(form.rate_hz * form.bytes_per_sample // 10))
        await recognizer.end()
        events = await rest_of(recognizer)
    assert finals(events) == ["Second 1.", "Second 2.", "Second 3."]
    assert [(event.start_s, event.end_s) for event in events if isinstance(event, Final)] == [(0, 1), (1, 2), (2, 2.5)]
    assert events[-1] == Finished()


async def test_finalize_at_any_pace_is_answered_and_the_session_goes_on() -> None:
    async with SonioxServer() as server, opened(server) as recognizer:
        for _ in range(6):
            await recognizer.send(SECOND[:4000])
            await recognizer.finalize()
        await recognizer.end()
        events = await rest_of(recognizer)
        assert server.sessions[0].controls.count("finalize") == 2
    assert [text for text, _ in answers(events) if text] == ["Second 1.", "Second 1.", "Second 2.", "Second 3."]
    assert sum(from_finalize for _, from_finalize in answers(events)) == 6


async def test_audio_is_sent_no_faster_than_it_was_spoken_because_bursts_end_the_session() -> None:
    async with SonioxServer() as server:
        chosen = profile(server.url, api_key=SecretStr(KEY))
        recognizers = ProfiledRecognizers({"mine": chosen}, lambda _: pytest.fail("not the local one"))
        async with recognizers.open("mine", RecognizerRequest(format=MULAW)) as recognizer:
            assert isinstance(recognizer, PacedRecognizer)


async def test_a_session_without_audio_ends_like_any_other() -> None:
    async with SonioxServer() as server, opened(server) as recognizer:
        await recognizer.keepalive()
        await recognizer.end()
        assert await rest_of(recognizer) == [Finished()]


async def test_the_tail_that_comes_after_the_end_is_not_lost() -> None:
    async def act(session: SonioxSession) -> None:
        await session.receive_until("end")
        await session.say(GOOD)
        await session.say(MOR, NING)
        await session.say(finished=True)
        await session.close()

    async with SonioxServer(act) as server, opened(server) as recognizer:
        await recognizer.send(SECOND)
        await recognizer.end()
        assert finals(await rest_of(recognizer)) == ["Good morning"]


async def test_a_request_to_start_again_is_a_loss_that_is_tried_again_at_once() -> None:
    async def act(session: SonioxSession) -> None:
        await session.receive()
        await session.receive()
        await session.fail(503, "Cannot continue request (code 2). Please restart the request.")

    async with SonioxServer(act) as server, opened(server) as recognizer:
        await recognizer.send(SECOND)
        error = await loss_of(recognizer)
    assert (error.code, error.retryable, error.retry_after_s) == ("stt_error_503", True, 0.0)


async def test_a_start_message_that_is_refused_is_not_tried_again() -> None:
    async def act(session: SonioxSession) -> None:
        await session.receive()
        await session.fail(400, "Invalid model specified.")

    async with SonioxServer(act) as server, opened(server) as recognizer:
        error = await loss_of(recognizer)
    assert (error.code, error.retryable) == ("stt_error_400", False)


async def test_a_close_before_finished_is_a_loss() -> None:
    async def act(session: SonioxSession) -> None:
        await session.receive_until("end")
        await session.say(GOOD)
        await session.close()

    async with SonioxServer(act) as server, opened(server) as recognizer:
        await recognizer.end()
        assert (await loss_of(recognizer)).code == "stt_closed_early"


@pytest.mark.parametrize(("status", "is_retryable"), [(401, False), (429, True), (503, True)])
async def test_a_refused_upgrade_is_tried_again_only_where_that_can_help(status: int, is_retryable: bool) -> None:
    async with SonioxServer(refuse(status)) as server:
        with pytest.raises(RecognizerUnavailable) as raised:
            async with opened(server):
                pass
    assert (raised.value.code, raised.value.retryable) == (f"stt_refused_{status}", is_retryable)


class Toy(SonioxProtocol):
    """What toy clients do: finalise after each chunk, and the key in the start message."""

    def opening(self) -> tuple[str]:
        return (json.dumps(start() | {"api_key": KEY}),)

    def finalize(self) -> tuple[str]:
        return (FINALIZE,)


async def test_the_server_of_these_tests_notices_toy_clients() -> None:
    async with SonioxServer(strict=False) as server:
        chosen = profile(server.url, api_key=SecretStr(KEY))
        toy = Toy(chosen, RecognizerRequest(format=MULAW))
        async with open_session(chosen, toy, Limits(close_timeout_s=0.05)) as recognizer:
            for _ in range(2):
                await recognizer.send(SECOND)
                await recognizer.finalize()
            await recognizer.end()
            await rest_of(recognizer)
    assert server.violations == ["unknown fields: ['api_key']", "finalize too often"]
