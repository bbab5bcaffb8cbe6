"""Every route of `/api`, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from gateway.live.answers import CallPage, CallStory, Hits, Transcript, Waveform
from gateway.live.openapi import EVENT_REFERENCE, Operation, Parameter
from gateway.live.settings_view import Setting

_CALL_ID = Parameter("call_id", "of the call, `call_…`", "path")
_TEXT: Mapping[str, Any] = {"type": "string"}
_SOME_TEXT: Mapping[str, Any] = {"type": ["string", "null"]}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_TIME: Mapping[str, Any] = {"type": ["string", "null"], "format": "date-time"}


def _object(**properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "array", "items": item}


_ENDPOINT = _object(
    endpoint=_TEXT,
    receiver=_TEXT,
    state=_TEXT,
    since=_TIME,
    reason=_SOME_TEXT,
    pending=_COUNT,
    oldest=_TIME,
    dead=_COUNT,
    dropped=_COUNT,
)
_DELIVERY = _object(
    event=_TEXT,
    type=_TEXT,
    call=_TEXT,
    sequence={"type": "integer", "minimum": 1},
    created_at=_TIME,
    endpoint=_TEXT,
    receiver=_TEXT,
    state={"enum": ["pending", "delivered", "dead", "dropped"]},
    attempts=_COUNT,
    last_outcome=_SOME_TEXT,
    last_status={"type": ["integer", "null"]},
    last_attempt_at=_TIME,
    due_at=_TIME,
    waits_for=_SOME_TEXT,
)
_CHANGED = _object(changed=_list(_object(event=_TEXT, endpoint=_TEXT, was=_TEXT, done={"type": "boolean"})))
_ORDER: Mapping[str, Any] = {
    "type": "object",
    "properties": {"event": _TEXT, "endpoint": _SOME_TEXT},
    "required": ["event"],
}
_ORDER_FOR_ALL: Mapping[str, Any] = {"type": "object", "properties": {"endpoint": _SOME_TEXT}}
_FEED = (
    Parameter("Last-Event-ID", "go on behind this event", "header"),
    Parameter("last_event_id", "the same, for what cannot set headers"),
    Parameter("types", "only these, with commas between"),
    Parameter("partials", "`0`: without partials", schema={"enum": ["0", "1"]}),
)
_FILES = {"json": "application/json", "txt": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}
_DOWNLOAD = Parameter("download", "`1`: to be saved, not shown", schema={"enum": ["0", "1"]})


def _limit(default: int, most: int) -> Parameter:
    return Parameter(
        "limit", "at most so many", schema={"type": "integer", "minimum": 1, "maximum": most, "default": default}
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/session",
        summary="What the token that is shown allows.",
        answer=_object(kind={"enum": ["full", "read"]}),
    ),
    Operation(
        method="GET",
        path="/api/calls",
        summary="Calls, the newest first.",
        answer=CallPage,
        parameters=(
            Parameter("state", "which", schema={"enum": ["live", "ended", "all"], "default": "all"}),
            _limit(50, 200),
            Parameter("before", "`next` of the page before"),
        ),
        errors=(400, 503),
    ),
    Operation(
        method="GET",
        path="/api/calls/{call_id}",
        summary="A call with all its durable events.",
        answer=CallStory,
        parameters=(_CALL_ID,),
        errors=(404, 503),
    ),
    *(
        Operation(
            method="GET",
            path=f"/api/calls/{{call_id}}/transcript.{suffix}",
            summary=f"What was said, as {suffix.upper()}.",
            answer=Transcript if suffix == "json" else _TEXT,
            media=media,
            parameters=(_CALL_ID, _DOWNLOAD),
            errors=(404, 503),
        )
        for suffix, media in _FILES.items()
    ),
    Operation(
        method="GET",
        path="/api/calls/{call_id}/recording.wav",
        summary="The recording; parts of it by `Range`.",
        answer={"type": "string", "format": "binary"},
        media="audio/wav",
        parameters=(_CALL_ID, _DOWNLOAD),
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/calls/{call_id}/waveform",
        summary="How loud the recording is, part by part.",
        answer=Waveform,
        parameters=(
            _CALL_ID,
            Parameter("points", "parts", schema={"type": "integer", "minimum": 100, "maximum": 4000, "default": 1000}),
        ),
        errors=(400, 404, 503),
    ),
    Operation(
        method="GET",
        path="/api/search",
        summary="Finals in which all the words occur, the newest first.",
        answer=Hits,
        parameters=(Parameter("q", 'words; `"…"` for words in a row; the last one may be unfinished'), _limit(50, 200)),
        errors=(400, 501, 503),
    ),
    Operation(
        method="GET",
        path="/api/events",
        summary="Server-sent events of all calls; each `data` is an `Event`.",
        answer=EVENT_REFERENCE,
        media="text/event-stream",
        parameters=_FEED,
        errors=(400, 503),
    ),
    Operation(
        method="GET",
        path="/api/calls/{call_id}/events",
        summary="Server-sent events of one call, from its first one on.",
        answer=EVENT_REFERENCE,
        media="text/event-stream",
        parameters=(_CALL_ID, *_FEED),
        errors=(400, 404, 503),
    ),
    Operation(
        method="GET",
        path="/api/feed",
        summary='The same as WebSocket messages `{"id", "type", "event"}`.',
        answer=None,
        parameters=(Parameter("call", "only this one"), *_FEED[1:]),
        errors=(400, 404, 426, 503),
        status=101,
    ),
    Operation(
        method="GET",
        path="/api/outbox",
        summary="Receivers of webhooks, and the deliveries that were not made.",
        answer=_object(endpoints=_list(_ENDPOINT), deliveries=_list(_DELIVERY)),
        parameters=(Parameter("state", "of `pending`, `dead`, `dropped`, with commas between"), _limit(100, 1000)),
        errors=(400, 503),
    ),
    *(
        Operation(
            method="POST",
            path=f"/api/outbox/{what}",
            summary=summary,
            answer=_CHANGED,
            request=_ORDER,
            writes=True,
            errors=(400, 404, 415, 503),
        )
        for what, summary in (("retry", "Try an event again."), ("drop", "Give an event up for good."))
    ),
    Operation(
        method="POST",
        path="/api/outbox/retry-dead",
        summary="Try everything again that was given up.",
        answer=_object(changed=_COUNT),
        request=_ORDER_FOR_ALL,
        writes=True,
        errors=(400, 415, 503),
    ),
    Operation(
        method="GET",
        path="/api/settings",
        summary="The settings in effect, secrets masked.",
        answer={"type": "object"},
    ),
    Operation(
        method="GET",
        path="/api/settings/rows",
        summary="The same, one by one, with what is known about each.",
        answer=_object(settings=_list({"$ref": "#/components/schemas/Setting"})),
        types=(Setting,),
    ),
    Operation(
        method="POST",
        path="/api/phone",
        summary="Where a browser may place a call.",
        answer=_object(url=_TEXT),
        writes=True,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/phone/stream",
        summary="A call: a WebSocket that speaks Twilio's dialect.",
        answer=None,
        writes=True,
        errors=(400, 503),
        status=101,
    ),
    Operation(
        method="GET",
        path="/api/capabilities",
        summary="What the speech APIs that are served here can do.",
        answer=_object(routes=_list({"type": "object"})),
    ),
    Operation(method="GET", path="/api/openapi.json", summary="This document.", answer={"type": "object"}),
    Operation(
        method="GET",
        path="/api/events.schema.json",
        summary="The JSON Schema of the events.",
        answer={"type": "object"},
        media="application/schema+json",
    ),
)
