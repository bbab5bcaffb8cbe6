"""Figures of one run, made of what was sent and what came: pure arithmetic, but for reading what the run noted."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from tests.bench.outcome import Behind, Sent, TrackHeard
from tests.bench.pulses import FRAME_S

CHUNK_FRAMES = 5
"""100 ms: what the gateway's default `chunk_ms` and the sketch send at once."""
WHOLE_FRAMES = 0.25
"""So much of a frame may be missing at the end of a track: a resampler's filter is shorter."""


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that is at least as great as this share of all (nearest rank); None of no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def chunk_wait_s(frame: int, until_frame: float) -> float:
    """
    How long a frame had to wait for those that go with it in one chunk.

    Args:
        frame: its number in the track.
        until_frame: where the message that brought it ended, in frames of the track.

    Returns:
        20 ms for each frame that follows it in its chunk: 80, 60, 40, 20 or 0 ms. A message of several chunks, which a
        server sends that is late, is as if it were cut into chunks from its end: being late counts as that.
    """
    following = max(0, round(until_frame) - frame - 1)
    return following % CHUNK_FRAMES * FRAME_S


@dataclass(frozen=True)
class Latencies:
    """Of values in seconds: median, 99th percentile, greatest; in milliseconds, None if there are none."""

    p50: float | None
    p99: float | None
    max: float | None

    @classmethod
    def of(cls, values_s: Sequence[float]) -> "Latencies":
        """From seconds."""
        found = (percentile(values_s, share) for share in (0.5, 0.99, 1.0))
        return cls(*(None if value is None else value * 1000 for value in found))


@dataclass(frozen=True)
class Match:
    """
    What became of what was sent.

    Args:
        frames_lost: audio that did not come, in frames, rounded up, over all tracks.
        frames_extra: audio that came twice, or was never sent.
        pulses_lost: pulses that were not heard where they belong; a call's first frame is one.
        first_frames_lost: of those, first frames.
        added_s: by pulse of the window, from its sending to its arrival.
        beyond_s: the same without the wait for its chunk.
        first_s: by track, the same of its first frame, with the wait.
        faults: tracks that came over more than one session, or not at all.
    """

    frames_lost: int
    frames_extra: int
    pulses_lost: int
    first_frames_lost: int
    added_s: list[float]
    beyond_s: list[float]
    first_s: list[float]
    faults: list[str]


def match(sent: Sent, behind: Behind, begins: float, ends: float) -> Match:
    """Compare; the window's bounds are monotonic seconds."""
    lost = extra = pulses_lost = first_lost = 0
    added: list[float] = []
    beyond: list[float] = []
    first: list[float] = []
    faults: list[str] = []
    for name, track in sent.tracks.items():
        heard = behind.tracks.get(name) or TrackHeard(frames=0.0, sessions=0, messages=0, pulses=[])
        if heard.sessions != 1:
            faults.append(f"track {name} came over {heard.sessions} sessions")
        missing = track.frames - heard.frames
        lost += max(0, math.ceil(missing - WHOLE_FRAMES))
        extra += max(0, math.ceil(-missing - WHOLE_FRAMES))
        found = {(frame, code): (at, until) for frame, code, at, until in heard.pulses}
        for frame, code, at in track.pulses:
            if (arrival := found.get((frame, code))) is None:
                pulses_lost += 1
                first_lost += frame == 0
                continue
            late_s = arrival[0] - at
            if frame == 0:
                first.append(late_s)
            if begins <= at < ends:
                added.append(late_s)
                beyond.append(late_s - chunk_wait_s(frame, arrival[1]))
    return Match(lost, extra, pulses_lost, first_lost, added, beyond, first, faults)


def finals_s(behind: Behind, begins: float, ends: float) -> tuple[list[float], int]:
    """From each final of the window to its request, in seconds; and how many of all finals no request came for."""
    told = [came - said for said, came in behind.finals if came is not None and begins <= said < ends]
    return told, sum(came is None for _, came in behind.finals)


