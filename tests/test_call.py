"""One call, from its first message to `call.ended`, over a real socket with a scripted recogniser."""

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway import telemetry
from gateway.errors import RecognizerUnavailable, StorageError
from gateway.events import (
    CallDtmf,
    CallEnded,
    CallEvent,
    CallGap,
    CallStarted,
    Final,
    Finished,
    Partial,
    SttDegraded,
    Track,
    TranscriptFinal,
)
from tests.support.phone import line, media_message, start_message
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers


def says_at_the_end(text: str) -> ScriptedRecognizers:
    def on_end(session: ScriptedRecognizer) -> tuple[Final, Finished]:
        return Final(text=f"{text} {session.request.track}", start_s=0.02, end_s=0.06), Finished()

    return ScriptedRecognizers(on_end=on_end)


async def test_a_call_becomes_started_finals_and_ended_numbered_from_one() -> None:
    async with line(says_at_the_end("hello")) as server, server.phone() as phone:
        await phone.start("inbound", "outbound")
        await phone.media(10)
        await phone.media(10, "outbound")
        await phone.stop()
        assert await phone.closed() == 1000
        await server.sink.wait_for(CallEnded)
    events = server.sink.events
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert isinstance(events[0], CallStarted)
    assert {event.text for event in events if isinstance(event, TranscriptFinal)} == {"hello inbound", "hello outbound"}
    assert isinstance(events[-1], CallEnded)


async def test_both_tracks_have_sessions_of_their_own_and_their_audio_never_mixes() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start("inbound", "outbound")
        for _ in range(10):
            await phone.media(1, "inbound")
            await phone.media(1, "outbound")
        await phone.media(5, "outbound")
        await phone.stop()
        await server.sink.wait_for(CallEnded)
    lengths = {session.request.track: len(session.audio) for session in server.recognizers.sessions}
    assert lengths == {"inbound": 1600, "outbound": 2400}


async def test_the_carriers_own_bytes_reach_the_recogniser_untouched() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start()
        await phone.media(11)
        await phone.stop()
        await server.sink.wait_for(CallEnded)
    assert server.recognizers.sessions[0].audio == b"".join(bytes([number]) * 160 for number in range(1, 12))


async def test_the_start_message_fills_the_call_and_steers_it() -> None:
    async with line(stt={"profiles": {"other": {"kind": "local"}}}) as server, server.phone() as phone:
        await phone.start(
            gw_from="+15550100",
            gw_to="",
            gw_language="de",
            gw_profile="other",
            gw_speaker_inbound="patient",
            tenant="acme",
        )
        await phone.media(5)
        recognizer = await server.recognizers.session()
        await recognizer.until(lambda: len(recognizer.audio) == 800)
        recognizer.say(Final(text="guten Tag", start_s=0.0, end_s=0.1))
        (final,) = await server.sink.wait_for(TranscriptFinal)
    assert (final.speaker, final.language, final.provider) == ("patient", "de", "other")
    assert final.call.from_number == "+15550100"
    assert final.call.to_number is None
    assert final.call.metadata == {"tenant": "acme"}
    assert (final.call.platform_call_id, final.call.stream_id, final.call.account_id) == ("CA1", "MZ1", "AC1")


async def test_a_profile_that_does_not_exist_falls_back_to_the_default() -> None:
    with capture_logs() as logs:
        async with line() as server, server.phone() as phone:
            await phone.start(gw_profile="nowhere")
            await server.sink.wait_for(CallStarted)
    assert "call_profile_unknown" in [entry["event"] for entry in logs]


async def test_partials_are_shown_and_not_numbered() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start()
        await phone.media(10)
        recognizer = await server.recognizers.session()
        await recognizer.until(lambda: len(recognizer.audio) == 1600)
        recognizer.say(Partial(text="hel", start_s=0.0), Final(text="hello", start_s=0.0, end_s=0.2))
        await server.sink.wait_for(TranscriptFinal)
    assert [(partial.text, partial.sequence) for partial in server.sink.partials] == [("hel", None)]


