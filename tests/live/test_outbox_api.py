"""`/api/outbox`: what it shows, what it does, and to whom."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.live import outbox_view
from gateway.live.access import Access
from gateway.live.outbox_view import OutboxView
from gateway.outbox import schema
from gateway.outbox.database import DeliveryState, Verdict
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.store import Store
from tests.support.stored_events import NOW, event
from tests.support.webhook_receiver import settings_for

TOKEN, READ_TOKEN = "full-token", "read-token"
ENDPOINT = Endpoint.of(settings_for("https://example.com/hook?token=hidden"))
KEY = ENDPOINT.key
DEAD, PENDING, DELIVERED = DeliveryState.DEAD, DeliveryState.PENDING, DeliveryState.DELIVERED

Ask = Callable[..., Any]


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Ask]:
    """The routes; what it gives asks them: (method, path, token, body) → (status, JSON)."""
    app = web.Application()
    OutboxView(folder, [ENDPOINT], Access(TOKEN, READ_TOKEN), clock=lambda: NOW + 60).add_to(app)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(base) as session:

            async def ask(
                method: str,
                path: str,
                body: object = None,
                *,
                token: str | None = TOKEN,
                kind: str = "application/json",
            ) -> tuple[int, Any]:
                headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                async with session.request(
                    method, path, data=data if body is not None else None, headers=headers
                ) as got:
                    return got.status, await got.json()

            yield ask
    finally:
        await runner.cleanup()


async def stored(folder: Path, *states: DeliveryState, gone: bool = False) -> list[str]:
    """A call's events that have ended like this; their ids. `gone`: the receiver answered 410 to the last one."""
    async with Store(folder) as store:
        await store.register({KEY: ENDPOINT.origin})
        events = [event("call_1", sequence, endpoints=(KEY,)) for sequence, _ in enumerate(states, start=1)]
        for each, state in zip(events, states, strict=True):
            await store.append(each)
            if state is PENDING:
                continue
            due = await store.lease_due(KEY, now=NOW, lease_s=60, limit=1, in_flight=())
            verdict = Verdict(
                state=state,
                due_at=None,
                attempts=3,
                outcome="rejected",
                status=422,
                misconfigured=0,
                at=NOW,
                disables=None,
            )
            await store.record(due.deliveries[0], verdict)
        if gone:
            due = await store.lease_due(KEY, now=NOW, lease_s=60, limit=1, in_flight=())
            verdict = Verdict(
                state=PENDING,
                due_at=NOW,
                attempts=0,
                outcome="gone",
                status=410,
                misconfigured=0,
                at=NOW,
                disables="gone",
            )
            await store.record(due.deliveries[0], verdict)
    return [each.id for each in events]


async def test_it_shows_receivers_with_counts_and_what_was_not_delivered(tmp_path: Path) -> None:
    ids = await stored(tmp_path, DEAD, DELIVERED, PENDING)
    async with served(tmp_path) as ask:
        status, shown = await ask("GET", "/api/outbox")
    assert status == 200
    (endpoint,) = shown["endpoints"]
    assert (endpoint["receiver"], endpoint["state"]) == ("https://example.com", "enabled")
    assert (endpoint["pending"], endpoint["dead"], endpoint["dropped"]) == (1, 1, 0)
    assert [(each["event"], each["state"]) for each in shown["deliveries"]] == [(ids[0], "dead"), (ids[2], "pending")]
    assert (shown["deliveries"][0]["attempts"], shown["deliveries"][0]["last_status"]) == (3, 422)


async def test_only_the_origin_of_a_receiver_is_told(tmp_path: Path) -> None:
    await stored(tmp_path, DEAD)
    async with served(tmp_path) as ask:
        _, shown = await ask("GET", "/api/outbox")
    assert "hidden" not in json.dumps(shown)


