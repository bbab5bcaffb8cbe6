"""When the recording of a call is silent: over the words that are masked in its events."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

from gateway.events import Track
from gateway.redaction.bodies import BodyMask

Muted: TypeAlias = dict[Track, list[tuple[float, float]]]
"""Call time from and to, per track, in order; spans do not overlap."""


def muted_spans(mask: BodyMask, bodies: Iterable[bytes], margin_s: float) -> Muted:
    """
    What of each track is not to be heard.

    Args:
        mask: what is masked; what was masked when it was stored is muted as well.
        bodies: all events of the call, in order.
        margin_s: added before and after: recognisers are a little off.
    """
    spans: Muted = {}
    for body in mask.in_order(bodies):
        event = msgspec.json.decode(body)
        if event["type"] == "transcript.final":
            data = event["data"]
            spans.setdefault(Track(data["track"]), []).extend(_spans_of(mask, data))
    return {track: _joined(found, margin_s) for track, found in spans.items() if found}


def _spans_of(mask: BodyMask, data: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """From the first to the last word of each row that is masked; all of it where the words do not tell."""
    token = mask.finder.token
    rows: list[list[dict[str, Any]]] = [[]]
    for word in data["words"]:
        if token.search(word["word"]):
            rows[-1].append(word)
        elif rows[-1]:
            rows.append([])
    found = [row for row in rows if row]
    if len(found) < len(re.findall(rf"(?:{token.pattern}[^\w\[]*)+", data["text"])):
        yield data["start_s"], data["end_s"]
        return
    for row in found:
        yield min(word["start_s"] for word in row), max(word["end_s"] for word in row)


def _joined(spans: list[tuple[float, float]], margin_s: float) -> list[tuple[float, float]]:
    """With the margin, those that touch made one."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted((max(0.0, start - margin_s), end + margin_s) for start, end in spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