async def test_the_end_holds_the_conversation_of_both_tracks_in_the_order_in_which_it_was_spoken() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start("inbound", "outbound")
        await phone.media(100)
        await phone.media(100, "outbound")
        first, second = await server.recognizers.session(0), await server.recognizers.session(1)
        await first.until(lambda: len(first.audio) == 16_000)
        await second.until(lambda: len(second.audio) == 16_000)
        second.say(Final(text="two", start_s=0.5, end_s=0.9), Final(text="four", start_s=1.5, end_s=1.9))
        first.say(Final(text="one", start_s=0.0, end_s=0.4), Final(text="three", start_s=1.0, end_s=1.4))
        await phone.stop()
        (ended,) = await server.sink.wait_for(CallEnded)
    assert [each.text for each in ended.conversation] == ["one", "two", "three", "four"]
    assert [each.speaker for each in ended.conversation] == ["caller", "agent", "caller", "agent"]
    assert ended.complete
    assert ended.outcome == "completed"
    assert ended.duration_s == 2.0


async def test_audio_that_never_arrived_is_reported_where_it_should_have_been() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start()
        await phone.media(10)
        await phone.media(20, skip=5)
        await phone.stop()
        (gap,) = await server.sink.wait_for(CallGap)
        (ended,) = await server.sink.wait_for(CallEnded)
    assert (gap.track, gap.start_s, gap.end_s, gap.reason) == (Track.INBOUND, 0.2, pytest.approx(0.3), "lost")
    assert ended.tracks[0].lost_s == pytest.approx(0.1)


async def test_a_digit_is_an_event_with_its_place_in_the_call() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start()
        await phone.media(50)
        await phone.say({"event": "dtmf", "streamSid": "MZ1", "dtmf": {"track": "inbound_track", "digit": "5"}})
        (digit,) = await server.sink.wait_for(CallDtmf)
    assert (digit.digit, digit.track, digit.at_s) == ("5", Track.INBOUND, 1.0)


async def test_a_socket_that_dies_without_stop_still_ends_the_call_with_its_last_words() -> None:
    async with line(says_at_the_end("goodbye")) as server:
        async with server.phone() as phone:
            await phone.start()
            await phone.media(10)
            await server.sink.wait_for(CallStarted)
            transport = phone.socket.get_extra_info("socket")
            assert transport is not None
            phone.socket._response.connection.transport.abort()  # type: ignore[union-attr] # as a crash on the far side does
        (ended,) = await server.sink.wait_for(CallEnded)
    assert (ended.outcome, ended.reason) == ("indeterminate", "connection_lost")
    assert [each.text for each in ended.conversation] == ["goodbye inbound"]


async def test_a_close_without_stop_is_an_orderly_end() -> None:
    async with line() as server:
        async with server.phone() as phone:
            await phone.start()
            await phone.media(5)
        (ended,) = await server.sink.wait_for(CallEnded)
    assert (ended.outcome, ended.reason) == ("completed", "closed")


async def test_messages_after_stop_change_nothing() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start()
        await phone.stop()
        await phone.stop()
        await phone.media(3)
        assert await phone.closed() == 1000
        assert len(await server.sink.wait_for(CallEnded)) == 1


async def test_a_stop_that_never_comes_ends_the_call_after_the_idle_timeout() -> None:
    async with line(limits={"idle_timeout_s": 0.05}) as server, server.phone() as phone:
        await phone.start()
        await phone.media(5)
        assert await phone.closed() == 1008
        (ended,) = await server.sink.wait_for(CallEnded)
    assert ended.reason == "idle_timeout"


async def test_a_stream_that_never_starts_is_closed_and_makes_no_events() -> None:
    async with line(limits={"start_timeout_s": 0.05}) as server, server.phone() as phone:
        assert await phone.closed() == 1008
    assert server.sink.events == []


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("not json", "bad_json"),
        ("[1, 2]", "bad_shape"),
        ('{"event": "media", "media": 7, "streamSid": "MZ1"}', "bad_shape"),
        (media_message(1) | {"media": {"track": "inbound", "payload": "%%%"}}, "bad_payload"),
        (b"\xff\xfe\x00", "bad_encoding"),
    ],
)
async def test_one_bad_message_is_counted_and_logged_once_and_the_call_goes_on(
    message: dict[str, object] | str | bytes, code: str
) -> None:
    counter = telemetry.DIALECT_ERRORS.labels("twilio", code)
    before = counter._value.get()
    with capture_logs() as logs:
        async with line() as server, server.phone() as phone:
            await phone.start()
            await phone.say(message)
            await phone.media(5)
            await phone.stop()
            (ended,) = await server.sink.wait_for(CallEnded)
    assert ended.outcome == "completed"
    assert counter._value.get() == before + 1
    assert [entry["code"] for entry in logs if entry["event"] == "dialect_message_refused"] == [code]


