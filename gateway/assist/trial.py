"""`gateway cues`: rules tried on transcripts, without a call."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from gateway.assist.finder import Cue, CueFinder
from gateway.assist.rules_file import RulesFile
from gateway.errors import ConfigError
from gateway.events import Segment, Track, Word

WORD_S = 1 / 3
"""Assumed of a text, which has no times."""
_TRACKS: Mapping[str, Track] = {
    "caller": Track.INBOUND,
    "agent": Track.OUTBOUND,
    **{each.value: each for each in Track},
}
_SPEAKER = re.compile(rf"\s*({'|'.join(_TRACKS)})\s*:", re.IGNORECASE)


class _Passage(msgspec.Struct):
    text: str
    start_s: float
    end_s: float
    speaker: str | None = None
    track: Track | None = None
    words: tuple[Word, ...] = ()


class _Transcript(msgspec.Struct):
    passages: tuple[_Passage, ...]
    language: str | None = None


def try_rules(rules: Path, files: Sequence[Path], *, as_json: bool) -> Iterator[str]:
    """
    The lines to print.

    Args:
        rules: the file of rules.
        files: transcripts; each is a call of its own.
        as_json: one object of each cue.

    Raises:
        ConfigError: the rules have faults, or a file is no transcript.
    """
    book = RulesFile(rules).book
    if not files:
        yield f"{len(book.rules)} rules are valid"
    for file in files:
        finder = CueFinder(lambda: book)
        for track, said in _said(file):
            for cue in finder.hear(track, said):
                yield _shown(file, track, cue, as_json=as_json)


def _said(file: Path) -> Iterator[tuple[Track, Segment]]:
    """What a transcript has, in its order. Who is neither agent nor outbound counts as the caller."""
    try:
        text = file.read_text()
        if text.lstrip()[:1] != "{":
            yield from _lines(text)
            return
        transcript = msgspec.json.decode(text, type=_Transcript)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a transcript as `gateway transcribe` writes it"
        raise ConfigError([f"{file}: {reason}"]) from None
    for passage in transcript.passages:
        track = passage.track or _TRACKS.get(passage.speaker or "", Track.INBOUND)
        yield (
            track,
            Segment(
                provider="",
                text=passage.text,
                start_s=passage.start_s,
                end_s=passage.end_s,
                words=passage.words,
                language=transcript.language,
            ),
        )


def _lines(text: str) -> Iterator[tuple[Track, Segment]]:
    at_s = 0.0
    for line in text.splitlines():
        speaker = _SPEAKER.match(line)
        said = line[speaker.end() :] if speaker else line
        words = []
        for word in said.split():
            words.append(Word(word=word, start_s=at_s, end_s=at_s + WORD_S))
            at_s += WORD_S
        if words:
            track = _TRACKS[speaker[1].lower()] if speaker else Track.INBOUND
            yield (
                track,
                Segment(provider="", text=said, start_s=words[0].start_s, end_s=words[-1].end_s, words=tuple(words)),
            )


def _shown(file: Path, track: Track, cue: Cue, *, as_json: bool) -> str:
    start_s, end_s = round(cue.start_s, 3), round(cue.end_s, 3)
    if as_json:
        values = {"cue": cue.name, "text": cue.text, "note": cue.note, "start_s": start_s, "end_s": end_s}
        return json.dumps({"file": str(file), "track": track, **values}, ensure_ascii=False)
    note = f": {cue.note}" if cue.note else ""
    return f"{start_s:8.2f} s  {track.value:<8}  {cue.name}, “{cue.text}”{note}"
