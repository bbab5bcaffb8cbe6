"""The passages of a recording's transcript: who said what, with the words in it."""

from collections.abc import Mapping, Sequence

from gateway.events import RecordingTranscript, SpokenUtterance, SpokenWord, Track
from gateway.transcript.export import Passage

PAUSE_S = 1.0
"""A pause between words that begins a new passage, where the recogniser gave no utterances."""
SPEAKERS: Mapping[Track, str] = {Track.INBOUND: "caller", Track.OUTBOUND: "agent"}


def passages_of(transcript: RecordingTranscript) -> list[Passage]:
    """
    Utterances with their words; without utterances, words between pauses; without words, the text as a whole.

    A speaker is the track's where channels were heard apart, else the recogniser's number, else unknown.
    """
    utterances = transcript.utterances or _between_pauses(transcript.words)
    if not utterances and transcript.text:
        return [Passage(speaker=None, text=transcript.text, start_s=0.0, end_s=transcript.duration_s or 0.0)]
    left = list(transcript.words)
    passages = []
    for utterance in utterances:
        inside = [word for word in left if _is_in(word, utterance)]
        left = [word for word in left if not _is_in(word, utterance)]
        passages.append(
            Passage(
                speaker=_name(utterance),
                text=utterance.text,
                start_s=utterance.start_s,
                end_s=utterance.end_s,
                words=tuple(inside),
            )
        )
    return passages


def _is_in(word: SpokenWord, utterance: SpokenUtterance) -> bool:
    middle_s = (word.start_s + word.end_s) / 2
    return word.track == utterance.track and utterance.start_s <= middle_s <= utterance.end_s


def _name(utterance: SpokenUtterance) -> str | None:
    if utterance.track is not None:
        return SPEAKERS[utterance.track]
    return None if utterance.speaker is None else f"speaker {utterance.speaker}"


def _between_pauses(words: Sequence[SpokenWord]) -> list[SpokenUtterance]:
    groups: list[list[SpokenWord]] = []
    for word in words:
        last = groups[-1][-1] if groups else None
        if (
            last is None
            or word.start_s - last.end_s >= PAUSE_S
            or (word.speaker, word.track)
            != (
                last.speaker,
                last.track,
            )
        ):
            groups.append([])
        groups[-1].append(word)
    return [
        SpokenUtterance(
            text=" ".join(word.word for word in group),
            start_s=group[0].start_s,
            end_s=group[-1].end_s,
            speaker=group[0].speaker,
            track=group[0].track,
        )
        for group in groups
    ]
