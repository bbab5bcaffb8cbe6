"""A call read back from the store."""

from datetime import UTC, datetime

import pytest

from gateway.events import CallEvent, CallGap, SttDegraded, SttRecovered, Track
from gateway.outbox import StoredEvent, payload
from gateway.story import Story
from tests.support import call_events

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def stored(*events: CallEvent) -> list[StoredEvent]:
    return [
        StoredEvent(
            position=number,
            id=f"evt_{number}",
            type=event.type,
            call_id=event.call.id,
            sequence=number,
            created_at=0.0,
            body=payload.encode(event, f"evt_{number}", NOW),
        )
        for number, event in enumerate(events, 1)
    ]


def gap(start_s: float, end_s: float, reason: str) -> CallGap:
    return CallGap(
        call=call_events.info(), sequence=1, track=Track.INBOUND, start_s=start_s, end_s=end_s, reason=reason
    )


def test_a_call_that_nobody_heard_of_has_no_story() -> None:
    story = Story([])
    assert (story.sequence, story.tracks, story.has_ended) == (0, (), False)


def test_it_goes_on_after_its_last_event() -> None:
    assert Story(stored(call_events.started(), call_events.dtmf(), call_events.final())).sequence == 3


def test_finals_reach_as_far_as_the_last_one_of_their_track() -> None:
    story = Story(stored(call_events.started(), call_events.final(), call_events.final()))
    assert story.committed_s == {Track.INBOUND: pytest.approx(14.02)}
    assert story.transcript.segments(Track.INBOUND) == 2
    assert story.tracks == (Track.INBOUND,)


def test_what_was_lost_and_what_was_given_up_are_told_apart() -> None:
    story = Story(stored(gap(1.0, 2.0, "lost"), gap(5.0, 8.0, "journal_full")))
    assert (story.lost_s(Track.INBOUND), story.untranscribed_s(Track.INBOUND)) == (1.0, 3.0)
    assert story.lost_s(Track.OUTBOUND) == 0


def test_a_hole_is_noted_once() -> None:
    story = Story(stored(gap(1.0, 2.0, "lost")))
    assert not story.add_gap(Track.INBOUND, 1.2, 1.8, "not_held")
    assert story.add_gap(Track.INBOUND, 1.5, 2.5, "not_held")


def test_a_recogniser_that_came_back_is_not_missing() -> None:
    lost = SttDegraded(
        call=call_events.info(), sequence=1, track=Track.INBOUND, provider="live", reason="cut", at_s=1.0
    )
    back = SttRecovered(call=call_events.info(), sequence=1, track=Track.INBOUND, provider="live", at_s=2.0)
    assert Story(stored(lost)).degraded == {Track.INBOUND}
    assert Story(stored(lost, back)).degraded == set()


def test_the_end_is_seen() -> None:
    assert Story(stored(call_events.started(), call_events.ended())).has_ended