async def test_states_and_a_limit_choose(tmp_path: Path) -> None:
    ids = await stored(tmp_path, DEAD, DEAD, PENDING)
    async with served(tmp_path) as ask:
        _, dead = await ask("GET", "/api/outbox?state=dead&limit=1")
        _, waiting = await ask("GET", "/api/outbox?state=pending,dropped")
    assert [each["event"] for each in dead["deliveries"]] == [ids[0]]
    assert [each["event"] for each in waiting["deliveries"]] == [ids[2]]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("state=delivered", "bad_state"),
        ("state=dead,later", "bad_state"),
        ("limit=0", "bad_limit"),
        ("limit=1001", "bad_limit"),
        ("limit=-1", "bad_limit"),
        ("limit=٣", "bad_limit"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(tmp_path: Path, query: str, code: str) -> None:
    await stored(tmp_path)
    async with served(tmp_path) as ask:
        status, answer = await ask("GET", f"/api/outbox?{query}")
    assert (status, answer["error"]) == (400, code)


async def test_a_dead_delivery_is_tried_again(tmp_path: Path) -> None:
    (event_id,) = await stored(tmp_path, DEAD)
    async with served(tmp_path) as ask:
        answer = await ask("POST", "/api/outbox/retry", {"event": event_id, "endpoint": None})
        _, shown = await ask("GET", "/api/outbox")
    assert answer == (200, {"changed": [{"event": event_id, "endpoint": KEY, "was": "dead", "done": True}]})
    assert [(each["state"], each["attempts"]) for each in shown["deliveries"]] == [("pending", 0)]


async def test_a_delivery_is_dropped(tmp_path: Path) -> None:
    (event_id,) = await stored(tmp_path, PENDING)
    async with served(tmp_path) as ask:
        status, answer = await ask("POST", "/api/outbox/drop", {"event": event_id, "endpoint": KEY})
        _, shown = await ask("GET", "/api/outbox")
    assert (status, answer["changed"][0]["done"]) == (200, True)
    assert [each["state"] for each in shown["deliveries"]] == ["dropped"]


async def test_all_that_is_dead_is_tried_again_at_once(tmp_path: Path) -> None:
    await stored(tmp_path, DEAD, DEAD, DELIVERED)
    async with served(tmp_path) as ask:
        answer = await ask("POST", "/api/outbox/retry-dead", {"endpoint": None})
        _, shown = await ask("GET", "/api/outbox?state=pending")
    assert answer == (200, {"changed": 2})
    assert len(shown["deliveries"]) == 2


async def test_it_shows_which_receivers_are_switched_off_since_when_and_why(tmp_path: Path) -> None:
    await stored(tmp_path, PENDING, gone=True)
    async with served(tmp_path) as ask:
        _, shown = await ask("GET", "/api/outbox")
    (endpoint,) = shown["endpoints"]
    assert {name: endpoint[name] for name in ("enabled", "reason", "since", "pending")} == {
        "enabled": False,
        "reason": "gone",
        "since": "1970-01-01T00:16:40Z",
        "pending": 1,
    }


async def test_a_receiver_is_enabled_once(tmp_path: Path) -> None:
    await stored(tmp_path, PENDING, gone=True)
    with capture_logs() as logs:
        async with served(tmp_path) as ask:
            answers = [await ask("POST", "/api/outbox/enable", {"endpoint": KEY}) for _ in range(2)]
            _, shown = await ask("GET", "/api/outbox")
    assert answers == [(200, {"changed": True}), (200, {"changed": False})]
    assert [shown["endpoints"][0][name] for name in ("enabled", "reason", "since", "pending")] == [True, None, None, 1]
    assert [(line["event"], line["action"], line["endpoint_key"]) for line in logs] == [
        ("outbox_changed", "enable", KEY)
    ]


@pytest.mark.parametrize("path", ["enable", "retry-dead"])
async def test_an_unknown_receiver_is_not_found(tmp_path: Path, path: str) -> None:
    await stored(tmp_path, DEAD)
    async with served(tmp_path) as ask:
        status, answer = await ask("POST", f"/api/outbox/{path}", {"endpoint": "somebody"})
    assert (status, answer["error"]) == (404, "unknown_endpoint")


@pytest.mark.parametrize("body", [{}, {"endpoint": None}, {"endpoint": KEY, "event": "evt"}])
async def test_to_be_enabled_a_receiver_must_be_named(tmp_path: Path, body: object) -> None:
    await stored(tmp_path, PENDING, gone=True)
    async with served(tmp_path) as ask:
        status, answer = await ask("POST", "/api/outbox/enable", body)
        _, shown = await ask("GET", "/api/outbox")
    assert (status, answer["error"], shown["endpoints"][0]["enabled"]) == (400, "bad_body", False)


async def test_whoever_comes_when_too_many_wait_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_view, "MOST_WAITING", 0)
    await stored(tmp_path)
    async with served(tmp_path) as ask:
        status, answer = await ask("GET", "/api/outbox")
    assert (status, answer["error"]) == (503, "outbox_busy")


