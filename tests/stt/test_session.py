"""The session of one track: audio held, kept in pace, mapped to call time, drained, and honest about failure."""

import asyncio

import pytest

from gateway.errors import RecognizerUnavailable
from gateway.events import (
    Final,
    Finished,
    Hearing,
    Partial,
    RecognizerLost,
    Segment,
    Untranscribed,
    Word,
)
from gateway.stt.conversation import MAX_INSERTED_S
from telephony_codecs.formats import AudioFormat
from tests.support import virtual_time
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.session_track import CHUNK, MemoryArchive, Track, pass_time, play

CUT = RecognizerUnavailable("cut", code="stt_cut")


def test_words_get_call_time_from_the_position_of_the_first_chunk() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.position = 80_000
        track.speak(20)
        await recognizer.until(lambda: len(recognizer.audio) == 20 * CHUNK)
        word = Word(word="hello", start_s=0.5, end_s=0.9, confidence=0.8)
        recognizer.say(Final(text="hello", start_s=0.5, end_s=0.9, words=(word,), language="en", confidence=0.8))

    track = play(ScriptedRecognizers(), story)
    assert track.events == [
        Segment(
            provider="test",
            text="hello",
            start_s=10.5,
            end_s=10.9,
            words=(Word(word="hello", start_s=10.5, end_s=10.9, confidence=0.8),),
            language="en",
            confidence=0.8,
        )
    ]


def test_audio_from_before_the_recogniser_was_there_is_sent_first() -> None:
    """Words are lost at the start wherever audio waits for nobody."""

    async def main() -> bytearray:
        recognizers = ScriptedRecognizers()
        track = Track(recognizers)
        track.speak(10)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(track.run())
            recognizer = await recognizers.session()
            track.speak(1)
            track.close()
        return recognizer.audio

    assert virtual_time.run(main()) == b"".join(bytes([number]) * CHUNK for number in range(11))


def test_audio_is_converted_to_the_form_that_the_recogniser_wants() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        assert recognizer.request.format == AudioFormat.parse("linear16-16000")
        track.speak(10)
        track.close()
        await recognizer.until(lambda: "end" in recognizer.calls)
        assert len(recognizer.audio) == 10 * CHUNK * 4

    play(ScriptedRecognizers(format=AudioFormat.parse("linear16-16000")), story)


def test_a_final_that_comes_seconds_after_the_hang_up_is_not_lost() -> None:
    recognizers = ScriptedRecognizers(on_end=lambda _session: ())

    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.speak(10)
        track.close()
        await recognizer.until(lambda: "end" in recognizer.calls)
        asyncio.get_running_loop().call_later(
            3.0, recognizer.say, Final(text="goodbye", start_s=0.1, end_s=0.9), Finished()
        )

    track = play(recognizers, story)
    assert [event.text for event in track.of(Segment) if isinstance(event, Segment)] == ["goodbye"]
    assert not track.of(RecognizerLost)


def test_a_last_partial_that_never_became_final_is_kept_as_forced() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.speak(10)
        await recognizer.until(lambda: len(recognizer.audio) == 10 * CHUNK)
        recognizer.say(Partial(text="I want to", start_s=0.2))

    track = play(ScriptedRecognizers(), story)
    assert track.events == [
        Hearing(provider="test", text="I want to", start_s=0.2),
        Segment(provider="test", text="I want to", start_s=0.2, end_s=1.0, language="en", forced=True),
    ]


def test_a_recogniser_that_never_finishes_is_given_up_after_the_drain_and_what_it_owes_is_reported() -> None:
    recognizers = ScriptedRecognizers(on_end=lambda _session: ())

    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.speak(10)
        await recognizer.until(lambda: len(recognizer.audio) == 10 * CHUNK)
        recognizer.say(Final(text="hello", start_s=0.0, end_s=0.4))

    track = play(recognizers, story)
    assert track.events[1:] == [
        RecognizerLost(provider="test", at_s=1.0, reason="drain_timeout"),
        Untranscribed(start_s=0.4, end_s=1.0, reason="drain_timeout"),
    ]


def test_what_nobody_could_be_had_for_is_reported_from_the_last_final_to_the_end() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.speak(20)
        await recognizer.until(lambda: len(recognizer.audio) == 20 * CHUNK)
        recognizer.say(Final(text="hello", start_s=0.5, end_s=1.5))
        recognizers.refusal = RecognizerUnavailable("503", code="stt_refused_503")
        recognizer.fail(CUT)
        track.speak(30)

    recognizers = ScriptedRecognizers()
    track = play(recognizers, story)
    assert track.of(RecognizerLost) == [RecognizerLost(provider="test", at_s=5.0, reason="stt_cut")]
    assert track.of(Untranscribed) == [Untranscribed(start_s=1.5, end_s=5.0, reason="stt_refused_503")]


