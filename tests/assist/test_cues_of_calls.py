"""Cues of calls: after their finals, in sequence, at the webhook; also of what is heard after an interruption."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway.assist.finder import Cue, CueFinder
from gateway.assist.rules import RuleBook, parse
from gateway.config import WebhookSettings
from gateway.events import AssistCue, CallEnded, CallEvent, Final, Finished, Segment, Track, TranscriptFinal
from gateway.outbox import Outbox
from gateway.reporter import CallReporter
from gateway.server import serving
from gateway.simulate.show import EventPrinter
from gateway.story import Story
from tests.support import call_events
from tests.support.phone import Sink, line
from tests.support.pulse_server import PulseServer
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import GatewayProcess, heard_by, phone, posted_to, settings, until_ended

RULES = """
[[rule]]
name = "second-two"
phrase = "second 2"
track = "inbound"
note = "Two."
[[rule]]
name = "across"
words = ["1", "2"]
within = 3
"""
BOOK = parse(RULES.encode())


def write(path: Path, text: str) -> None:
    path.write_text(text)


def cues() -> CueFinder:
    return CueFinder(lambda: BOOK)


def said(text: str, at_s: float, **changes: Any) -> Segment:
    return Segment(provider="p", text=text, start_s=at_s, end_s=at_s + 1, **changes)


async def reported(
    *segments: Segment,
    finder: CueFinder | None = None,
    kept: Sequence[tuple[Track, Segment]] = (),
    cued: Sequence[str] | None = None,
) -> list[CallEvent]:
    """The events of a call of which this was said."""
    sink = Sink()
    report = CallReporter(sink, cues=finder)
    report.begin(call_events.info(), {Track.INBOUND: "caller", Track.OUTBOUND: "agent"})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(report.run())
        await report.recall(kept, cued)
        for segment in segments:
            await report.segment(Track.INBOUND, segment)
        report.close()
    return sink.events


def found(events: Sequence[CallEvent]) -> list[tuple[str, bool]]:
    return [(event.cue, event.recovered) for event in events if isinstance(event, AssistCue)]


async def test_a_final_is_followed_by_its_cues_in_sequence() -> None:
    events = await reported(said("second 1", 0), said("second 2", 1), said("second 3", 2), finder=cues())
    assert [(event.type, event.sequence) for event in events] == [
        ("transcript.final", 1),
        ("transcript.final", 2),
        ("assist.cue", 3),
        ("assist.cue", 4),
        ("transcript.final", 5),
    ]
    assert events[2] == AssistCue(
        call=call_events.info(),
        sequence=3,
        track=Track.INBOUND,
        speaker="caller",
        cue="second-two",
        text="second 2",
        note="Two.",
        start_s=1,
        end_s=2,
    )


async def test_nothing_comes_between_a_final_and_its_cues() -> None:
    sink = Sink()
    report = CallReporter(sink, cues=cues())
    report.begin(call_events.info(), {Track.INBOUND: "caller", Track.OUTBOUND: "agent"})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(report.run())
        for track in Track:
            tasks.create_task(report.segment(track, said("1 second 2", 0)))
        await report.settled()
        report.close()
    kinds = [event.type for event in sink.events]
    assert kinds == ["transcript.final", "assist.cue", "assist.cue", "transcript.final"]  # the other one cools down


async def test_calls_in_progress_have_their_turns_while_a_long_one_is_recalled() -> None:
    turns = 0
    seen: list[int] = []

    class Finder(CueFinder):
        def hear(self, track: Track, final: Segment) -> list[Cue]:
            seen.append(turns)
            return super().hear(track, final)

    async def others() -> None:
        nonlocal turns
        while len(seen) < 20:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(others())
        await reported(finder=Finder(lambda: BOOK), kept=[(Track.INBOUND, said("second 1", at)) for at in range(20)])
    assert len(set(seen)) == 20


async def test_what_was_heard_after_an_interruption_makes_cues_that_say_so() -> None:
    assert found(await reported(said("second 2", 1, recovered=True), finder=cues())) == [("second-two", True)]


async def test_without_rules_there_are_none() -> None:
    assert found(await reported(said("second 2", 1))) == []
    assert found(await reported(said("second 2", 1), finder=CueFinder(lambda: RuleBook()))) == []


@pytest.mark.parametrize(
    ("cued", "owed"),
    [
        (None, []),
        ([], ["second-two", "across"]),
        (["second-two"], ["across"]),
        (["second-two", "across"], []),
        (["by-older-rules"], []),
    ],
)
async def test_cues_that_a_dead_process_owed_are_made_up_for(cued: list[str] | None, owed: list[str]) -> None:
    kept = [(Track.INBOUND, said("second 1", 0)), (Track.INBOUND, said("second 2", 1))]
    events = await reported(kept=kept, cued=cued, finder=cues())
    assert found(events) == [(name, True) for name in owed]


async def test_what_began_before_a_crash_is_found_and_cool_downs_go_on() -> None:
    kept = [(Track.INBOUND, said("second 2 and so on", 0)), (Track.INBOUND, said("1", 1))]
    events = await reported(said("second 2", 2, recovered=True), kept=kept, cued=None, finder=cues())
    assert found(events) == [("across", True)]


async def test_a_call_tells_cues_of_both_tracks() -> None:
    def on_end(session: ScriptedRecognizer) -> tuple[Final, Finished]:
        return Final(text="1 or 2", start_s=0.02, end_s=0.06), Finished()

    async with (
        line(ScriptedRecognizers(on_end=on_end), cues=cues) as server,
        server.phone() as caller,
    ):
        await caller.start("inbound", "outbound")
        await caller.media(10)
        await caller.media(10, "outbound")
        await caller.stop()
        await server.sink.wait_for(CallEnded)
    (cue,) = server.sink.of(AssistCue)
    finals = server.sink.of(TranscriptFinal)
    assert cue.track is finals[0].track
    assert cue.sequence == (finals[0].sequence or 0) + 1


async def test_the_webhook_of_a_real_call_gets_each_cue_after_its_final(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    write(rules, RULES)
    async with PulseServer() as speech, Receiver() as receiver:
        tree = {"stt": heard_by(speech), "webhook": posted_to(receiver), "assist": {"rules_file": str(rules)}}
        async with serving(settings(tmp_path / "data", **tree)) as served, phone(served.stream_url) as caller:
            await caller.start("inbound")
            await caller.media(150)
            await caller.stop()
            assert await caller.closed() == 1000
            await until_ended(receiver)
        events = [request.verify() for request in receiver.requests]
    assert [event["data"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    told = [(event["type"], event["data"].get("cue") or event["data"].get("text")) for event in events[1:-1]]
    assert told == [
        ("transcript.final", "second 1"),
        ("transcript.final", "second 2"),
        ("assist.cue", "second-two"),
        ("assist.cue", "across"),
        ("transcript.final", "second 3"),
    ]
    assert events[4]["data"] == events[3]["data"] | {
        "sequence": 5,
        "cue": "across",
        "text": "1 second 2",
        "note": None,
        "start_s": 0.5,
    }
    assert (events[3]["data"]["start_s"], events[3]["data"]["end_s"]) == (1.0, 2.0)


async def test_a_cue_may_begin_before_a_crash_and_end_in_what_is_heard_after_it(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    write(rules, '[[rule]]\nname = "span"\npattern = "2(?: second)? 1"\n')
    async with PulseServer() as vendor, Receiver() as receiver:
        environ = {
            "GATEWAY_STT": heard_by(vendor),
            "GATEWAY_WEBHOOK": posted_to(receiver),
            "GATEWAY_ASSIST__RULES_FILE": str(rules),
        }
        async with GatewayProcess(tmp_path, **environ) as served, phone(await served.stream_url()) as caller:
            await caller.start()
            await caller.media(125)
            await receiver.wait_for(3)
            await served.until_metric("gateway_journal_bytes", 20_000)
            served.send_signal(signal.SIGKILL)
            await served.exit_code()
        async with GatewayProcess(tmp_path, **environ) as again:
            await again.base_url()  # a start may take its time
            await until_ended(receiver)
    events = list({request.id: request.verify() for request in receiver.requests}.values())
    assert [event["type"] for event in events[-3:]] == ["transcript.final", "assist.cue", "call.ended"]
    cue = events[-2]["data"]
    assert (cue["cue"], cue["start_s"], cue["end_s"]) == ("span", 1.5, 2.5)
    assert cue["recovered"] is True


@pytest.mark.parametrize(
    ("kinds", "cued"),
    [
        ("", None),
        ("final", []),
        ("final cue", ["refund"]),
        ("final cue dtmf", None),
        ("final dtmf final cue cue", ["refund", "refund"]),
        ("dtmf", None),
    ],
)
async def test_the_store_knows_which_cues_the_last_final_had(
    kinds: str, cued: list[str] | None, tmp_path: Path
) -> None:
    made = {"final": call_events.final(), "dtmf": call_events.dtmf(), "cue": call_events.cue()}
    async with Outbox(tmp_path) as outbox:
        for sequence, kind in enumerate(kinds.split(), start=1):
            await outbox.publish(structs.replace(made[kind], sequence=sequence))
        story = Story(await outbox.events_of("call_1"))
    assert story.cued == cued
    assert [segment.words[0].word for _, segment in story.finals] == ["I'd"] * kinds.count("final")


def test_a_webhook_may_ask_for_cues_alone() -> None:
    endpoint = WebhookSettings.model_validate({"events": ["assist.cue"]})
    assert endpoint.wants("assist.cue", durable=True)
    assert not endpoint.wants("transcript.final", durable=True)


@pytest.mark.parametrize(("note", "shown"), [(None, "“a refund”\n"), ("Careful.", "“a refund”: Careful.\n")])
def test_a_listener_prints_cues_for_people(note: str | None, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    cue = structs.replace(call_events.cue(), note=note)
    EventPrinter().show({"type": cue.type, "data": msgspec.to_builtins(cue)})
    assert capsys.readouterr().out.endswith(f"caller  refund, {shown}")


def test_a_cue_on_the_wire_has_the_fields_of_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "assist.md").read_text()
    example = msgspec.json.decode(guide.partition("```json\n")[2].partition("```")[0])
    fields = {field.encode_name for field in msgspec.structs.fields(AssistCue)}
    assert example["data"].keys() == fields