async def test_what_has_arrived_is_left_alone(tmp_path: Path) -> None:
    (event_id,) = await stored(tmp_path, DELIVERED)
    async with served(tmp_path) as ask:
        status, answer = await ask("POST", "/api/outbox/retry", {"event": event_id, "endpoint": None})
    assert (status, answer["changed"][0]["done"], answer["changed"][0]["was"]) == (200, False, "delivered")


async def test_an_unknown_event_is_not_found(tmp_path: Path) -> None:
    await stored(tmp_path, DEAD)
    async with served(tmp_path) as ask:
        status, answer = await ask("POST", "/api/outbox/retry", {"event": "evt_none", "endpoint": None})
    assert (status, answer["error"]) == (404, "unknown_delivery")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"event": 1}', b'{"event": "e", "all": true}', b'{"event": "\xff"}']
)
async def test_a_body_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    await stored(tmp_path, DEAD)
    async with served(tmp_path) as ask:
        status, answer = await ask("POST", "/api/outbox/retry", body)
    assert (status, answer["error"]) == (400, "bad_body")


ORDERS = {
    "retry": {"event": "evt_call_1_1"},
    "drop": {"event": "evt_call_1_1"},
    "retry-dead": {},
    "enable": {"endpoint": KEY},
}


@pytest.mark.parametrize("path", list(ORDERS))
async def test_a_form_of_another_site_changes_nothing(tmp_path: Path, path: str) -> None:
    await stored(tmp_path, DEAD, PENDING, gone=True)
    async with served(tmp_path) as ask:
        _, before = await ask("GET", "/api/outbox")
        status, _ = await ask("POST", f"/api/outbox/{path}", ORDERS[path], kind="text/plain")
        _, after = await ask("GET", "/api/outbox")
    assert (status, after) == (415, before)


@pytest.mark.parametrize("path", list(ORDERS))
async def test_a_token_that_only_allows_to_look_changes_nothing(tmp_path: Path, path: str) -> None:
    await stored(tmp_path, DEAD, PENDING, gone=True)
    async with served(tmp_path) as ask:
        _, before = await ask("GET", "/api/outbox", token=READ_TOKEN)
        status, _ = await ask("POST", f"/api/outbox/{path}", ORDERS[path], token=READ_TOKEN)
        _, after = await ask("GET", "/api/outbox", token=READ_TOKEN)
    assert (status, after) == (403, before)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), *(("POST", f"/{each}") for each in ORDERS)])
async def test_nobody_gets_in_without_a_token(tmp_path: Path, method: str, path: str) -> None:
    async with served(tmp_path) as ask:
        status, _ = await ask(method, f"/api/outbox{path}", {} if method == "POST" else None, token=None)
    assert status == 401


async def test_a_store_that_cannot_be_used_is_said_to_be_so(tmp_path: Path) -> None:
    async with served(tmp_path / "nothing") as ask:
        status, answer = await ask("GET", "/api/outbox")
    assert (status, answer["error"]) == (503, "storage_error")


async def test_requests_that_come_together_are_all_answered(tmp_path: Path) -> None:
    ids = await stored(tmp_path, *[DEAD] * 8)
    async with served(tmp_path) as ask, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask("POST", "/api/outbox/retry", {"event": each, "endpoint": KEY})) for each in ids]
    assert [task.result()[0] for task in asked] == [200] * 8


async def test_a_store_that_is_busy_keeps_the_request_waiting_and_not_the_event_loop(tmp_path: Path) -> None:
    (event_id,) = await stored(tmp_path, DEAD)
    async with served(tmp_path) as ask, asyncio.TaskGroup() as tasks:
        with closing(schema.open_beside(tmp_path)) as other:
            other.execute("BEGIN IMMEDIATE")
            asked = tasks.create_task(ask("POST", "/api/outbox/retry", {"event": event_id, "endpoint": None}))
            status, _ = await ask("GET", "/api/outbox?limit=none")  # answered without the store
            other.execute("ROLLBACK")
        answered, _ = await asked
    assert (status, answered) == (400, 200)
