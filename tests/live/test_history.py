"""Calls, transcripts and recordings over HTTP, from a real store."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.live import answers
from gateway.live.calls import Which, select_page
from gateway.outbox.schema import FILE_NAME
from tests.support.history_house import (
    House,
    ended,
    final,
    forget,
    history,
    short_call,
    started,
    whole_call,
    write_recording,
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with history(tmp_path) as served:
        yield served


def ids(page: Any) -> list[str]:
    return [call["id"] for call in page["calls"]]


async def walk(house: House, query: str) -> list[str]:
    """The ids on all pages."""
    found, cursor = [], ""
    while True:
        status, page = await house.get_json(f"/api/calls?{query}{cursor}")
        assert status == 200
        found += ids(page)
        if page["next"] is None:
            return found
        cursor = f"&before={page['next']}"


@pytest.mark.parametrize(
    "path",
    [
        "/api/calls",
        "/api/calls/call_1",
        "/api/calls/call_1/transcript.json",
        "/api/calls/call_1/recording.wav",
    ],
)
async def test_nothing_is_shown_without_a_token(house: House, path: str) -> None:
    assert (await house.get(path, token=None))[0] == 401


async def test_a_call_that_is_over_is_told_in_short(house: House) -> None:
    await house.publish(*whole_call("call_1"))
    status, page = await house.get_json("/api/calls")
    assert (status, page) == (
        200,
        {
            "calls": [
                {
                    "id": "call_1",
                    "platform": "twilio",
                    "platform_call_id": "CA-call_1",
                    "from": "+15550101",
                    "to": "+15550100",
                    "metadata": {"tenant": "acme"},
                    "started_at": "2027-01-15T08:00:00.000Z",
                    "ended_at": "2027-01-15T08:00:09.000Z",
                    "duration_s": 14.5,
                    "outcome": "completed",
                    "reason": "hangup",
                    "complete": True,
                    "tracks": ["inbound", "outbound"],
                    "finals": 3,
                    "has_recording": False,
                }
            ],
            "next": None,
        },
    )


async def test_a_call_that_goes_on_has_no_end_and_counts_its_finals(house: House) -> None:
    await house.publish(started("call_1"), final("call_1", 2, "Hello."), final("call_1", 3, "Hello?"))
    _, page = await house.get_json("/api/calls?state=live")
    (call,) = page["calls"]
    assert call["finals"] == 2
    assert {call[name] for name in ("ended_at", "duration_s", "outcome", "reason", "complete")} == {None}


async def test_calls_that_go_on_come_first_and_then_the_last_that_ended(house: House) -> None:
    await house.publish(started("long"), *short_call("a"), started("young"), *short_call("b"))
    assert await walk(house, "state=all") == ["young", "long", "b", "a"]
    assert await walk(house, "state=live") == ["young", "long"]
    assert await walk(house, "state=ended") == ["b", "a"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_pages_hold_every_call_once(house: House, limit: int) -> None:
    for number in range(4):
        await house.publish(started(f"live_{number}"), *short_call(f"over_{number}"))
    expected = [f"live_{n}" for n in (3, 2, 1, 0)] + [f"over_{n}" for n in (3, 2, 1, 0)]
    assert await walk(house, f"limit={limit}") == expected


async def test_calls_of_the_same_moment_are_not_lost_between_pages(house: House) -> None:
    for number in range(5):
        for event in short_call(f"call_{number}"):
            await house.outbox.publish(event)
    assert await walk(house, "limit=2") == [f"call_{number}" for number in (4, 3, 2, 1, 0)]


async def test_calls_that_come_in_meanwhile_move_nothing(house: House) -> None:
    await house.publish(*short_call("a"), *short_call("b"), *short_call("c"))
    _, first = await house.get_json("/api/calls?limit=1")
    await house.publish(started("new"), *short_call("d"))
    _, second = await house.get_json(f"/api/calls?limit=5&before={first['next']}")
    assert (ids(first), ids(second)) == (["c"], ["b", "a"])


async def test_a_call_that_ends_while_pages_are_turned_is_not_missed(house: House) -> None:
    await house.publish(*short_call("a"), started("old"), started("young"))
    _, first = await house.get_json("/api/calls?limit=1")
    await house.publish(ended("old", 2))
    _, second = await house.get_json(f"/api/calls?limit=5&before={first['next']}")
    assert (ids(first), ids(second)) == (["young"], ["old", "a"])


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("state=dead", "bad_state"),
        ("limit=0", "bad_limit"),
        ("limit=-1", "bad_limit"),
        ("limit=%D9%A1", "bad_limit"),
        ("limit=" + "9" * 5000, "bad_limit"),
        ("before=x", "bad_cursor"),
        ("before=WyJhbGwiLDEsIngiXQ", "bad_cursor"),
        ("before=WyJsaXZlIiwiMSIsIngiXQ", "bad_cursor"),
        ("before=%00%ff", "bad_cursor"),
    ],
)
async def test_a_wrong_parameter_is_told_by_its_code(house: House, query: str, code: str) -> None:
    status, body = await house.get_json(f"/api/calls?{query}")
    assert (status, body["error"]) == (400, code)


async def test_a_call_has_its_events_as_webhooks_get_them(house: House) -> None:
    stored = await house.publish(*whole_call("call_1"))
    status, headers, body = await house.get("/api/calls/call_1")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    story = msgspec.json.decode(body, type=answers.CallStory)
    assert (story.id, story.finals) == ("call_1", 3)
    assert [bytes(event) for event in story.events] == [event.body for event in stored]


async def test_a_call_whose_first_events_were_deleted_is_still_told(house: House) -> None:
    await house.publish(*whole_call("call_1"))
    forget(house.folder, 1)
    _, page = await house.get_json("/api/calls")
    assert [(call["tracks"], call["finals"]) for call in page["calls"]] == [(["inbound", "outbound"], 3)]


async def test_a_call_whose_end_was_deleted_first_is_over_all_the_same(house: House) -> None:
    await house.publish(*whole_call("call_1"))
    forget(house.folder, 10)
    _, page = await house.get_json("/api/calls?state=ended")
    assert [(call["outcome"], call["finals"]) for call in page["calls"]] == [(None, 3)]
    assert page["calls"][0]["ended_at"] is not None


@pytest.mark.parametrize("which", [Which.LIVE, Which.ENDED])
async def test_a_page_is_read_along_indexes(house: House, which: Which) -> None:
    await house.publish(*(started(f"live_{n}") for n in range(3)))
    for number in range(3):
        await house.publish(*short_call(f"over_{number}"))
    with closing(sqlite3.connect(house.folder / FILE_NAME)) as db:
        asked: list[str] = []
        db.set_trace_callback(asked.append)
        first = select_page(db, house.folder, which, 1, None)
        select_page(db, house.folder, which, 1, first.next)
        db.set_trace_callback(None)
        steps = {row[3] for sql in asked for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")}
    assert {step.split()[0] for step in steps} <= {"SEARCH", "SCAN", "CORRELATED"}  # nothing is sorted
    index = "calls_unfinished" if which is Which.LIVE else "calls_ended"
    assert {step for step in steps if step.startswith("SCAN")} <= {f"SCAN c USING INDEX {index}"}


async def test_more_events_than_are_read_at_once_are_all_there(house: House) -> None:
    texts = [f"Number {number}." for number in range(1100)]
    await house.publish(*short_call("call_1", *texts))
    _, story = await house.get_json("/api/calls/call_1")
    assert [event["data"]["sequence"] for event in story["events"]] == list(range(1, 1103))


@pytest.mark.parametrize("path", ["", "/transcript.json", "/transcript.srt", "/recording.wav"])
@pytest.mark.parametrize("call_id", ["nobody", "%2e%2e%2f%2e%2e", "%00", "%ed%a0%80", "'--"])
async def test_a_call_that_is_not_there_is_404(house: House, path: str, call_id: str) -> None:
    status, body = await house.get_json(f"/api/calls/{call_id}{path}")
    assert (status, body["error"]) == (404, "no_recording" if path.endswith("wav") else "no_such_call")


async def test_the_transcript_has_everything_in_the_order_in_which_it_was_said(house: House) -> None:
    await house.publish(*whole_call("call_1"))
    status, headers, body = await house.get("/api/calls/call_1/transcript.json")
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    told = msgspec.json.decode(body, type=answers.Transcript)
    assert [(each.speaker, each.text, each.recovered, each.forced) for each in told.passages] == [
        ("agent", "How may I help you?", False, False),
        ("caller", "I would like a refund.", False, False),
        ("caller", "Order <b>7</b> & a café.", True, True),
    ]
    assert told.gaps == (answers.Gap(track=whole_call("call_1")[4].track, start_s=8.0, end_s=9.5, reason="lost"),)  # type: ignore[attr-defined]
    assert [(each.digit, each.at_s) for each in told.dtmf] == [("5", 7.25)]
    assert told.post_call is not None
    assert (told.post_call["provider"], set(told.post_call) & {"call", "sequence"}) == ("batch", set())


@pytest.mark.parametrize(
    ("form", "kind", "text"),
    [
        (
            "txt",
            "text/plain; charset=utf-8",
            "agent: How may I help you?\ncaller: I would like a refund.\ncaller: Order <b>7</b> & a café.\n",
        ),
        (
            "srt",
            "application/x-subrip; charset=utf-8",
            "1\n00:00:01,000 --> 00:00:03,500\nHow may I help you?\n\n"
            "2\n00:00:04,000 --> 00:00:06,500\nI would like a refund.\n\n"
            "3\n00:00:11,000 --> 00:00:13,500\nOrder <b>7</b> & a café.\n",
        ),
        (
            "vtt",
            "text/vtt; charset=utf-8",
            "WEBVTT\n\n00:00:01.000 --> 00:00:03.500\n<v agent>How may I help you?\n\n"
            "00:00:04.000 --> 00:00:06.500\n<v caller>I would like a refund.\n\n"
            "00:00:11.000 --> 00:00:13.500\n<v caller>Order &lt;b&gt;7&lt;/b&gt; &amp; a café.\n",
        ),
    ],
)
async def test_the_transcript_is_there_as_a_file(house: House, form: str, kind: str, text: str) -> None:
    await house.publish(*whole_call("call_1"))
    status, headers, body = await house.get(f"/api/calls/call_1/transcript.{form}")
    assert (status, headers["Content-Type"], body.decode()) == (200, kind, text)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Disposition" not in headers


async def test_a_download_has_a_name_that_means_nothing_to_any_system(house: House) -> None:
    name = '../..\\"x; y"\r\n.txt'
    await house.publish(*short_call(name, "Hello."))
    _, headers, _ = await house.get("/api/calls/..%2f..%5c%22x;%20y%22%0d%0a.txt/transcript.txt?download=1")
    assert headers["Content-Disposition"] == 'attachment; filename="_..__x__y___.txt.txt"'


async def test_an_unknown_form_of_transcript_is_404(house: House) -> None:
    assert (await house.get("/api/calls/call_1/transcript.exe"))[0] == 404


async def test_a_recording_is_sent_whole_or_in_parts(house: House) -> None:
    path = house.folder / "recordings" / "call_1.wav"
    write_recording(path, 0.5, 0.25)
    await house.publish(*whole_call("call_1", recording="call_1.wav"))
    _, page = await house.get_json("/api/calls")
    assert page["calls"][0]["has_recording"] is True

    status, headers, body = await house.get("/api/calls/call_1/recording.wav?download=1")
    assert (status, headers["Content-Type"], body) == (200, "audio/wav", path.read_bytes())
    assert headers["Content-Disposition"] == 'attachment; filename="call_1.wav"'
    status, headers, body = await house.get("/api/calls/call_1/recording.wav", Range="bytes=40-99")
    assert (status, body) == (206, path.read_bytes()[40:100])


async def test_a_recording_that_was_deleted_is_404(house: House) -> None:
    await house.publish(*whole_call("call_1", recording="call_1.wav"))
    _, page = await house.get_json("/api/calls")
    assert page["calls"][0]["has_recording"] is False
    status, body = await house.get_json("/api/calls/call_1/recording.wav")
    assert (status, body["error"]) == (404, "no_recording")


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/passwd", "..", "", "secret.txt", "a\0.wav"])
async def test_no_name_leads_out_of_the_recordings(house: House, name: str) -> None:
    write_recording(house.folder / "secret.wav", 0.5)
    (house.folder / "recordings").mkdir()
    (house.folder / "recordings" / "secret.txt").write_text("secret")
    await house.publish(*whole_call("call_1", recording=name))
    assert (await house.get("/api/calls/call_1/recording.wav"))[0] == 404
