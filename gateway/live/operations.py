"""Every route of `/api`, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from gateway.live.answers import CallPage, CallStory, Hits, Transcript, Waveform
from gateway.live.feed_item import ALIVE, BEGUN, RESET
from gateway.live.feed_routes import Hello
from gateway.live.openapi import EVENT_REFERENCE, Operation, Parameter
from gateway.live.search_query import MOST_CHARS
from gateway.live.settings_view import Setting

_CALL_ID = Parameter("call_id", "of the call, `call_…`", "path")
_TEXT: Mapping[str, Any] = {"type": "string"}
_SOME_TEXT: Mapping[str, Any] = {"type": ["string", "null"]}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_NUMBER: Mapping[str, Any] = {"type": "number"}
_TIME: Mapping[str, Any] = {"type": "string", "format": "date-time"}
_SOME_TIME: Mapping[str, Any] = {"type": ["string", "null"], "format": "date-time"}
_STATE: Mapping[str, Any] = {"enum": ["pending", "delivered", "dead", "dropped"]}


def _object(**properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "array", "items": item}


def _by_name(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "additionalProperties": value}


def _order(*required: str, **properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_ENDPOINT = _object(
    endpoint=_TEXT,
    receiver=_TEXT,
    state=_TEXT,
    enabled={"type": "boolean"},
    since=_SOME_TIME,
    reason=_SOME_TEXT,
    pending=_COUNT,
    oldest=_SOME_TIME,
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
    state=_STATE,
    attempts=_COUNT,
    last_outcome=_SOME_TEXT,
    last_status={"type": ["integer", "null"]},
    last_attempt_at=_SOME_TIME,
    due_at=_SOME_TIME,
    waits_for=_SOME_TEXT,
)
_CHANGED = _object(changed=_list(_object(event=_TEXT, endpoint=_TEXT, was=_STATE, done={"type": "boolean"})))
_ORDER = _order("event", event=_TEXT, endpoint=_SOME_TEXT)
_ORDER_FOR_ALL = _order(endpoint=_SOME_TEXT)
_ROUTE = _object(
    method=_TEXT, path=_TEXT, transport=_TEXT, engine=_TEXT, honoured=_list(_TEXT), accepted_not_honoured=_list(_TEXT)
)
_RESET = _object(type={"const": RESET}, data=_object(reason={"enum": ["unknown", "pruned"]}))
_BEGUN = _object(type={"const": BEGUN}, data={"type": "object"})
_ALIVE = _object(type={"const": ALIVE}, data={"type": "object"})
_LEVELS = _object(calls=_by_name(_object(at_s=_NUMBER, tracks=_by_name(_NUMBER), stt=_by_name(_TEXT))))
"""Of `call.levels`: of each call in progress its time, and of each track dBFS and the state of its recogniser."""
_SHOWN_OF_CALL: Mapping[str, Any] = {"anyOf": [EVENT_REFERENCE, _RESET]}
_SHOWN: Mapping[str, Any] = {"anyOf": [EVENT_REFERENCE, _RESET, _LEVELS]}
_MESSAGE = _object(
    id={"type": ["integer", "null"]}, type=_TEXT, event={"anyOf": [EVENT_REFERENCE, _RESET, _LEVELS, _BEGUN, _ALIVE]}
)
_FEED = (
    Parameter("Last-Event-ID", "go on behind this event; what is not to be had is told by `feed.reset`", "header"),
    Parameter("last_event_id", "the same, for what cannot set headers"),
    Parameter("types", "only these, with commas between"),
    Parameter("partials", "`0`: without partials", schema={"enum": ["0", "1"]}),
)
_FILES = {"json": "application/json", "txt": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}
_RANGE = Parameter("Range", "`bytes=…`: only this part", "header")
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
        parameters=(_CALL_ID, _DOWNLOAD, _RANGE),
        is_file=True,
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
        parameters=(
            Parameter(
                "q",
                'words; `"…"` for words in a row; the last one may be unfinished',
                schema={"type": "string", "maxLength": MOST_CHARS},
            ),
            _limit(50, 200),
        ),
        errors=(400, 501, 503),
    ),
    Operation(
        method="GET",
        path="/api/events",
        summary="Server-sent events of all calls from now on; the schema is that of each `data`.",
        answer=_SHOWN,
        media="text/event-stream",
        parameters=_FEED,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/calls/{call_id}/events",
        summary="Server-sent events of one call, from its first one on.",
        answer=_SHOWN_OF_CALL,
        media="text/event-stream",
        parameters=(_CALL_ID, *_FEED),
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/feed",
        summary="The same as WebSocket messages, of this schema; `feed.alive` where nothing else came for 15 s. One"
        " from the client, a `Hello`, may say what the address does not.",
        answer=_MESSAGE,
        types=(Hello,),
        parameters=(Parameter("call", "only this one"), *_FEED),
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
        errors=(400, 404, 415, 503),
    ),
    Operation(
        method="POST",
        path="/api/outbox/enable",
        summary="Send to a receiver again that answered 410.",
        answer=_object(changed={"type": "boolean"}),
        request=_order("endpoint", endpoint=_TEXT),
        writes=True,
        errors=(400, 404, 415, 503),
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
        errors=(415, 503),
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
        summary="What the speech APIs that are served here can do; for whoever may use them.",
        answer=_object(routes=_list(_ROUTE)),
        problem=_object(error=_TEXT, error_code=_TEXT),
        shown=("bearer", "query"),
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
