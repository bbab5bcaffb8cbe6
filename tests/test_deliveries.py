"""`gateway deliveries`: what it shows, what it does, and how it ends."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from aiohttp import web

from gateway.cli import main
from gateway.commands.deliveries import deliveries as group
from gateway.outbox import Outbox
from gateway.outbox.database import DeliveryState, Verdict
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.store import Store
from tests.support import call_events
from tests.support.stored_events import NOW, event
from tests.support.webhook_receiver import SECRET, Received, Receiver, settings_for
from tests.support.whole_gateway import run

URL = "https://example.com/hook?token=hidden"
OTHER_URL = "https://other.example/hidden"
KEY, OTHER_KEY = (Endpoint.of(settings_for(url)).key for url in (URL, OTHER_URL))
SPEECH = b'{"data":{"text":"my card number"}}'
DEAD, DELIVERED, PENDING = DeliveryState.DEAD, DeliveryState.DELIVERED, DeliveryState.PENDING


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    output: str
    errors: str

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.output.splitlines()]


Deliveries = Callable[..., Ran]
COMMANDS = group.commands


@pytest.fixture
def deliveries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Deliveries:
    """Runs `gateway deliveries …` in this process, on the store of `tmp_path`."""
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GATEWAY_WEBHOOK__URL", URL)
    monkeypatch.setenv("GATEWAY_WEBHOOK__SECRET", SECRET)

    def ran(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["gateway", "deliveries", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ran(int(ended.value.code or 0), *capsys.readouterr())

    return ran


def stored(
    folder: Path, *states: DeliveryState, endpoints: Sequence[str] = (KEY,), call_id: str = "call_1", gone: bool = False
) -> None:
    """A call's events, each of which has ended like this at the endpoints; `gone`: the endpoint answered 410, too."""

    async def store_them() -> None:
        async with Store(folder) as store:
            await store.register(dict.fromkeys((KEY,), "https://example.com"))
            for sequence, state in enumerate(states, start=1):
                await store.append(event(call_id, sequence, endpoints=tuple(endpoints), body=SPEECH))
                for endpoint in endpoints if state is not PENDING or gone else ():
                    due = await store.lease_due(endpoint, now=NOW, lease_s=60, limit=1, in_flight=())
                    verdict = Verdict(
                        state=state,
                        due_at=NOW if state is PENDING else None,
                        attempts=3,
                        outcome="rejected",
                        status=422,
                        misconfigured=0,
                        at=NOW,
                        disables="gone" if gone else None,
                    )
                    await store.record(due.deliveries[0], verdict)

    asyncio.run(store_them())


def states_of(deliveries: Deliveries) -> dict[str, str]:
    options = [option for state in DeliveryState for option in ("--state", state.value)]
    return {row["event"]: row["state"] for row in deliveries("list", "--json", *options).rows}


def test_list_shows_what_was_not_delivered(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, DELIVERED, DEAD, PENDING, PENDING)

    ran = deliveries("list", "--json")

    assert ran.code == 0
    dead, pending, waiting = ran.rows
    assert dead == {
        "event": "evt_call_1_2",
        "type": "transcript.final",
        "call": "call_1",
        "sequence": 2,
        "created_at": "1970-01-01T00:16:40Z",
        "endpoint": KEY,
        "receiver": "https://example.com",
        "state": "dead",
        "attempts": 3,
        "last_outcome": "rejected",
        "last_status": 422,
        "last_attempt_at": "1970-01-01T00:16:40Z",
        "due_at": None,
        "waits_for": None,
    }
    assert (pending["event"], pending["due_at"], pending["waits_for"]) == (
        "evt_call_1_3",
        "1970-01-01T00:16:40Z",
        None,
    )
    assert (waiting["event"], waiting["due_at"], waiting["waits_for"]) == ("evt_call_1_4", None, "earlier event")


def test_the_table_has_the_same_rows_with_whole_ids(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, DEAD, PENDING, PENDING)

    lines = deliveries("list").output.splitlines()

    assert [line.split()[0] for line in lines if line.startswith("evt_")] == [f"evt_call_1_{n}" for n in (1, 2, 3)]
    assert "rejected 422" in lines[-3]
    assert " now " in lines[-2]
    assert "(earlier event)" in lines[-1]


