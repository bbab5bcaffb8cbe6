"""A track whose session the pool gave up: what its call loses by it. Nothing."""

from gateway.errors import RecognizerUnavailable
from gateway.events import Final, RecognizerBack, RecognizerLost, Segment, Untranscribed
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.session_track import CHUNK, MemoryArchive, Track, play

OVERLOADED = RecognizerUnavailable("the engine is behind", code="engine_overloaded")


def test_it_is_heard_from_where_nothing_was_final_as_soon_as_there_is_room() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(10)
        first.say(Final(text="hello", start_s=0.5, end_s=4.0))
        recognizers.refusal = OVERLOADED
        first.fail(OVERLOADED)
        await track.talk(60)
        recognizers.refusal = None
        second = await recognizers.session(1, within_s=60)
        await second.until(lambda: len(second.audio) > 30 * CHUNK)
        assert second.audio[:CHUNK] == bytes([40]) * CHUNK
        second.say(Final(text="I want a refund", start_s=1.0, end_s=3.0))

    track = play(recognizers, story, archive=MemoryArchive())
    assert [(each.text, each.start_s, each.recovered) for each in track.of(Segment)] == [
        ("hello", 0.5, False),
        ("I want a refund", 5.0, True),
    ]
    assert track.of(Untranscribed) == []
    assert [each.reason for each in track.of(RecognizerLost)] == ["engine_overloaded"]
    assert len(track.of(RecognizerBack)) == 1


def test_where_there_is_no_room_until_after_the_call_the_rest_is_left_to_recovery() -> None:
    recognizers = ScriptedRecognizers()

    async def story(track: Track, first: ScriptedRecognizer) -> None:
        await track.talk(10)
        first.say(Final(text="hello", start_s=0.5, end_s=4.0))
        recognizers.refusal = OVERLOADED
        first.fail(OVERLOADED)
        await track.talk(60)

    track = play(recognizers, story, archive=MemoryArchive())
    assert track.texts == ["hello"]
    assert track.of(Untranscribed) == []
    assert track.result is not None
    assert (track.result.position, track.result.reason) == (40 * CHUNK, "engine_overloaded")
