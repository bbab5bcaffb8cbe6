"""Sessions cut at random places: every word of the uninterrupted run, none twice, each at its time."""

import asyncio
import random
from typing import Any

import pytest

from gateway.errors import RecognizerUnavailable
from gateway.events import RecognizerBack, RecognizerLost, Segment, Untranscribed, Word
from tests.support.content_recognizer import ContentHearing, Speech
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.session_track import MemoryArchive, Track, pass_time, play_all, settings

CUT = RecognizerUnavailable("cut", code="stt_cut")
TOLERANCE_S = 0.05


def hearing(speech: Speech, **options: Any) -> ScriptedRecognizers:
    heard = ContentHearing(speech.lengths, **options)
    return ScriptedRecognizers(on_audio=heard.on_audio, on_finalize=heard.on_finalize, on_end=heard.on_end)


def call_of(
    speech: Speech, recognizers: ScriptedRecognizers, cuts: list[float], *, away_s: float = 0.0, **options: Any
) -> Track:
    """A call in which this is spoken, and in which the recogniser is cut at these times and then away for so long."""

    async def story(track: Track) -> None:
        left = sorted(cuts)
        for number, chunk in enumerate(speech.chunks):
            await pass_time(0.1)
            track.speak(1, chunk.payload)
            while left and number / 10 >= left[0]:
                left.pop(0)
                cut(recognizers, away_s)

    return play_all(recognizers, story, **options)


def cut(recognizers: ScriptedRecognizers, away_s: float) -> None:
    if recognizers.sessions:
        recognizers.sessions[-1].fail(CUT)
    if away_s:
        recognizers.refusal = RecognizerUnavailable("503", code="stt_refused_503")

        asyncio.get_running_loop().call_later(away_s, setattr, recognizers, "refusal", None)


def words_of(track: Track) -> list[Word]:
    return [word for segment in track.of(Segment) for word in segment.words]


def assert_whole(track: Track, speech: Speech) -> None:
    words = sorted(words_of(track), key=lambda word: word.start_s)
    assert [word.word for word in words] == [word.word for word in speech.words]
    for heard, spoken in zip(words, speech.words, strict=True):
        assert heard.start_s == pytest.approx(spoken.start_s, abs=TOLERANCE_S)
        assert heard.end_s == pytest.approx(spoken.end_s, abs=TOLERANCE_S)
    assert " ".join(segment.text for segment in track.of(Segment)).split() == [word.word for word in words_of(track)]
    assert not track.of(Untranscribed)


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_cut_twenty_times_a_call_has_every_word_once_and_at_its_time(seed: int, archived: bool) -> None:
    draw = random.Random(seed)
    speech = Speech(draw, 150)
    length_s = len(speech.audio) / 8000
    cuts = [draw.uniform(0, length_s) for _ in range(20)]
    archive = MemoryArchive() if archived else None
    recognizers = hearing(speech, delay_s=draw.choice((0.1, 0.3, 1.0)), seed=seed)
    track = call_of(speech, recognizers, cuts, archive=archive)
    assert_whole(track, speech)
    assert len(track.of(RecognizerLost)) == len(track.of(RecognizerBack)) <= 20


@pytest.mark.parametrize("seed", range(6))
def test_outages_longer_than_memory_cost_nothing_with_an_archive(seed: int) -> None:
    draw = random.Random(seed)
    speech = Speech(draw, 180)
    cuts = [draw.uniform(0, len(speech.audio) / 8000 - 30) for _ in range(3)]
    track = call_of(speech, hearing(speech, seed=seed), cuts, away_s=15.0, archive=MemoryArchive(), buffer_s=2.0)
    assert_whole(track, speech)
    assert any(segment.recovered for segment in track.of(Segment))


@pytest.mark.parametrize("seed", range(8))
def test_planned_changes_in_mid_speech_cost_no_word_either(seed: int) -> None:
    draw = random.Random(seed)
    speech = Speech(draw, 150)
    recognizers = hearing(speech, seed=seed)
    track = call_of(speech, recognizers, [], stt=settings("test", max_session_s=10))
    assert len(recognizers.sessions) > len(speech.audio) / 8000 / 10
    assert_whole(track, speech)
    assert not track.of(RecognizerLost)
    assert not any(segment.recovered for segment in track.of(Segment))


@pytest.mark.parametrize("seed", range(8))
def test_a_recogniser_without_any_times_loses_and_doubles_no_word_at_a_seam(seed: int) -> None:
    draw = random.Random(seed)
    speech = Speech(draw, 100)
    length_s = len(speech.audio) / 8000
    recognizers = hearing(speech, has_times=False, delay_s=0.3, seed=seed)
    track = call_of(speech, recognizers, [draw.uniform(0, length_s) for _ in range(5)])
    said = " ".join(track.texts).split()
    assert said == [word.word for word in speech.words]


def test_what_a_replaced_session_still_says_is_heard_by_nobody() -> None:
    speech = Speech(random.Random(1), 20)
    recognizers = hearing(speech)

    async def story(track: Track) -> None:
        chunks = speech.chunks
        for chunk in chunks[:40]:
            await pass_time(0.1)
            track.speak(1, chunk.payload)
        old: ScriptedRecognizer = recognizers.sessions[0]
        old.fail(CUT)
        await recognizers.session(1)
        old.say(*ContentHearing(speech.lengths).on_end(old))
        for chunk in chunks[40:]:
            await pass_time(0.1)
            track.speak(1, chunk.payload)

    assert_whole(play_all(recognizers, story), speech)
