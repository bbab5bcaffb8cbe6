"""
The OpenAPI document of `/api`: every route with what it takes and gives.

`test_openapi` holds it to the routes that are really served, and real answers to its schemas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from gateway.live.access import Access
from gateway.live.answers import Problem
from gateway.live.schema import EVENT, components_of, event_components, event_schema

_JSON, _PLAIN = "application/json", "text/plain"
_BEFORE_THE_ROUTE = frozenset({400, 413, 503})
"""What has been refused before the route was asked: a head or body that is not right, too many requests. It is text."""
_OF_FILES = (304, 412, 416)


@dataclass(frozen=True, slots=True)
class Parameter:
    """Of an address: `place` is `path`, `query` or `header`."""

    name: str
    description: str
    place: str = "query"
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """
    What one method of one path does.

    Args:
        answer: the type of its JSON; a schema; or None: the answer has no body.
        media: of the answer.
        request: the schema of the JSON that it takes.
        types: further ones that the schemas refer to.
        writes: a token that only allows to look is refused, and any in the address.
        is_file: parts of it may be asked for, and whether it has changed (RFC 9110, 13 and 14).
        errors: statuses beside 401, 403 where a cookie is taken, and 413 where there is a body.
        problem: the type of the JSON of errors, or its schema.
        shown: where a token may be, by the names of `securitySchemes`.
    """

    method: str
    path: str
    summary: str
    answer: type | Mapping[str, Any] | None
    media: str = _JSON
    parameters: Sequence[Parameter] = ()
    request: Mapping[str, Any] | None = None
    types: Sequence[type] = ()
    writes: bool = False
    is_file: bool = False
    errors: Sequence[int] = ()
    problem: type | Mapping[str, Any] = Problem
    shown: Sequence[str] = ("bearer", "query", "cookie")
    status: int = 200


class ApiDocument:
    """
    Serves the document and the schema of the events.

    Args:
        access: who may see it.
        operations: all of `/api`.
        version: of the gateway.
    """

    def __init__(self, access: Access, operations: Sequence[Operation], version: str) -> None:
        self._access = access
        self._document = msgspec.json.encode(document(operations, version))
        self._events = msgspec.json.encode(event_schema())

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/openapi.json", self.describe)
        app.router.add_get("/api/events.schema.json", self.describe_events)

    async def describe(self, request: web.Request) -> web.Response:
        """The OpenAPI document."""
        self._access.require(request)
        return web.Response(body=self._document, content_type=_JSON)

    async def describe_events(self, request: web.Request) -> web.Response:
        """The JSON Schema of the events."""
        self._access.require(request)
        return web.Response(body=self._events, content_type="application/schema+json")


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    types = [each for one in operations for each in (one.answer, one.problem, *one.types) if isinstance(each, type)]
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Media-stream gateway",
            "version": version,
            "description": "Live captions, history of calls, and what operators do. Times of day are ISO 8601 in UTC;"
            " names that end in `_s` are seconds since the first sample of the call's stream.",
        },
        "paths": paths,
        "components": {
            "schemas": {**event_components(), **components_of(list(dict.fromkeys(types)))},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "token",
                    "description": "for what cannot set headers; allows only to look",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "gateway_session_8080",
                    "description": "with the port of the gateway; `__Host-` before it where TLS is spoken",
                },
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    shown = [each for each in operation.shown if each != "query" or not operation.writes]
    said: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _id(operation),
        "security": [{each: []} for each in shown],
        "parameters": [
            {
                "name": each.name,
                "in": each.place,
                "required": each.place == "path",
                "description": each.description,
                "schema": each.schema,
            }
            for each in operation.parameters
        ],
        "responses": {**_answers(operation), **_errors(operation)},
    }
    if operation.request is not None:
        said["requestBody"] = {"required": True, "content": {_JSON: {"schema": operation.request}}}
    return said


def _answers(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.answer is not None:
        answer["content"] = {operation.media: {"schema": _schema(operation.answer)}}
    answers = {str(operation.status): answer}
    if operation.is_file:
        answers["206"] = {**answer, "description": _REASONS[206]}
        answers |= {str(status): {"description": _REASONS[status]} for status in _OF_FILES}
    return answers


def _errors(operation: Operation) -> dict[str, Any]:
    too_large = [413] if operation.request is not None else []
    statuses = [401, *([403] if "cookie" in operation.shown else []), *too_large, *operation.errors]
    problem = {_JSON: {"schema": _schema(operation.problem)}}
    text = {_PLAIN: {"schema": {"type": "string"}}}
    return {
        str(status): {
            "description": _REASONS[status],
            "content": problem | text if status in _BEFORE_THE_ROUTE else problem,
        }
        for status in statuses
    }


def _schema(answer: type | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(answer, type):
        schemas, _ = msgspec.json.schema_components([answer], ref_template="#/components/schemas/{name}")
        return dict(schemas[0])
    return answer


def _id(operation: Operation) -> str:
    words = operation.path.removeprefix("/api/").replace("{", "").replace("}", "").replace("-", "/").replace(".", "/")
    return operation.method.lower() + "".join(word.title() for word in words.split("/"))


_REASONS: Mapping[int, str] = {
    206: "The part that `Range` names.",
    304: "It is as the client has it.",
    400: "The request is not right; the answer says why.",
    401: "No token, or not one of ours.",
    403: "This token only allows to look; or a page of another site asks with the cookie.",
    404: "There is no such thing, or it is not kept any more.",
    412: "It is not as the client has it.",
    413: "The body is too large.",
    415: "The body has to be `application/json`.",
    416: "It has no such part.",
    426: "Only WebSockets are served here.",
    501: "This Python's SQLite cannot search.",
    503: "Not now; `Retry-After`, where it is there, says when.",
}
EVENT_REFERENCE: Mapping[str, Any] = {"$ref": f"#/components/schemas/{EVENT}"}