def test_a_recogniser_that_refuses_leaves_the_whole_track_untranscribed_and_says_why() -> None:
    async def main() -> Track:
        recognizers = ScriptedRecognizers()
        recognizers.refusal = RecognizerUnavailable("401", code="stt_refused_401", retryable=False)
        track = Track(recognizers)
        track.speak(10)
        track.close()
        await track.run()
        return track

    assert virtual_time.run(main()).events == [
        RecognizerLost(provider="test", at_s=1.0, reason="stt_refused_401"),
        Untranscribed(start_s=0.0, end_s=1.0, reason="stt_refused_401"),
    ]


def test_a_recogniser_that_ends_unasked_is_a_lost_one() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.speak(10)
        await recognizer.until(lambda: len(recognizer.audio) == 10 * CHUNK)
        recognizer.say(Finished())
        await recognizer.closed.wait()

    lost = play(ScriptedRecognizers(), story).of(RecognizerLost)
    assert lost == [RecognizerLost(provider="test", at_s=1.0, reason="ended_early")]


def test_a_stalled_recogniser_bounds_memory_and_the_audio_given_up_is_reported() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        recognizer.listening.clear()
        track.speak(1)
        await pass_time(0.1)
        track.speak(100)
        recognizer.listening.set()

    (gap,) = play(ScriptedRecognizers(), story, buffer_s=2.0).of(Untranscribed)
    assert (gap.start_s, gap.end_s, gap.reason) == (0.1, pytest.approx(10.1 - 2.0), "not_held")


def test_with_an_archive_a_stalled_recogniser_costs_nothing() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        recognizer.listening.clear()
        await track.talk(30)
        recognizer.listening.set()
        await recognizer.until(lambda: len(recognizer.audio) == 300 * CHUNK)
        assert recognizer.audio == b"".join(bytes([number % 255]) * CHUNK for number in range(300))

    assert not play(ScriptedRecognizers(), story, buffer_s=2.0, archive=MemoryArchive()).of(Untranscribed)


def test_a_silent_line_is_kept_alive() -> None:
    async def story(_track: Track, recognizer: ScriptedRecognizer) -> None:
        await recognizer.until(lambda: recognizer.calls.count("keepalive") == 3, within_s=60)
        assert asyncio.get_running_loop().time() == pytest.approx(15.0)

    play(ScriptedRecognizers(), story)


def test_when_the_platform_stops_sending_in_mid_utterance_the_recogniser_hears_a_bounded_pause() -> None:
    """Some platforms send nothing in silence; an endpointer then waits for ever for the pause."""

    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.speak(10)
        await recognizer.until(lambda: len(recognizer.audio) == 10 * CHUNK)
        recognizer.say(Partial(text="hello", start_s=0.0))
        await recognizer.until(lambda: "keepalive" in recognizer.calls, within_s=60)
        assert bytes(recognizer.audio[10 * CHUNK :]) == b"\xff" * int(MAX_INSERTED_S * 8000)

    play(ScriptedRecognizers(), story)


def test_words_after_an_inserted_pause_keep_their_call_time() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.speak(10)
        await recognizer.until(lambda: len(recognizer.audio) == 10 * CHUNK)
        recognizer.say(Partial(text="hello", start_s=0.0))
        await recognizer.until(lambda: len(recognizer.audio) > 10 * CHUNK)
        recognizer.say(Final(text="hello", start_s=0.0, end_s=0.9))
        inserted = len(recognizer.audio) - 10 * CHUNK
        track.speak(10)
        await recognizer.until(lambda: len(recognizer.audio) >= 20 * CHUNK + inserted)
        at_s = (len(recognizer.audio) - 5 * CHUNK) / 8000
        recognizer.say(Final(text="again", start_s=at_s, end_s=at_s + 0.2))

    segments = [event for event in play(ScriptedRecognizers(), story).events if isinstance(event, Segment)]
    assert segments[-1].start_s == pytest.approx(1.5)


def test_a_final_without_times_covers_what_was_not_yet_final() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.speak(10)
        await recognizer.until(lambda: len(recognizer.audio) == 10 * CHUNK)
        recognizer.say(Final(text="one", start_s=0.1, end_s=0.4), Final(text="two"))

    segments = [event for event in play(ScriptedRecognizers(), story).events if isinstance(event, Segment)]
    assert (segments[1].start_s, segments[1].end_s) == (0.4, 1.0)


def test_an_empty_final_is_no_segment() -> None:
    async def story(_track: Track, recognizer: ScriptedRecognizer) -> None:
        recognizer.say(Final(text="", from_finalize=True))

    assert play(ScriptedRecognizers(), story).events == []


def test_a_call_without_audio_ends_cleanly() -> None:
    async def story(_track: Track, _recognizer: ScriptedRecognizer) -> None:
        pass

    assert play(ScriptedRecognizers(), story).events == []