def test_filters_choose_by_state_call_endpoint_and_number(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, DEAD, PENDING, call_id="a")
    stored(tmp_path, PENDING, call_id="b", endpoints=(KEY, OTHER_KEY))

    def events(*options: str) -> list[str]:
        return [row["event"] for row in deliveries("list", "--json", *options).rows]

    assert events("--state", "dead") == ["evt_a_1"]
    assert events("--call", "b") == ["evt_b_1", "evt_b_1"]
    assert events("--endpoint", OTHER_KEY[:6]) == ["evt_b_1"]
    assert events("--endpoint", URL) == events("--endpoint", "https://example.com") == ["evt_a_1", "evt_a_2", "evt_b_1"]
    ran = deliveries("list", "--limit", "1")
    assert "only the first 1" in ran.errors


def test_an_endpoint_that_nobody_knows_is_a_wrong_command_line(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, DEAD)

    ran = deliveries("list", "--endpoint", "https://no.example")

    assert ran.code == 2
    assert f"no such endpoint; known are: {KEY} (https://example.com)" in ran.errors


@pytest.mark.parametrize("command", [("list",), ("list", "--json"), ("endpoints",), ("show", "evt_call_1_1")])
def test_urls_show_only_when_asked_for(tmp_path: Path, deliveries: Deliveries, command: tuple[str, ...]) -> None:
    stored(tmp_path, DEAD)

    assert "hidden" not in deliveries(*command).output
    assert URL in deliveries(*command, "--show-urls").output


def test_show_tells_what_became_of_an_event_at_each_receiver(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, DEAD, endpoints=(KEY, OTHER_KEY))

    ran = deliveries("show", "evt_call_1_1", "--json")

    (row,) = ran.rows
    assert (ran.code, row["event"]) == (0, "evt_call_1_1")
    assert {(each["endpoint"], each["state"]) for each in row["deliveries"]} == {(KEY, "dead"), (OTHER_KEY, "dead")}


@pytest.mark.parametrize("style", [(), ("--json",)])
def test_what_was_said_shows_only_when_asked_for(
    tmp_path: Path, deliveries: Deliveries, style: tuple[str, ...]
) -> None:
    stored(tmp_path, DEAD)

    assert "my card number" not in deliveries("show", "evt_call_1_1", *style).output
    assert "my card number" in deliveries("show", "evt_call_1_1", "--body", *style).output


def test_retry_makes_a_dead_delivery_pending_again(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, DEAD, DELIVERED, PENDING)

    ran = deliveries("retry", "evt_call_1_1")

    assert ran.code == 0
    assert ran.output == f"evt_call_1_1 {KEY} retried (was dead)\n"
    first, _, last = deliveries("list", "--json", "--state", "pending", "--state", "delivered").rows
    assert (first["state"], first["attempts"], first["waits_for"]) == ("pending", 0, None)
    assert last["waits_for"] == "earlier event"


def test_retry_all_dead_takes_those_of_one_endpoint_if_told(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, DEAD, DEAD, endpoints=(KEY, OTHER_KEY))

    assert deliveries("retry", "--all-dead", "--endpoint", KEY).output == "2 deliveries are pending again\n"
    assert deliveries("retry", "--all-dead").output == "2 deliveries are pending again\n"


def test_drop_gives_up_for_good(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, DEAD, PENDING, PENDING)

    ran = deliveries("drop", "evt_call_1_1", "evt_call_1_2")

    assert ran.code == 0
    assert states_of(deliveries) == {"evt_call_1_1": "dropped", "evt_call_1_2": "dropped", "evt_call_1_3": "pending"}


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_what_was_delivered_or_never_was_ends_with_1(tmp_path: Path, deliveries: Deliveries, command: str) -> None:
    stored(tmp_path, DELIVERED, DEAD)

    assert deliveries(command, "evt_call_1_1").code == 1
    ran = deliveries(command, "evt_none", "evt_call_1_2")
    assert ran.code == 1
    assert "no event evt_none" in ran.errors
    assert "evt_call_1_2" in ran.output


