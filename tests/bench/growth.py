"""
How much later each call comes out while others watch: its 99th percentile with viewers, beside its own without.

One figure over all calls would hide the one call that suffers. In a minute a call has 600 chunks, of which six are
above its 99th percentile, so that figure goes up and down by itself. How far, a control shows: the same calls compared
with themselves between two windows that both have no viewers. Pure arithmetic.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.figures import CHUNK_FRAMES, WHOLE_FRAMES, percentile
from tests.bench.outcome import Behind, Sent
from tests.bench.pulses import FRAME_S

LIMIT = 1.2
"""What no call's figure shall grow by."""
BEYOND, ADDED = "beyond the chunk", "added"
_WAITS_S = {BEYOND: (0.0,), ADDED: tuple(FRAME_S * after for after in range(CHUNK_FRAMES))}
"""What a chunk's frames had waited for its last one, as far as it counts."""


@dataclass(frozen=True)
class Window:
    """A span of time; monotonic seconds, `ends` exclusive."""

    begins: float
    ends: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """
    The calls' 99th percentiles in one window divided by those in the window before.

    Args:
        median, greatest: of the calls.
        above: calls above `LIMIT`.
    """

    median: float
    greatest: float
    above: int


@dataclass(frozen=True, kw_only=True)
class Growth:
    """
    What viewers did to calls.

    Args:
        what: `BEYOND`, from a chunk's last frame to its arrival; or `ADDED`, from each frame to its arrival.
        calls: that were there in all windows.
        p99_ms: of a call without viewers; median of the calls.
        watched: with viewers against without.
        control: without them against without.
    """

    what: str
    calls: int
    p99_ms: float
    watched: Change
    control: Change


def chunks_late(sent_at: Sequence[float], came: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """
    The chunks of a track that arrived.

    Args:
        sent_at: when the last frame of each was sent.
        came: by message, when it came, and where it ended in frames of the track.

    Yields:
        by chunk, when its last frame was sent, and how long after that all of it had come.
    """
    chunk = 0
    for at, until in came:
        while chunk < len(sent_at) and until >= (chunk + 1) * CHUNK_FRAMES - WHOLE_FRAMES:
            yield sent_at[chunk], at - sent_at[chunk]
            chunk += 1


def growth(sent: Sent, behind: Behind, control: Window, alone: Window, watched: Window) -> tuple[Growth, ...]:
    """
    What viewers did to calls; nothing if no chunks were noted.

    Args:
        control, alone: windows without viewers, one after the other.
        watched: the window with them.
    """
    late = _by_call(sent, behind)
    return tuple(
        each for what in (BEYOND, ADDED) if (each := _growth(what, late, (control, alone, watched))) is not None
    )


def _growth(
    what: str, late: Mapping[str, Sequence[tuple[float, float]]], windows: tuple[Window, Window, Window]
) -> Growth | None:
    p99s = [tuple(_p99_s(chunks, window, _WAITS_S[what]) for window in windows) for chunks in late.values()]
    whole = [(before, alone, with_) for before, alone, with_ in p99s if before and alone and with_]
    if not whole:
        return None
    return Growth(
        what=what,
        calls=len(whole),
        p99_ms=statistics.median(alone for _, alone, _ in whole) * 1000,
        watched=_change([with_ / alone for _, alone, with_ in whole]),
        control=_change([alone / before for before, alone, _ in whole]),
    )


def _change(ratios: Sequence[float]) -> Change:
    return Change(median=statistics.median(ratios), greatest=max(ratios), above=sum(ratio > LIMIT for ratio in ratios))


def _p99_s(chunks: Sequence[tuple[float, float]], window: Window, waits_s: Sequence[float]) -> float | None:
    """Of a call's frames in a window; None: there are none."""
    return percentile(
        (late_s + wait_s for at, late_s in chunks if window.begins <= at < window.ends for wait_s in waits_s), 0.99
    )


def _by_call(sent: Sent, behind: Behind) -> dict[str, list[tuple[float, float]]]:
    """The chunks of all tracks of each call."""
    late: dict[str, list[tuple[float, float]]] = {}
    for name, track in sent.tracks.items():
        if name in behind.tracks:
            late.setdefault(name.rpartition("-")[0], []).extend(chunks_late(track.chunks, behind.tracks[name].chunks))
    return late
