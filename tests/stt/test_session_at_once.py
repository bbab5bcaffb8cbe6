"""Audio that is sent on the spot: in the order and to the bytes as if the sender had been woken for it."""

from gateway.events import Final, Partial
from telephony_codecs.formats import AudioFormat
from tests.stt.test_session import CUT
from tests.support.scripted_recognizer import PromptScriptedRecognizer, ScriptedRecognizer, ScriptedRecognizers
from tests.support.session_track import CHUNK, Track, pass_time, play, settings


def prompt(**options: object) -> ScriptedRecognizers:
    return ScriptedRecognizers(session=PromptScriptedRecognizer, **options)  # type: ignore[arg-type]


def expected(chunks: int) -> bytes:
    return b"".join(bytes([number % 255]) * CHUNK for number in range(chunks))


def test_a_sender_that_only_waits_is_not_woken_for_a_chunk() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        await pass_time(0.05)
        track.speak(1)
        assert recognizer.calls == ["send_now"]

    play(prompt(), story)


def test_all_audio_arrives_once_and_in_order_however_it_was_sent() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        await track.talk(10)
        assert bytes(recognizer.audio) == expected(100)
        assert recognizer.calls.count("send_now") > 80  # the first, and one each second, when the session is looked at

    play(prompt(), story)


def test_a_recogniser_that_is_not_clear_is_waited_for() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        assert isinstance(recognizer, PromptScriptedRecognizer)
        await pass_time(0.05)
        recognizer.is_clear = False
        recognizer.listening.clear()
        track.speak(3)
        assert not recognizer.calls
        recognizer.is_clear = True
        track.speak(1)  # must not overtake what waits
        assert not recognizer.calls
        recognizer.listening.set()
        await recognizer.until(lambda: len(recognizer.audio) == 4 * CHUNK)
        assert bytes(recognizer.audio) == expected(4)

    play(prompt(), story)


def test_nothing_overtakes_the_pace_of_a_vendor() -> None:
    """Held audio goes out at the vendor's pace, and what comes meanwhile goes behind it."""

    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        track.speak(100)
        await track.talk(30)
        assert bytes(recognizer.audio[: 10 * CHUNK]) == expected(10)
        assert bytes(recognizer.audio) == expected(400)

    says_something = lambda _session, _audio: (Partial(text="hm"),)  # noqa: E731
    play(prompt(on_audio=says_something), story, stt=settings("test", kind="pulse"))


def test_the_first_chunk_after_a_hole_goes_where_it_belongs() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        await track.talk(1)
        track.position += 80_000
        await track.talk(1)
        recognizer.say(Final(text="after", start_s=1.2, end_s=1.8))

    track = play(prompt(), story)
    assert [(each.start_s, each.end_s) for each in track.events] == [(11.2, 11.8)]  # type: ignore[union-attr]


def test_audio_is_converted_once() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        await pass_time(0.05)
        await track.talk(2)
        assert len(recognizer.audio) == 20 * CHUNK * 2

    play(prompt(format=AudioFormat.parse("linear16-8000")), story)


def test_a_session_that_is_lost_takes_nothing_more_and_the_next_hears_all() -> None:
    recognizers = prompt()

    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        assert isinstance(recognizer, PromptScriptedRecognizer)
        await track.talk(2)
        recognizer.is_clear = False
        recognizer.fail(CUT)
        await track.talk(2)
        second = await recognizers.session(1)
        await track.talk(2)
        assert bytes(second.audio) == expected(60)

    play(recognizers, story)


def test_a_partial_does_not_keep_audio_back() -> None:
    async def story(track: Track, recognizer: ScriptedRecognizer) -> None:
        await track.talk(0.5)
        recognizer.say(Partial(text="hel", start_s=0.0))
        await track.talk(2)
        assert len(recognizer.audio) == 25 * CHUNK

    play(prompt(), story)
