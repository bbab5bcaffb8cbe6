"""The API's description: it is one, it describes every route and no other, and real answers are what it says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway import server
from gateway.live.openapi import Operation, document
from gateway.live.operations import OPERATIONS
from gateway.server import Gateway
from tests.support.console import TOKEN, gateway
from tests.support.console_door import READ_TOKEN
from tests.support.feed_house import DEADLINE_S, EventSource
from tests.support.kept_calls import FRAMES_PER_S, keep_call
from tests.support.live_stage import listen
from tests.support.pulse_server import PulseServer, PulseSession
from tests.support.whole_gateway import heard_by, phone

DOCUMENT = document(OPERATIONS, "1")


@asynccontextmanager
async def asking(served: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(served.url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def schema_of(path: str, method: str = "get", media: str = "application/json", status: int = 200) -> dict[str, Any]:
    """What an answer of this route has to be."""
    answer = DOCUMENT["paths"][path][method]["responses"][str(status)]["content"][media]["schema"]
    return {**answer, "components": DOCUMENT["components"]}


def check(answer: object, schema: dict[str, Any]) -> None:
    faults = [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(schema).iter_errors(answer)]
    assert not faults, faults


def test_the_document_is_an_openapi_document() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [each["operationId"] for path in DOCUMENT["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names)


async def test_it_describes_the_routes_that_are_served_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps: list[web.Application] = []
    make = server._application

    def make_and_keep(*args: Any) -> web.Application:
        apps.append(make(*args))
        return apps[-1]

    monkeypatch.setattr(server, "_application", make_and_keep)
    async with gateway(tmp_path):
        routes = {
            (route.method, route.resource.canonical)
            for route in apps[0].router.routes()
            if route.resource is not None and route.resource.canonical.startswith("/api/") and route.method != "HEAD"
        }
    described = {(operation.method, operation.path) for operation in OPERATIONS}
    several = {("GET", "/api/calls/{call_id}/transcript.{form}")}
    found = {
        (method, f"/api/calls/{{call_id}}/transcript.{form}")
        for method, _ in several & routes
        for form in ("json", "txt", "srt", "vtt")
    }
    speech_apis = {each for each in routes if each[1].startswith("/api/v1/")}
    assert (routes - several - speech_apis) | found == described


@pytest.mark.parametrize(
    "path",
    [
        "/api/session",
        "/api/calls",
        "/api/calls/{call_id}",
        "/api/calls/{call_id}/transcript.json",
        "/api/calls/{call_id}/waveform",
        "/api/search",
        "/api/outbox",
        "/api/settings",
        "/api/settings/rows",
        "/api/capabilities",
        "/api/openapi.json",
    ],
)
async def test_a_real_answer_is_what_the_document_says(tmp_path: Path, path: str) -> None:
    async with gateway(tmp_path, recording={"enabled": True}) as served, asking(served) as client:
        call_id = await keep_call(served)
        async with client.get(
            path.format(call_id=call_id), params={"q": "second"} if "search" in path else {}
        ) as answer:
            assert answer.status == 200
            check(await answer.json(), schema_of(path))


REFUSED: list[tuple[str, str, str, dict[str, Any], int]] = [
    ("get", "/api/calls", "?state=some", {}, 400),
    ("get", "/api/calls", "?limit=0", {}, 400),
    ("get", "/api/calls", "?before=x", {}, 400),
    ("get", "/api/calls/{call_id}", "", {}, 404),
    ("get", "/api/calls/{call_id}/transcript.json", "", {}, 404),
    ("get", "/api/calls/{call_id}/transcript.txt", "", {}, 404),
    ("get", "/api/calls/{call_id}/recording.wav", "", {}, 404),
    ("get", "/api/calls/{call_id}/waveform", "", {}, 404),
    ("get", "/api/calls/{call_id}/waveform", "?points=1", {}, 400),
    ("get", "/api/calls/{call_id}/events", "", {}, 404),
    ("get", "/api/search", f"?q={'a' * 501}", {}, 400),
    ("get", "/api/feed", "", {}, 426),
    ("get", "/api/feed", "?call=none", {}, 404),
    ("get", "/api/outbox", "?state=some", {}, 400),
    ("get", "/api/capabilities", "", {"headers": {"Authorization": "Bearer wrong"}}, 401),
    ("post", "/api/outbox/retry", "", {"json": {}}, 400),
    ("post", "/api/outbox/retry", "", {"json": {"event": "evt_0"}}, 404),
    ("post", "/api/outbox/drop", "", {"data": {"event": "evt_0"}}, 415),
    ("post", "/api/outbox/drop", "", {"json": {"event": "x" * 2**17}}, 413),
    ("post", "/api/outbox/retry-dead", "", {"json": []}, 400),
    ("get", "/api/phone/stream", "", {}, 400),
]


async def test_what_is_refused_is_refused_as_the_document_says(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, asking(served) as client:
        for method, path, query, options, status in REFUSED:
            async with client.request(method, path.format(call_id="none") + query, **options) as answer:
                assert (path + query, answer.status) == (path + query, status)
                said = await (answer.json() if answer.content_type == "application/json" else answer.text())
                check(said, schema_of(path, method, answer.content_type, status))


async def test_parts_of_a_recording_are_what_the_document_says(tmp_path: Path) -> None:
    path = "/api/calls/{call_id}/recording.wav"
    answers = DOCUMENT["paths"][path]["get"]["responses"]
    async with gateway(tmp_path, recording={"enabled": True}) as served, asking(served) as client:
        address = path.format(call_id=await keep_call(served))
        for part, status in (("bytes=0-99", 206), ("bytes=99999999-", 416)):
            async with client.get(address, headers={"Range": part}) as answer:
                assert answer.status == status
                assert set(answers[str(status)].get("content", ())) <= {answer.content_type}


async def test_every_route_asks_for_a_token_and_one_that_only_looks_changes_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, api_read_token=READ_TOKEN) as served, aiohttp.ClientSession(served.url) as client:
        call_id = await keep_call(served)

        async def status(operation: Operation, token: str | None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            body: dict[str, str] | None = {} if operation.request is not None else None
            address = operation.path.format(call_id=call_id)
            async with client.request(operation.method, address, headers=headers, json=body) as answer:
                return answer.status

        for operation in OPERATIONS:
            assert (operation.path, await status(operation, None)) == (operation.path, 401)
            expected = 403 if operation.writes else 401 if "cookie" not in operation.shown else None
            found = await status(operation, READ_TOKEN)
            assert (operation.path, found if found in (401, 403) else None) == (operation.path, expected)


async def test_whatever_the_feed_shows_is_what_the_document_says(tmp_path: Path) -> None:
    """Of a call that goes on: partials, levels, finals and what the feed says of itself."""
    one_of_each = {"feed.reset", "call.started", "transcript.partial", "call.levels", "call.ended"}
    async with (
        PulseServer(hear) as speech,
        gateway(tmp_path, stt=heard_by(speech)) as served,
        asking(served) as client,
        client.get("/api/events?last_event_id=99") as answer,
        client.ws_connect("/api/feed?last_event_id=99") as socket,
        client.ws_connect("/api/feed?types=none") as other,
    ):
        source, seen = EventSource(answer), set[str]()
        async with asyncio.timeout(DEADLINE_S), phone(served.stream_url) as caller:
            await caller.start()
            await caller.media(FRAMES_PER_S)
            while not seen >= one_of_each - {"call.ended"}:
                seen.add(await _checked(source))
            await caller.stop()
            while "call.ended" not in seen:
                seen.add(await _checked(source))
            while one_of_each:
                message = await socket.receive_json()
                check(message, schema_of("/api/feed", status=101))
                one_of_each.discard(message["type"])
            check(begun := await other.receive_json(), schema_of("/api/feed", status=101))
            assert begun["type"] == "feed.begun"


async def hear(session: PulseSession) -> None:
    await session.receive_audio(0.5)
    await session.say("I'd like")
    await listen(session)


async def _checked(source: EventSource) -> str:
    """The type of the next event, which is what the document says."""
    told = await source.next()
    assert told is not None
    check(told.data, schema_of("/api/events", media="text/event-stream"))
    return told.type


async def test_every_event_of_a_call_is_what_the_schema_of_events_says(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, asking(served) as client:
        call_id = await keep_call(served)
        async with client.get("/api/events.schema.json") as answer:
            schema = await answer.json(content_type="application/schema+json")
        async with client.get(f"/api/calls/{call_id}") as answer:
            events = (await answer.json())["events"]
    Draft202012Validator.check_schema(schema)
    assert [event["type"] for event in events][:: len(events) - 1] == ["call.started", "call.ended"]
    for event in events:
        check(event, schema)


async def test_nobody_reads_it_without_a_token(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, aiohttp.ClientSession(served.url) as client:
        for path in ("/api/openapi.json", "/api/events.schema.json"):
            async with client.get(path) as answer:
                assert answer.status == 401
