"""The API's description: it is one, it describes every route and no other, and real answers are what it says."""

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
from gateway.live.openapi import document
from gateway.live.operations import OPERATIONS
from gateway.server import Gateway
from tests.support.console import TOKEN, gateway
from tests.support.kept_calls import keep_call

DOCUMENT = document(OPERATIONS, "1")


@asynccontextmanager
async def asking(served: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(served.url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def schema_of(path: str, method: str = "get", media: str = "application/json") -> dict[str, Any]:
    """What an answer of this route has to be."""
    answer = DOCUMENT["paths"][path][method]["responses"]["200"]["content"][media]["schema"]
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
    monkeypatch.setattr(server, "_application", lambda *args: apps.append(make(*args)) or apps[0])
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