async def test_media_before_start_is_dropped_and_counted_and_the_call_still_starts() -> None:
    async with line() as server, server.phone() as phone:
        await phone.say(media_message(1))
        await phone.start()
        await phone.media(5)
        await phone.stop()
        (ended,) = await server.sink.wait_for(CallEnded)
    assert ended.tracks[0].audio_s == pytest.approx(0.1)


async def test_a_second_start_closes_the_stream_with_1002_and_keeps_what_was_said() -> None:
    async with line(says_at_the_end("so far")) as server, server.phone() as phone:
        await phone.start()
        await phone.media(5)
        await phone.say(start_message())
        assert await phone.closed() == 1002
        (ended,) = await server.sink.wait_for(CallEnded)
    assert (ended.outcome, ended.reason) == ("caller_error", "second_start")
    assert [each.text for each in ended.conversation] == ["so far inbound"]


async def test_a_budget_of_bad_messages_in_a_row_ends_the_call() -> None:
    async with line(limits={"error_budget": 5}) as server, server.phone() as phone:
        await phone.start()
        for _ in range(5):
            await phone.say("noise")
        assert await phone.closed() == 1002
        (ended,) = await server.sink.wait_for(CallEnded)
    assert ended.reason == "too_many_bad_messages"


async def test_a_huge_message_ends_its_call_with_1009_and_no_other() -> None:
    async with line() as server, server.phone() as guilty, server.phone() as innocent:
        await guilty.start(call_sid="CA-guilty")
        await innocent.start(call_sid="CA-innocent")
        await guilty.say("x" * 66_000)
        assert await guilty.closed() == 1009
        await innocent.media(10)
        await innocent.stop()
        ended = await server.sink.wait_for(CallEnded, 2)
    assert {each.call.platform_call_id: each.reason for each in ended} == {
        "CA-guilty": "message_too_big",
        "CA-innocent": "stop",
    }


async def test_conversation_relay_is_refused_with_1003() -> None:
    async with line() as server, server.phone() as phone:
        await phone.say({"type": "setup", "sessionId": "VX1", "callSid": "CA1"})
        assert await phone.closed() == 1003
    assert server.sink.events == []


async def test_unknown_events_are_ignored() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start()
        for _ in range(100):
            await phone.say({"event": "weather", "streamSid": "MZ1"})
        await phone.stop()
        (ended,) = await server.sink.wait_for(CallEnded)
    assert ended.outcome == "completed"


@pytest.mark.parametrize("code", ["stt_refused_401", "stt_refused_429", "stt_refused_503", "stt_garbage"])
async def test_a_recogniser_that_refuses_ends_no_call_and_is_reported(code: str) -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = RecognizerUnavailable("refused", code=code)
    async with line(recognizers) as server, server.phone() as phone:
        await phone.start()
        await phone.media(50)
        await phone.stop()
        assert await phone.closed() == 1000
        (ended,) = await server.sink.wait_for(CallEnded)
    (degraded,) = server.sink.of(SttDegraded)
    (gap,) = server.sink.of(CallGap)
    assert degraded.reason == code
    assert (gap.start_s, gap.end_s, gap.reason) == (0.0, 1.0, code)
    assert (ended.outcome, ended.complete) == ("upstream_error", False)


