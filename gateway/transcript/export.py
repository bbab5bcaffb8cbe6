"""
Transcripts as files: JSON, plain text, SubRip (SRT) and WebVTT.

Captions follow the usual advice for two-line subtitles: at most 42 characters a line and two lines a cue, no cue
shorter than a second nor longer than seven, and no two at once. Where words have times, a long passage is cut at words
and each cue shows what is said while it stands; without, its time is shared out by length.

Sources: W3C, WebVTT (2019), sections 4 and 6 (cue text, escapes, line terminators); SubRip has no standard: sequence
number, times with a comma, lines, empty line, as every player reads them.
"""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from gateway.events import Word

LINE_CHARS = 42
CUE_LINES = 2
LONGEST_CUE_S = 7.0
SHORTEST_CUE_S = 1.0


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """What one speaker said from `start_s` to `end_s`. `words` may be empty, or be other than those of `text`."""

    speaker: str | None
    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] = ()


class Cue(msgspec.Struct, frozen=True, kw_only=True):
    """A caption: one or two lines that stand from `start_s` to `end_s`."""

    speaker: str | None
    lines: tuple[str, ...]
    start_s: float
    end_s: float


def to_json(passages: Sequence[Passage], **more: Any) -> str:
    """An object with `passages` and whatever else it is given; seconds rounded to milliseconds."""
    entries = []
    for passage in passages:
        entry: dict[str, Any] = {
            "speaker": passage.speaker,
            "text": passage.text,
            "start_s": round(passage.start_s, 3),
            "end_s": round(passage.end_s, 3),
        }
        if passage.words:
            entry["words"] = [_word(word) for word in passage.words]
        entries.append(entry)
    return msgspec.json.format(msgspec.json.encode({**more, "passages": entries}), indent=2).decode() + "\n"


def to_text(passages: Sequence[Passage]) -> str:
    """A line per passage, with its speaker in front when there is more than one."""
    several = len({passage.speaker for passage in passages}) > 1
    lines = [f"{each.speaker}: {each.text}" if several and each.speaker else each.text for each in passages]
    return "".join(f"{_one_line(line)}\n" for line in lines)


def to_srt(passages: Sequence[Passage]) -> str:
    """SubRip captions."""
    blocks = []
    for number, cue in enumerate(cues(passages), start=1):
        times = f"{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}"
        blocks.append(f"{number}\n{times}\n" + "\n".join(cue.lines) + "\n")
    return "\n".join(blocks)


def to_vtt(passages: Sequence[Passage]) -> str:
    """WebVTT captions, with the speaker as the voice of each cue."""
    blocks = ["WEBVTT\n"]
    for cue in cues(passages):
        times = f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}"
        voice = f"<v {_escape(_one_line(cue.speaker))}>" if cue.speaker else ""
        blocks.append(f"{times}\n{voice}" + "\n".join(map(_escape, cue.lines)) + "\n")
    return "\n".join(blocks)


Writer: TypeAlias = Callable[[Sequence[Passage]], str]
WRITERS: Mapping[str, Writer] = {"json": to_json, "text": to_text, "srt": to_srt, "vtt": to_vtt}
"""By the name of the format."""
SUFFIXES: Mapping[str, str] = {"json": ".json", "text": ".txt", "srt": ".srt", "vtt": ".vtt"}


def cues(passages: Sequence[Passage]) -> list[Cue]:
    """The captions of a conversation, in order; each ends before the next begins."""
    ordered = sorted((cue for passage in passages for cue in _cues_of(passage)), key=lambda cue: cue.start_s)
    following = [*ordered[1:], None]
    return [_stretch(cue, after) for cue, after in zip(ordered, following, strict=False)]


def _stretch(cue: Cue, after: Cue | None) -> Cue:
    """Let a cue stand long enough to be read, but not into the next one."""
    end_s = max(cue.end_s, cue.start_s + SHORTEST_CUE_S)
    if after is not None:
        end_s = min(end_s, max(after.start_s, cue.start_s + 0.001))
    return msgspec.structs.replace(cue, end_s=end_s)


def _cues_of(passage: Passage) -> Iterator[Cue]:
    spoken = passage.words if _are_of_the_text(passage) else _timed(passage)
    held: list[Word] = []
    for word in (part for each in spoken for part in _parts(each)):
        if held and (len(_lines([*held, word])) > CUE_LINES or word.end_s - held[0].start_s > LONGEST_CUE_S):
            yield _cue(passage, held)
            held = []
        held.append(word)
    if held:
        yield _cue(passage, held)


def _cue(passage: Passage, words: Sequence[Word]) -> Cue:
    start_s = words[0].start_s
    end_s = min(max(words[-1].end_s, start_s), start_s + LONGEST_CUE_S)
    return Cue(speaker=passage.speaker, lines=tuple(_lines(words)), start_s=start_s, end_s=end_s)


def _lines(words: Sequence[Word]) -> list[str]:
    """As few lines as it takes, two of about the same length."""
    text = _one_line(" ".join(word.word for word in words))
    lines = textwrap.wrap(text, LINE_CHARS, break_on_hyphens=False)
    if len(lines) == CUE_LINES:
        for width in range((len(text) + 1) // 2, LINE_CHARS):
            balanced = textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
            if len(balanced) == CUE_LINES and max(map(len, balanced)) <= LINE_CHARS:
                return balanced
    return lines


def _parts(word: Word) -> list[Word]:
    """A word that is longer than a line, in pieces."""
    text = word.word
    pieces = [text[at : at + LINE_CHARS] for at in range(0, len(text), LINE_CHARS)]
    return [word] if len(pieces) <= 1 else [msgspec.structs.replace(word, word=piece) for piece in pieces]


def _are_of_the_text(passage: Passage) -> bool:
    """Whether the words are those of the text: recognisers write numbers in one and spell them in the other."""
    return bool(passage.words) and " ".join(word.word for word in passage.words).split() == passage.text.split()


def _timed(passage: Passage) -> list[Word]:
    """The text's words, with the passage's time shared out by length."""
    words = passage.text.split()
    total = sum(len(word) + 1 for word in words)
    per_char_s = max(passage.end_s - passage.start_s, 0.0) / total if total else 0.0
    timed, at = [], 0
    for word in words:
        start_s = passage.start_s + at * per_char_s
        at += len(word) + 1
        timed.append(Word(word=word, start_s=start_s, end_s=passage.start_s + at * per_char_s))
    return timed


def _word(word: Word) -> dict[str, Any]:
    entry: dict[str, Any] = {"word": word.word, "start_s": round(word.start_s, 3), "end_s": round(word.end_s, 3)}
    return entry if word.confidence is None else {**entry, "confidence": round(word.confidence, 4)}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escape(text: str) -> str:
    """WebVTT 4.2.2: `&` and `<` begin escapes and tags; `-->` may not occur, and with `>` escaped it cannot."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(max(seconds, 0.0) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