def shown_s(
    said: Mapping[str, float], shown: Mapping[str, float], begins: float, ends: float
) -> tuple[list[float], int]:
    """From each final of the window to its event at a viewer, in seconds; and how many from its begin on never came."""
    told = [shown[text] - at for text, at in said.items() if text in shown and begins <= at < ends]
    return told, sum(text not in shown for text, at in said.items() if at >= begins)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """
    One run; None: it does not apply, or nothing was measured. Times in ms, memory in kB, CPU in percent of one core.

    Attributes:
        cpu: CPU ms of the server and its children per second of one track.
        added_*: from a frame's sending to its arrival at the speech service; `beyond_*` without the chunk's wait.
        first_*: the same of first frames, with the wait and the time to reach the speech service.
        connect_*: from dialling to the answer to the upgrade.
        block: longest hold-up of the server's event loop that it knows of; see `loop_block_ms`.
        final_*: from a final's sending to the first byte of the webhook request with it.
        shown_*: and to its event at a viewer of the live feed.
    """

    frames_lost: float
    first_frames_lost: float
    cpu: float | None = None
    added_p50: float | None = None
    added_p99: float | None = None
    added_max: float | None = None
    beyond_p50: float | None = None
    beyond_p99: float | None = None
    beyond_max: float | None = None
    first_p50: float | None = None
    first_max: float | None = None
    connect_p99: float | None = None
    connect_max: float | None = None
    memory_per_call: float | None = None
    memory_before: float | None = None
    block: float | None = None
    final_p50: float | None = None
    final_p99: float | None = None
    final_max: float | None = None
    shown_p50: float | None = None
    shown_p99: float | None = None
    shown_max: float | None = None
    generator_cpu: float | None = None
    generator_late_p99: float | None = None
    foreign_cpu: float | None = None
    ready: float | None = None


def medians(runs: Sequence[Figures]) -> Figures:
    """Of each figure over the runs that have it; of what was lost, the sum."""
    if not runs:
        raise ValueError("there is no median of no runs")
    found: dict[str, float | None] = {}
    for each in fields(Figures):
        values = [value for run in runs if (value := getattr(run, each.name)) is not None]
        found[each.name] = statistics.median(values) if values else None
    found["frames_lost"] = sum(run.frames_lost for run in runs)
    found["first_frames_lost"] = sum(run.first_frames_lost for run in runs)
    return Figures(**found)  # type: ignore[arg-type]


_LONGEST_BLOCK = "gateway_event_loop_longest_block_seconds"
_LAG = "gateway_event_loop_lag_seconds_bucket"
_LAG_MAX = "gateway_event_loop_lag_max_seconds"


def loop_block_ms(before: str, after: str) -> float | None:
    """
    The longest hold-up of the gateway's event loop between two readings of its metrics, as far as it knows.

    That is its own gauge of the longest one, where it rose or where there was none before. Else it is the greatest
    lateness of a timer: exact if it was one of the last, and else the upper bound of its bucket. None: there are no
    such metrics, or nothing was noted.
    """
    earlier, later = _samples(before), _samples(after)
    if _LONGEST_BLOCK in later:
        return later[_LONGEST_BLOCK] * 1000
    grown = sorted(
        (_bound(name), value - earlier.get(name, 0.0)) for name, value in later.items() if name.startswith(_LAG)
    )
    total = grown[-1][1] if grown else 0.0
    if not total:
        return None
    upper = next(bound for bound, count in grown if count >= total)
    lower = max((bound for bound, count in grown if bound < upper), default=0.0)
    latest = later.get(_LAG_MAX, 0.0)
    return (latest if lower < latest <= upper or math.isinf(upper) else upper) * 1000


def _bound(name: str) -> float:
    return float(name.partition('le="')[2].partition('"')[0].replace("+Inf", "inf"))


def _samples(page: str) -> dict[str, float]:
    """Prometheus' text format: values by name with labels."""
    lines = (line.rpartition(" ") for line in page.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