async def test_one_tracks_lost_recogniser_leaves_the_other_track_alone() -> None:
    async with line() as server, server.phone() as phone:
        await phone.start("inbound", "outbound")
        await phone.media(10)
        await phone.media(10, "outbound")
        first, second = await server.recognizers.session(0), await server.recognizers.session(1)
        await second.until(lambda: len(second.audio) >= 800)
        first.fail(RecognizerUnavailable("cut", code="stt_cut"))
        await server.sink.wait_for(SttDegraded)
        second.say(Final(text="still here", start_s=0.0, end_s=0.1))
        (final,) = await server.sink.wait_for(TranscriptFinal)
    assert final.track is Track.OUTBOUND


async def test_a_call_ends_in_one_log_line_without_speech_or_numbers() -> None:
    with capture_logs() as logs:
        async with line(says_at_the_end("my secret")) as server, server.phone() as phone:
            await phone.start(gw_from="+15550100")
            await phone.media(10)
            await phone.stop()
            await server.sink.wait_for(CallEnded)
            await phone.closed()
    lines = [entry for entry in logs if entry["event"] == "call_ended"]
    assert len(lines) == 1
    assert lines[0]["outcome"] == "completed"
    assert lines[0]["segments"] == 1
    assert "secret" not in str(logs)
    assert "15550100" not in str(logs)


async def test_a_bug_ends_its_call_with_an_event_and_leaves_the_others_alone() -> None:
    def on_audio(session: ScriptedRecognizer, _audio: bytes) -> tuple[()]:
        if session.request.platform_call_id == "CA-guilty":
            raise ZeroDivisionError("my secret")
        return ()

    with capture_logs() as logs:
        recognizers = ScriptedRecognizers(on_audio=on_audio)
        async with line(recognizers) as server, server.phone() as guilty, server.phone() as innocent:
            await guilty.start(call_sid="CA-guilty")
            await innocent.start(call_sid="CA-innocent")
            await guilty.media(10)
            assert await guilty.closed() == 1011
            await innocent.media(10)
            await innocent.stop()
            ended = await server.sink.wait_for(CallEnded, 2)
    assert {each.call.platform_call_id: (each.outcome, each.complete) for each in ended} == {
        "CA-guilty": ("gateway_error", False),
        "CA-innocent": ("completed", True),
    }
    assert [entry["event"] for entry in logs].count("call_failed") == 1


async def test_draining_ends_the_calls_that_go_on_too_long_with_1001_and_their_last_words() -> None:
    async with line(says_at_the_end("and then")) as server, server.phone() as phone:
        await phone.start()
        await phone.media(10)
        await server.sink.wait_for(CallStarted)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.calls.drain(patience_s=0.01, last_words_s=5))
            assert await phone.closed() == 1001
        (ended,) = server.sink.of(CallEnded)
    assert ended.reason == "shutdown"
    assert [each.text for each in ended.conversation] == ["and then inbound"]


async def test_a_store_that_refuses_an_event_ends_that_call_only() -> None:
    async with line() as server, server.phone() as guilty, server.phone() as innocent:
        publish = server.sink.publish

        async def refuse_the_guilty(event: CallEvent) -> object:
            if event.call.platform_call_id == "CA-guilty":
                raise StorageError("in use", code="event_conflict")
            return await publish(event)

        server.sink.publish = refuse_the_guilty  # type: ignore[method-assign] # a sink that fails on command
        with capture_logs() as logs:
            await guilty.start(call_sid="CA-guilty")
            await innocent.start(call_sid="CA-innocent")
            await innocent.media(10)
            await innocent.stop()
            (ended,) = await server.sink.wait_for(CallEnded)
            await guilty.closed()
    assert ended.call.platform_call_id == "CA-innocent"
    assert "call_failed" in [entry["event"] for entry in logs]


async def test_a_profile_for_recordings_cannot_hear_a_call() -> None:
    batch = {"kind": "pulse-batch", "url": "https://stt.example.com/"}
    async with line(stt={"profiles": {"batch": batch}}) as server, server.phone() as phone:
        await phone.start(gw_profile="batch")
        await phone.media(5)
        recognizer = await server.recognizers.session()
        await recognizer.until(lambda: len(recognizer.audio) == 800)
        recognizer.say(Final(text="hello", start_s=0.0, end_s=0.1))
        (final,) = await server.sink.wait_for(TranscriptFinal)
    assert final.provider == "local"
