import json
from datetime import UTC, datetime, timedelta, timezone

from gateway.outbox import payload
from tests.support import call_events

AT = datetime(2026, 11, 20, 12, 0, 0, 123_999, UTC)


def test_a_final_has_the_shape_that_the_documentation_shows() -> None:
    body = json.loads(payload.encode(call_events.final(sequence=7), "evt_1", AT))

    assert body == {
        "type": "transcript.final",
        "id": "evt_1",
        "timestamp": "2026-11-20T12:00:00.123Z",
        "data": {
            "call": {
                "id": "call_1",
                "platform": "twilio",
                "platform_call_id": "CA1",
                "stream_id": "MZ1",
                "account_id": "AC1",
                "from": None,
                "to": "+15550100",
                "metadata": {"tenant": "acme"},
            },
            "sequence": 7,
            "track": "inbound",
            "speaker": "caller",
            "text": "I'd like a refund.",
            "start_s": 12.34,
            "end_s": 14.02,
            "language": "en",
            "confidence": None,
            "words": [{"word": "I'd", "start_s": 12.34, "end_s": 12.5, "confidence": 0.97}],
            "provider": "pulse-live",
            "recovered": False,
            "forced": False,
        },
    }


def test_seconds_inside_lists_are_rounded_to_milliseconds_too() -> None:
    event = call_events.final()
    word = type(event.words[0])(word="a", start_s=1.00049, end_s=1.0006, confidence=0.123456)
    final = type(event)(**{name: getattr(event, name) for name in event.__struct_fields__} | {"words": (word,)})

    (encoded,) = json.loads(payload.encode(final, "evt_1", AT))["data"]["words"]

    assert encoded == {"word": "a", "start_s": 1.0, "end_s": 1.001, "confidence": 0.123456}


def test_a_partial_has_null_for_what_it_does_not_know() -> None:
    data = json.loads(payload.encode(call_events.partial(), "evt_1", AT))["data"]

    assert data["sequence"] is None
    assert data["start_s"] is None


def test_times_of_other_zones_are_written_in_utc() -> None:
    local = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert payload.encode(call_events.final(), "evt_1", local) == payload.encode(call_events.final(), "evt_1", AT)


def test_text_beyond_ascii_is_sent_as_utf8() -> None:
    assert "Grüße, 你好".encode() in payload.encode(call_events.final(text="Grüße, 你好"), "evt_1", AT)


def test_ids_sort_by_time_whatever_the_entropy() -> None:
    earlier = payload.event_id(AT, b"\xff" * payload.ENTROPY_BYTES)
    later = payload.event_id(AT + timedelta(milliseconds=1), b"\x00" * payload.ENTROPY_BYTES)

    assert earlier < later


def test_an_id_has_no_full_stop() -> None:
    assert payload.event_id(AT, b"..........").replace("_", "").isalnum()
