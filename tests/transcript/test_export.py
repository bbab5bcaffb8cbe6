"""Transcripts as files."""

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import RecordingTranscript, SpokenUtterance, SpokenWord, Track, Word
from gateway.transcript.export import LINE_CHARS, LONGEST_CUE_S, Passage, cues, to_json, to_srt, to_text, to_vtt
from gateway.transcript.recorded import passages_of


def said(text: str, start_s: float = 0.0, end_s: float = 2.0, speaker: str | None = None) -> Passage:
    return Passage(speaker=speaker, text=text, start_s=start_s, end_s=end_s)


TALK = [said("I'd like a refund.", 1.0, 2.5, "caller"), said("Of course.", 3661.5, 3663.0, "agent")]


def test_text_names_speakers_when_there_are_several() -> None:
    assert to_text(TALK) == "caller: I'd like a refund.\nagent: Of course.\n"
    assert to_text(TALK[:1]) == "I'd like a refund.\n"


def test_srt_has_numbers_commas_and_empty_lines_between() -> None:
    assert to_srt(TALK) == (
        "1\n00:00:01,000 --> 00:00:02,500\nI'd like a refund.\n\n2\n01:01:01,500 --> 01:01:03,000\nOf course.\n"
    )


def test_vtt_begins_with_its_name_and_has_voices() -> None:
    assert to_vtt(TALK) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\n<v caller>I'd like a refund.\n\n"
        "01:01:01.500 --> 01:01:03.000\n<v agent>Of course.\n"
    )


def test_vtt_escapes_what_it_would_take_for_markup() -> None:
    body = to_vtt([said("a <b> & c --> d", speaker="x>y")]).split("\n\n")[1]
    assert body.endswith("<v x&gt;y>a &lt;b&gt; &amp; c --&gt; d\n")


def test_a_blank_line_in_the_text_does_not_end_a_cue() -> None:
    assert cues([said("one\n\ntwo")])[0].lines == ("one two",)


def test_json_has_every_passage_with_its_words_and_whatever_else_is_given() -> None:
    word = Word(word="hi", start_s=0.12345, end_s=0.5, confidence=0.98765)
    passage = Passage(speaker="caller", text="hi", start_s=0.12345, end_s=0.5, words=(word,))
    assert json.loads(to_json([passage], language=None)) == {
        "language": None,
        "passages": [
            {
                "speaker": "caller",
                "text": "hi",
                "start_s": 0.123,
                "end_s": 0.5,
                "words": [{"word": "hi", "start_s": 0.123, "end_s": 0.5, "confidence": 0.9877}],
            }
        ],
    }


def test_a_long_passage_is_cut_where_its_words_are() -> None:
    words = tuple(Word(word="word", start_s=float(n), end_s=n + 0.5) for n in range(20))
    found = cues([Passage(speaker=None, text=" ".join(["word"] * 20), start_s=0, end_s=19.5, words=words)])
    assert [cue.start_s for cue in found] == [0, 7, 14]
    assert all(cue.end_s - cue.start_s <= LONGEST_CUE_S for cue in found)


def test_words_that_are_not_those_of_the_text_do_not_replace_it() -> None:
    words = (Word(word="twenty", start_s=0, end_s=1), Word(word="one", start_s=1, end_s=2))
    (cue,) = cues([Passage(speaker=None, text="21", start_s=0, end_s=2, words=words)])
    assert cue.lines == ("21",)


def test_two_lines_are_of_about_the_same_length() -> None:
    (cue,) = cues([said("the quick brown fox jumps over the lazy dog again", 0, 4)])
    assert cue.lines == ("the quick brown fox jumps", "over the lazy dog again")


def test_a_short_cue_stands_a_second_unless_the_next_one_comes() -> None:
    found = cues([said("yes", 0.0, 0.2), said("no", 0.5, 0.6)])
    assert [(cue.start_s, cue.end_s) for cue in found] == [(0.0, 0.5), (0.5, 1.5)]


@pytest.mark.parametrize("write", [to_text, to_srt])
def test_no_speech_is_an_empty_file(write: type) -> None:
    assert write([]) == ""


def test_no_speech_is_an_empty_but_valid_vtt() -> None:
    assert to_vtt([]) == "WEBVTT\n"


TEXTS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=120), max_size=6)


@given(TEXTS, st.floats(0, 1e5), st.floats(0, 100))
def test_captions_keep_the_words_within_the_lines_and_in_order(texts: list[str], start_s: float, each_s: float) -> None:
    talk = [said(text, start_s + n * each_s, start_s + (n + 1) * each_s) for n, text in enumerate(texts)]
    found = cues(talk)
    assert all(1 <= len(cue.lines) <= 2 for cue in found)
    assert all(len(line) <= LINE_CHARS for cue in found for line in cue.lines)
    assert all(a.end_s <= max(b.start_s, a.start_s + 0.001) for a, b in pairwise(found))
    if each_s > 0:
        assert "".join("".join(cue.lines) for cue in found).replace(" ", "") == "".join("".join(texts).split())


@given(TEXTS)
def test_every_vtt_block_is_a_cue(texts: list[str]) -> None:
    blocks = to_vtt([said(text, n, n + 1) for n, text in enumerate(texts)]).split("\n\n")
    for block in blocks[1:]:
        times, *lines = block.rstrip("\n").split("\n")
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}", times)
        assert lines
        assert not any("-->" in line or "<" in line for line in lines)


# ── Recordings ──────────────────────────────────────────────────────────────────────────────────────────────────────


def word(text: str, start_s: float, speaker: int | None = None, track: Track | None = None) -> SpokenWord:
    return SpokenWord(word=text, start_s=start_s, end_s=start_s + 0.4, speaker=speaker, track=track)


def test_utterances_have_their_words_and_the_tracks_speaker() -> None:
    transcript = RecordingTranscript(
        text="a b",
        utterances=(
            SpokenUtterance(text="a", start_s=0, end_s=1, track=Track.INBOUND),
            SpokenUtterance(text="b", start_s=0, end_s=1, track=Track.OUTBOUND),
        ),
        words=(word("a", 0.1, track=Track.INBOUND), word("b", 0.1, track=Track.OUTBOUND)),
    )
    found = [(each.speaker, each.text, [one.word for one in each.words]) for each in passages_of(transcript)]
    assert found == [("caller", "a", ["a"]), ("agent", "b", ["b"])]


def test_without_utterances_pauses_and_speakers_part_the_words() -> None:
    transcript = RecordingTranscript(
        text="a b c d", words=(word("a", 0, 0), word("b", 0.5, 0), word("c", 1, 1), word("d", 9, 1))
    )
    found = [(each.speaker, each.text) for each in passages_of(transcript)]
    assert found == [("speaker 0", "a b"), ("speaker 1", "c"), ("speaker 1", "d")]


def test_text_alone_is_one_passage_and_nothing_is_none() -> None:
    (passage,) = passages_of(RecordingTranscript(text="a b", duration_s=3))
    assert (passage.text, passage.start_s, passage.end_s) == ("a b", 0, 3)
    assert passages_of(RecordingTranscript(text="")) == []
