"""The embedded engine on real speech."""

import itertools
import random
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.engines import sphinx
from gateway.engines.decoder import Band, Decoder
from gateway.engines.sphinx import SphinxEngine, SphinxEngines
from gateway.events import Final, Finished, Partial, RecognizerEvent, RecognizerRequest, SpeechEnded, SpeechStarted
from telephony_codecs import mulaw
from telephony_codecs.formats import AudioFormat

RATE_HZ = 8000
LINEAR = AudioFormat.parse("linear16-8000")
REQUEST = RecognizerRequest(format=LINEAR)
CHUNK_BYTES = 1600  # 100 ms


def seconds(samples: NDArray[np.int16], start_s: float, end_s: float) -> bytes:
    return samples[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)].tobytes()


def chunks(audio: bytes, size: int = CHUNK_BYTES) -> list[bytes]:
    return [audio[start : start + size] for start in range(0, len(audio), size)]


def hear(engine: SphinxEngine, pieces: Iterable[bytes]) -> list[RecognizerEvent]:
    return [event for piece in pieces for event in engine.accept(piece)]


def recognise(
    engines: SphinxEngines, pieces: Iterable[bytes], request: RecognizerRequest = REQUEST
) -> list[RecognizerEvent]:
    """A whole session."""
    engine = engines.open(request)
    events = [*hear(engine, pieces), *engine.end()]
    engines.close(engine)
    return events


