"""Where recordings are silent."""

import wave
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gateway.config import JournalSettings
from gateway.events import Track
from gateway.journal import Journal
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.redaction.muting import muted_spans
from telephony_codecs.formats import AudioFormat
from tests.redaction.finders import body_mask
from tests.support.journalled_calls import header, stream_end

LOUD = b"\x00" * 16_000  # -32124 in mu-law
MASK = body_mask()
Words = list[tuple[str, float, float]]


def final(words: Words, *, track: str = "inbound", text: str | None = None, timed: bool = True) -> bytes:
    data: dict[str, Any] = {
        "call": {"id": "call_1"},
        "sequence": 1,
        "track": track,
        "text": text or " ".join(word for word, _, _ in words),
        "start_s": words[0][1],
        "end_s": words[-1][2],
        "words": [{"word": word, "start_s": start, "end_s": end} for word, start, end in words] if timed else [],
    }
    return msgspec.json.encode({"type": "transcript.final", "data": data})


CARD: Words = [("it's", 1.0, 1.2), ("4111", 1.3, 1.8), ("1111", 2.0, 2.5), ("okay", 3.0, 3.5)]


def test_the_words_are_muted_with_their_pauses_and_a_margin() -> None:
    assert muted_spans(MASK, [final(CARD)], 0.25) == {Track.INBOUND: [(1.3 - 0.25, 2.75)]}


def test_a_final_without_word_times_is_muted_as_a_whole() -> None:
    assert muted_spans(MASK, [final(CARD, timed=False)], 0.0) == {Track.INBOUND: [(1.0, 3.5)]}


def test_what_was_stored_masked_is_muted() -> None:
    words = [(word.replace("4111", "[card]").replace("1111", "[card]"), start, end) for word, start, end in CARD]
    assert muted_spans(MASK, [final(words)], 0.0) == {Track.INBOUND: [(1.3, 2.5)]}


def test_spans_that_touch_are_one_and_nothing_begins_before_the_call() -> None:
    early: Words = [("4111", 0.0, 0.4), ("1111", 0.5, 0.9)]
    late: Words = [("1111", 1.0, 1.4), ("1111", 1.5, 1.9)]
    assert muted_spans(MASK, [final(late), final(early)], 0.125) == {Track.INBOUND: [(0.0, 1.9 + 0.125)]}


def test_tracks_are_muted_apart_and_plain_talk_is_not() -> None:
    talk = final([("one", 1.0, 1.5), ("moment", 1.5, 2.0)], track="outbound")
    assert list(muted_spans(MASK, [final(CARD), talk], 0.1)) == [Track.INBOUND]


async def test_a_recording_is_silent_exactly_there(tmp_path: Path) -> None:
    muted = {Track.INBOUND: [(0.25, 0.5), (0.9999, 1.5)]}
    target = tmp_path / "call.wav"
    tapes = {track: Tape(AudioFormat.parse("mulaw-8000"), 1 << 20, is_archived=True) for track in Track}
    async with Journal(tmp_path / "journal", JournalSettings(), tick_s=3600) as journal:
        live = journal.begin(header(), tapes)
        for tape in tapes.values():
            tape.append(Stretch(0, LOUD))
        await (await live.end(stream_end())).recording(target, muted)
    with wave.open(str(target)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    is_silent = sound == 0
    expected = np.zeros(16_000, bool)
    expected[2000:4000] = True
    expected[7999:12_000] = True
    assert (is_silent[:, 0] == expected).all()
    assert not is_silent[:, 1].any()


def test_a_final_whose_words_lack_one_of_its_numbers_is_muted_as_a_whole() -> None:
    words = [word for word in CARD if word[0] != "1111"]
    told = final(words, text="it's 4111, okay, and my pin is 1984")
    assert muted_spans(MASK, [told], 0.0) == {Track.INBOUND: [(1.0, 3.5)]}
    beside = final(CARD, text="it's 4111 - 1111, okay")
    assert muted_spans(MASK, [beside], 0.0) == {Track.INBOUND: [(1.3, 2.5)]}
