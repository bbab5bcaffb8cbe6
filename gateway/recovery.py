"""
After a process died: its calls get their end.

Every call that was announced ends in exactly one `call.ended`. What the dead process had committed is in the store; the
conversation is put together from there.
"""

from typing import TypeVar

import msgspec
import structlog

from gateway.events import CallEnded, CallInfo, Track, TrackSummary, TranscriptFinal, Utterance
from gateway.outbox import Outbox, StoredEvent

log = structlog.get_logger()

_PAGE = 1000


class _FinalData(msgspec.Struct):
    """As much of a stored `transcript.final` as its line in the conversation needs."""

    track: Track
    speaker: str
    text: str
    start_s: float
    end_s: float


class _StartedData(msgspec.Struct):
    tracks: tuple[Track, ...]


D = TypeVar("D")


class _Body(msgspec.Struct):
    data: msgspec.Raw


async def end_orphans(outbox: Outbox) -> int:
    """Publish `call.ended` for each call that has none. Returns how many there were. To be called before new calls."""
    orphans = await outbox.unfinished_calls()
    for orphan in orphans:
        events = await _all_events(outbox, orphan.info.id)
        await outbox.publish(_ended(orphan.info, orphan.last_sequence + 1, events))
        log.warning("call_orphan_ended", call_id=orphan.info.id, events=len(events))
    return len(orphans)


async def _all_events(outbox: Outbox, call_id: str) -> list[StoredEvent]:
    events: list[StoredEvent] = []
    while page := await outbox.events_of(call_id, after=events[-1].sequence if events else 0, limit=_PAGE):
        events += page
    return events


def _ended(call: CallInfo, sequence: int, events: list[StoredEvent]) -> CallEnded:
    finals = [_data(event, _FinalData) for event in events if event.type == TranscriptFinal.type]
    tracks = [track for event in events if event.type == "call.started" for track in _data(event, _StartedData).tracks]
    return CallEnded(
        call=call,
        sequence=sequence,
        outcome="indeterminate",
        reason="gateway_restarted",
        complete=False,
        duration_s=None,
        tracks=tuple(
            TrackSummary(
                track=track,
                audio_s=None,
                lost_s=None,
                untranscribed_s=None,
                finals=sum(final.track == track for final in finals),
            )
            for track in tracks
        ),
        conversation=tuple(
            Utterance(
                track=final.track, speaker=final.speaker, text=final.text, start_s=final.start_s, end_s=final.end_s
            )
            for final in sorted(finals, key=lambda each: each.start_s)
        ),
    )


def _data(event: StoredEvent, kind: type[D]) -> D:
    return msgspec.json.decode(msgspec.json.decode(event.body, type=_Body).data, type=kind)
