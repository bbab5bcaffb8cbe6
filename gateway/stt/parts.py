"""
Long recordings in parts, for services that take ten minutes at a time; and their transcripts in one.

Parts are cut where it is quietest, so that no word is cut in two. Pure, but for the memory of one part.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import structs

from gateway.events import RecordingTranscript, SpokenUtterance, SpokenWord, Track

Said = TypeVar("Said", SpokenWord, SpokenUtterance)

FRAME_S = 0.02
PAUSE_FRAMES = 15
"""A cut goes into the middle of the quietest stretch of so many frames: 300 ms, longer than the closure of a `t`."""


def cut(blocks: Iterable[bytes], rate_hz: int, *, longest_s: float, search_s: float) -> Iterator[bytes]:
    """
    Cut audio into parts.

    Args:
        blocks: int16 little-endian mono, whole samples.
        rate_hz: of it.
        longest_s: no part is longer.
        search_s: at the end of such a part, the stretch in which to look for a pause.
    """
    longest, search = int(longest_s * rate_hz) * 2, int(search_s * rate_hz) * 2
    held = bytearray()
    for block in blocks:
        held += block
        while len(held) > longest:
            at = longest - search + _quietest(held[longest - search : longest], rate_hz)
            yield bytes(held[:at])
            del held[:at]
    if held:
        yield bytes(held)


def _quietest(audio: bytearray, rate_hz: int) -> int:
    """Where to cut, in bytes."""
    frame = int(FRAME_S * rate_hz)
    samples = np.frombuffer(audio, "<i2")
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame).astype(np.float64)
    energy: npt.NDArray[np.float64] = (frames**2).sum(axis=1)
    if len(energy) < PAUSE_FRAMES:
        return len(audio)
    around = np.convolve(energy, np.ones(PAUSE_FRAMES), "valid")
    return int(np.argmin(around) + PAUSE_FRAMES // 2) * frame * 2


def join_parts(parts: Sequence[tuple[float, RecordingTranscript]], track: Track | None) -> RecordingTranscript:
    """
    The transcript of a whole recording from those of its parts.

    Speakers are numbered on from part to part: who has number 0 in one need not be who has it in the next.

    Args:
        parts: where each begins, in seconds, and what was said in it.
        track: that they are of; None: of no one track.
    """
    words: list[SpokenWord] = []
    utterances: list[SpokenUtterance] = []
    speakers = 0
    for start_s, part in parts:
        words += [_moved(word, start_s, speakers, track) for word in part.words]
        utterances += [_moved(each, start_s, speakers, track) for each in part.utterances]
        numbers = [word.speaker for word in part.words] + [each.speaker for each in part.utterances]
        speakers += max((number for number in numbers if number is not None), default=-1) + 1
    first = parts[0][1]
    last_s, last = parts[-1]
    return RecordingTranscript(
        text=" ".join(part.text for _, part in parts if part.text),
        words=tuple(words),
        utterances=tuple(utterances),
        language=next((part.language for _, part in parts if part.language), None),
        duration_s=None if last.duration_s is None else last_s + last.duration_s,
        gender=first.gender if len(parts) == 1 else None,
        emotions=first.emotions if len(parts) == 1 else None,
    )


def join_tracks(tracks: Sequence[RecordingTranscript]) -> RecordingTranscript:
    """The transcript of a conversation from those of its tracks, in the order in which things were said."""
    if len(tracks) == 1:
        return tracks[0]
    utterances = sorted((each for track in tracks for each in track.utterances), key=lambda each: each.start_s)
    texts = [each.text for each in utterances] or [track.text for track in tracks if track.text]
    return RecordingTranscript(
        text=" ".join(texts),
        words=tuple(sorted((word for track in tracks for word in track.words), key=lambda word: word.start_s)),
        utterances=tuple(utterances),
        language=next((track.language for track in tracks if track.language), None),
        duration_s=max((track.duration_s for track in tracks if track.duration_s is not None), default=None),
    )


def _moved(said: Said, by_s: float, speakers: int, track: Track | None) -> Said:
    speaker = None if said.speaker is None else said.speaker + speakers
    return structs.replace(said, start_s=said.start_s + by_s, end_s=said.end_s + by_s, speaker=speaker, track=track)