def test_an_event_that_is_not_there_ends_show_with_1(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, DEAD)

    assert deliveries("show", "evt_none").code == 1


@pytest.mark.parametrize("arguments", [(), ("evt_1", "--all-dead")])
def test_retry_wants_either_ids_or_all(tmp_path: Path, deliveries: Deliveries, arguments: tuple[str, ...]) -> None:
    stored(tmp_path, DEAD)

    assert deliveries("retry", *arguments).code == 2


@pytest.mark.parametrize(
    "command", [("list",), ("endpoints",), ("show", "evt_1"), ("retry", "--all-dead"), ("drop", "evt_1")]
)
def test_without_a_store_every_command_ends_with_3(deliveries: Deliveries, command: tuple[str, ...]) -> None:
    ran = deliveries(*command)

    assert (ran.code, ran.errors.startswith("gateway: no store in the data folder")) == (3, True)


def test_endpoints_show_what_waits_and_which_are_disabled(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, PENDING, gone=True)
    stored(tmp_path, DEAD, call_id="call_2", endpoints=(OTHER_KEY,))

    rows = {row["endpoint"]: row for row in deliveries("endpoints", "--json").rows}

    assert (rows[KEY]["state"], rows[KEY]["reason"], rows[KEY]["pending"]) == ("disabled", "gone", 1)
    assert rows[KEY]["since"] == rows[KEY]["oldest"] == "1970-01-01T00:16:40Z"
    assert (rows[OTHER_KEY]["state"], rows[OTHER_KEY]["dead"]) == ("enabled, not configured", 1)
    (pending,) = deliveries("list", "--json", "--state", "pending").rows
    assert pending["waits_for"] == "enabled endpoint"


def test_enable_lets_a_receiver_have_events_again(tmp_path: Path, deliveries: Deliveries) -> None:
    stored(tmp_path, PENDING, gone=True)

    assert deliveries("enable", URL).output == f"{KEY} https://example.com is enabled\n"
    assert deliveries("enable", KEY).output == f"{KEY} https://example.com was not disabled\n"
    assert deliveries("endpoints", "--json").rows[0]["state"] == "enabled"


def test_two_receivers_of_one_origin_must_be_told_apart(
    tmp_path: Path, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = [{"url": f"https://example.com/{name}", "secret": SECRET} for name in "ab"]
    monkeypatch.delenv("GATEWAY_WEBHOOK__URL")
    monkeypatch.delenv("GATEWAY_WEBHOOK__SECRET")
    monkeypatch.setenv("GATEWAY_WEBHOOKS", json.dumps(hooks))
    stored(tmp_path, DEAD)

    ran = deliveries("enable", "https://example.com")

    assert (ran.code, "several endpoints are meant" in ran.errors) == (2, True)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_has_its_help_with_examples(name: str, deliveries: Deliveries) -> None:
    output = deliveries(name, "--help").output

    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    assert [option.name for option in options if not option.help] == []
    examples = output.partition("Examples:")[2].partition("Options:")[0]
    assert f"gateway deliveries {name}" in examples
    known = {each for option in options for each in option.opts}
    assert {word for word in examples.split() if word.startswith("-")} <= known


async def test_a_gateway_that_runs_sends_what_a_command_retries(tmp_path: Path) -> None:
    """Two processes on one folder; the one that sends notices by itself."""

    async def answer(request: Received) -> web.StreamResponse:
        return web.Response(status=422 if len(receiver.requests) <= 1 else 200)

    async with Receiver(answer) as receiver, Outbox(tmp_path, (receiver.settings(),)) as outbox:
        sent = await outbox.publish(call_events.final())
        await receiver.wait_for(1)
        assert await outbox.drain(10.0)

        code, output, errors = await run("deliveries", "retry", "--all-dead", GATEWAY_DATA_DIR=str(tmp_path))
        first, second = await receiver.wait_for(2)

    assert (code, output, errors) == (0, "1 deliveries are pending again\n", "")
    assert (first.id, first.body) == (second.id, second.body) == (sent.id, sent.body)