def finals(events: list[RecognizerEvent]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


@pytest.fixture(scope="module")
def call(engines: SphinxEngines, caller: NDArray[np.int16]) -> list[tuple[float, RecognizerEvent]]:
    """Everything said about the caller's channel, each with the time up to which audio had been sent."""
    engine = engines.open(REQUEST)
    events: list[tuple[float, RecognizerEvent]] = []
    for number, chunk in enumerate(chunks(caller.tobytes()), 1):
        events += [(number * 0.1, event) for event in engine.accept(chunk)]
    events += [(len(caller) / RATE_HZ, event) for event in engine.end()]
    engines.close(engine)
    return events


@pytest.fixture(scope="module")
def sentence(caller: NDArray[np.int16]) -> bytes:
    """'He was not an ill disposed young man', with little silence around it."""
    return seconds(caller, 0.6, 3.4)


@pytest.fixture(scope="module")
def sentence_events(engines: SphinxEngines, sentence: bytes) -> list[RecognizerEvent]:
    return recognise(engines, chunks(sentence))


Call = list[tuple[float, RecognizerEvent]]


def test_each_sentence_is_one_final(call: Call) -> None:
    assert len(finals([event for _, event in call])) == 2


def test_finals_begin_and_end_when_the_speech_does(call: Call) -> None:
    times = [(final.start_s, final.end_s) for final in finals([event for _, event in call])]
    assert times == [
        (pytest.approx(0.74, abs=0.1), pytest.approx(3.3, abs=0.2)),
        (pytest.approx(8.40, abs=0.1), pytest.approx(13.3, abs=0.2)),
    ]


def test_the_first_sentence_is_understood_in_the_main(call: Call) -> None:
    said = finals([event for _, event in call])[0].text.split()
    assert {"he", "was", "not", "young", "man"} <= set(said)


def test_a_final_comes_with_the_pause_not_with_the_next_sentence(call: Call) -> None:
    sent_s = next(sent_s for sent_s, event in call if isinstance(event, Final))
    assert 3.3 < sent_s <= 3.5 + 0.6 + 0.1


def test_voice_events_surround_each_final(call: Call) -> None:
    kinds = [type(event) for _, event in call if not isinstance(event, Partial)]
    assert kinds == [SpeechStarted, SpeechEnded, Final] * 2 + [Finished]


def test_partials_come_at_least_every_300_ms_of_speech(call: Call) -> None:
    for start_s, end_s in ((0.74, 3.3), (8.40, 13.3)):
        sent = [sent_s for sent_s, event in call if isinstance(event, Partial) and start_s <= sent_s <= end_s]
        assert sent[0] - start_s < 0.8  # until there is a word
        assert max(later - earlier for earlier, later in itertools.pairwise([*sent, end_s])) <= 0.3 + 1e-6


def test_word_times_rise_and_lie_inside_their_final(call: Call) -> None:
    for final in finals([event for _, event in call]):
        times = [time for word in final.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert (times[0], times[-1]) == (final.start_s, final.end_s)


def test_the_text_is_the_words_without_fillers_and_pronunciation_marks(call: Call) -> None:
    for _, event in call:
        if isinstance(event, Final | Partial):
            assert event.text == " ".join(word.word for word in event.words)
            assert not set("<>[]()0123456789") & set(event.text)


def test_every_final_says_how_sure_it_is(call: Call) -> None:
    for final in finals([event for _, event in call]):
        confidences = [word.confidence for word in final.words]
        assert all(confidence is not None and 0 <= confidence <= 1 for confidence in confidences)
        assert final.confidence is not None
        assert min(filter(None, confidences)) <= final.confidence <= max(filter(None, confidences))


def test_any_chunking_gives_the_same_events(
    engines: SphinxEngines, sentence: bytes, sentence_events: list[RecognizerEvent]
) -> None:
    sizes = random.Random(7)
    pieces = []
    rest = sentence
    while rest:
        size = sizes.choice([1, 2, 3, 159, 161, 2000, 9001])
        pieces.append(rest[:size])
        rest = rest[size:]
    assert recognise(engines, pieces) == sentence_events


def test_a_session_does_not_depend_on_the_ones_before_it(
    sentence: bytes, sentence_events: list[RecognizerEvent], engines: SphinxEngines, caller: NDArray[np.int16]
) -> None:
    """A decoder that heard something else, and was left in the midst of an utterance, equals a new one."""
    used = engines.open(REQUEST)
    hear(used, chunks(seconds(caller, 8.2, 10.5)))
    engines.close(used)
    again = recognise(engines, chunks(sentence))
    new = SphinxEngine(Decoder(Band.TELEPHONE), REQUEST, pause_ms=600)
    assert [*hear(new, chunks(sentence)), *new.end()] == again == sentence_events


def test_sessions_at_the_same_time_do_not_mix(
    engines: SphinxEngines, sentence: bytes, sentence_events: list[RecognizerEvent], caller: NDArray[np.int16]
) -> None:
    first, second = engines.open(REQUEST), engines.open(REQUEST)
    events = []
    for piece, other in zip(chunks(sentence), chunks(seconds(caller, 8.3, 8.3 + 2.8)), strict=True):
        events += first.accept(piece)
        second.accept(other)
    events += first.end()
    engines.close(first)
    engines.close(second)
    assert events == sentence_events


@pytest.mark.parametrize("name", ["mulaw-8000", "linear16-16000"])
def test_other_forms_of_the_same_speech_have_the_same_times(
    engines: SphinxEngines, sentence: bytes, sentence_events: list[RecognizerEvent], name: str
) -> None:
    samples = np.frombuffer(sentence, np.int16)
    audio = mulaw.encode(sentence) if name == "mulaw-8000" else np.repeat(samples, 2).tobytes()
    (final,) = finals(recognise(engines, chunks(audio), RecognizerRequest(format=AudioFormat.parse(name))))
    (expected,) = finals(sentence_events)
    assert (final.start_s, final.end_s) == (
        pytest.approx(expected.start_s, abs=0.1),
        pytest.approx(expected.end_s, abs=0.15),
    )


def test_speech_from_the_first_sample_to_the_last_is_heard(engines: SphinxEngines, caller: NDArray[np.int16]) -> None:
    """Cut inside the first and the last word, without any silence."""
    audio = seconds(caller, 0.78, 3.2)
    (final,) = finals(recognise(engines, chunks(audio)))
    assert final.start_s is not None
    assert final.end_s is not None
    assert final.start_s < 0.1
    assert final.end_s > 2.42 - 0.15


def test_finalize_is_answered_once_at_once_with_what_was_said(engines: SphinxEngines, sentence: bytes) -> None:
    engine = engines.open(REQUEST)
    hear(engine, chunks(sentence[: 2 * RATE_HZ * 3 // 2]))
    events = engine.finalize()
    engines.close(engine)
    assert [type(event) for event in events] == [SpeechEnded, Final]
    (final,) = finals(events)
    assert final.from_finalize
    assert final.text
    assert final.end_s is not None
    assert final.end_s > 1.3


def test_finalize_hears_speech_that_had_not_yet_counted_as_a_start(engines: SphinxEngines, sentence: bytes) -> None:
    """Two voiced frames, which the endpointer still holds."""
    engine = engines.open(REQUEST)
    loud = seconds(np.frombuffer(sentence, np.int16), 0.2, 0.27)
    assert hear(engine, [bytes(8000), loud]) == []
    events = engine.finalize()
    engines.close(engine)
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded, Final]


def test_speech_goes_on_after_finalize(engines: SphinxEngines, sentence: bytes) -> None:
    middle = 2 * RATE_HZ * 3 // 2
    engine = engines.open(REQUEST)
    hear(engine, chunks(sentence[:middle]))
    engine.finalize()
    events = [*hear(engine, chunks(sentence[middle:])), *engine.end()]
    engines.close(engine)
    (final,) = finals(events)
    assert not final.from_finalize
    assert final.start_s is not None
    assert final.start_s == pytest.approx(1.5, abs=0.3)


def test_silence_gives_no_final_but_every_request_its_answer(engines: SphinxEngines) -> None:
    engine = engines.open(REQUEST)
    heard = hear(engine, chunks(bytes(4 * RATE_HZ)))
    answers = [engine.finalize(), engine.finalize(), engine.end()]
    engines.close(engine)
    empty = [Final(text="", language="en", from_finalize=True)]
    assert (heard, answers) == ([], [empty, empty, [Finished()]])


@pytest.mark.parametrize("size", [0, 1])
def test_a_session_without_a_whole_sample_ends(engines: SphinxEngines, size: int) -> None:
    assert recognise(engines, [bytes(size)]) == [Finished()]


def test_a_longer_eou_timeout_joins_what_a_shorter_one_parts(engines: SphinxEngines, caller: NDArray[np.int16]) -> None:
    pause = bytes(2 * RATE_HZ * 6 // 10)
    audio = seconds(caller, 0.7, 1.7) + pause + seconds(caller, 8.4, 9.4)
    counts = [
        len(finals(recognise(engines, chunks(audio), RecognizerRequest(format=LINEAR, eou_timeout_ms=eou_timeout_ms))))
        for eou_timeout_ms in (300, 1200)
    ]
    assert counts == [2, 1]


def test_without_endpointing_pauses_make_no_finals(engines: SphinxEngines, caller: NDArray[np.int16]) -> None:
    audio = seconds(caller, 0.7, 1.7) + bytes(2 * RATE_HZ) + seconds(caller, 8.4, 9.4) + bytes(2 * RATE_HZ)
    engine = engines.open(RecognizerRequest(format=LINEAR, endpointing=False))
    heard = hear(engine, chunks(audio))
    (final,) = finals(engine.end())
    engines.close(engine)
    assert finals(heard) == []
    assert final.words[0].start_s < 0.3
    assert final.words[-1].end_s > 2.5


def test_no_final_has_more_words_than_asked_for(engines: SphinxEngines, sentence: bytes) -> None:
    said = finals(recognise(engines, chunks(sentence), RecognizerRequest(format=LINEAR, max_words=3)))
    assert len(said) >= 2
    assert max(len(final.words) for final in said) <= 3


def test_a_final_is_forced_while_speech_goes_on(
    engines: SphinxEngines, sentence: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sphinx, "_FIRST_UTTERANCE_BYTES", 3 * 16_000)  # 1.5 s
    events = recognise(engines, chunks(sentence))
    words = [word for final in finals(events) for word in final.words]
    assert len(finals(events)) == 2
    assert [type(event) for event in events if isinstance(event, SpeechEnded)] == [SpeechEnded]
    # Heard once: no time is covered twice, and none is left out.
    assert all(later.start_s >= earlier.end_s - 0.05 for earlier, later in itertools.pairwise(words))
    assert words[0].start_s < 0.3
    assert words[-1].end_s > 2.4
