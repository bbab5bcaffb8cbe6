"""The transcript of a call, made from its events."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from gateway.events import Track, Word
from gateway.live.answers import Call, Digit, Gap, Passage, Transcript
from gateway.transcript import export


class Final(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `transcript.final`, as far as it is shown."""

    sequence: int
    track: Track
    speaker: str | None
    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] = ()
    recovered: bool = False
    forced: bool = False


class _Body(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw


_BODY = msgspec.json.Decoder(_Body)
_FINAL = msgspec.json.Decoder(Final)
_GAP = msgspec.json.Decoder(Gap)
_DIGIT = msgspec.json.Decoder(Digit)


def final_of(body: bytes) -> Final:
    """What a `transcript.final` says; `body` is the whole event."""
    return _FINAL.decode(_BODY.decode(body).data)


def transcript_of(call: Call, bodies: Iterable[bytes]) -> Transcript:
    """
    Everything that was said, in the order in which it was said.

    Args:
        bodies: the call's events, in order.
    """
    finals: list[Final] = []
    gaps: list[Gap] = []
    digits: list[Digit] = []
    post_call: dict[str, Any] | None = None
    for event in map(_BODY.decode, bodies):
        match event.type:
            case "transcript.final":
                finals.append(_FINAL.decode(event.data))
            case "call.gap":
                gaps.append(_GAP.decode(event.data))
            case "call.dtmf":
                digits.append(_DIGIT.decode(event.data))
            case "call.transcript":
                post_call = msgspec.json.decode(event.data)
                del post_call["call"], post_call["sequence"]
            case _:
                pass  # nothing that was said
    finals.sort(key=lambda final: final.start_s)  # each track's are in order; what was heard later was told later
    passages = tuple(map(_passage, finals))
    return Transcript(call=call, passages=passages, gaps=tuple(gaps), dtmf=tuple(digits), post_call=post_call)


def to_json(transcript: Transcript) -> str:
    """The names of `gateway transcribe --format json`, and more."""
    return msgspec.json.format(msgspec.json.encode(transcript), indent=2).decode() + "\n"


def to_file(transcript: Transcript, form: str) -> str:
    """The transcript as a file of a form of `transcript.export`, other than JSON."""
    return export.WRITERS[form](_exported(transcript.passages))


def _exported(passages: Sequence[Passage]) -> list[export.Passage]:
    return [
        export.Passage(
            speaker=each.speaker,
            text=each.text,
            start_s=each.start_s,
            end_s=each.end_s,
            words=each.words or (),
        )
        for each in passages
    ]


def _passage(final: Final) -> Passage:
    return Passage(
        track=final.track,
        speaker=final.speaker,
        text=final.text,
        start_s=final.start_s,
        end_s=final.end_s,
        recovered=final.recovered,
        forced=final.forced,
        words=final.words or UNSET,
    )


CONTENT_TYPES: Mapping[str, str] = {
    "json": "application/json",
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}
"""By the name of the form."""
