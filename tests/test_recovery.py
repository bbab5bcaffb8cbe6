"""Calls that were over before all of them was heard: every word is told in the end, and the end comes once."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.config import JournalSettings, SttSettings
from gateway.errors import RecognizerUnavailable
from gateway.events import (
    CallEvent,
    Final,
    Finished,
    RecognizerEvent,
    RecordingRequest,
    RecordingTranscript,
    SpokenUtterance,
    SpokenWord,
    Track,
    TrackSummary,
    TranscriptFinal,
    Word,
)
from gateway.journal import CallHeader, CallJournal, Journal, KeptCall, StreamEnd
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.outbox import Outbox
from gateway.recovery import Recovery
from gateway.stt.outages import Outages
from telephony_codecs.formats import AudioFormat
from tests.support import call_events
from tests.support.batch_server import batch_server
from tests.support.phone import line
from tests.support.pulse_server import PulseServer, read_content, recognise, refuse
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.webhook_receiver import SECRET, Receiver
from tests.support.whole_gateway import GatewayProcess, heard_by, phone, posted_to, until_ended

MULAW = AudioFormat.parse("mulaw-8000")
NOW = 1_800_000_000.0
DEADLINE_S = 60.0


def seconds_heard(session: ScriptedRecognizer) -> Iterable[RecognizerEvent]:
    """At the end, a word for each second of the call of which there is more than half; its samples are its number."""
    start = 0
    for number, samples in ((value, len(list(run))) for value, run in groupby(session.audio)):
        start_s, end_s = start / 8000, (start + samples) / 8000
        if samples > 4000:
            word = Word(word=f"second {number}", start_s=start_s, end_s=end_s)
            yield Final(text=word.word, start_s=start_s, end_s=end_s, words=(word,))
        start += samples
    yield Finished()


class Batch:
    """Transcribes every recording as one utterance of two words, and keeps its length."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def transcribe(
        self, profile: str, recording: Path, _request: RecordingRequest, **_others: object
    ) -> RecordingTranscript:
        assert profile == "whole"
        self.sizes.append(len(await asyncio.to_thread(recording.read_bytes)))
        return RecordingTranscript(
            text="good bye",
            words=(SpokenWord(word="good", start_s=0.1, end_s=0.4), SpokenWord(word="bye", start_s=0.5, end_s=0.9)),
            utterances=(SpokenUtterance(text="good bye", start_s=0.1, end_s=1.0),),
        )


class House:
    """Store, journal and recovery on one folder."""

    def __init__(self, outbox: Outbox, journal: Journal, recovery: Recovery) -> None:
        self.outbox = outbox
        self.journal = journal
        self.recovery = recovery

    def call(self, seconds: int, *, start: int = 0, call_id: str = "call_1") -> CallJournal:
        """A call in progress of which so much has come."""
        tape = Tape(MULAW, 80_000_000, is_archived=True)
        tape.append(Stretch(start, b"".join(bytes([number]) * 8000 for number in range(seconds))))
        return self.journal.begin(header(call_id), {Track.INBOUND: tape})

    async def over(self, call: CallJournal, *, heard: int = 0, **changes: Any) -> KeptCall:
        """Its stream ended."""
        return await call.end(stream_end(heard=heard, **changes))

    async def events(self, call_id: str = "call_1") -> list[Any]:
        return [msgspec.json.decode(event.body) for event in await self.outbox.events_of(call_id)]

    async def until_idle(self) -> None:
        """Wait until recovery has nothing left."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.recovery):
                await self.events()

    async def until_ended(self, call_id: str = "call_1") -> list[Any]:
        """The call's events, once it has its end."""
        over = asyncio.Event()
        self.outbox.add_listener(
            lambda events: [over.set() for event in events if (event.call_id, event.type) == (call_id, "call.ended")]
        )
        async with asyncio.timeout(DEADLINE_S):
            if all(event["type"] != "call.ended" for event in await self.events(call_id)):
                await over.wait()
        return await self.events(call_id)


def header(call_id: str = "call_1") -> CallHeader:
    return CallHeader(
        call=call_events.info(call_id),
        tracks=(Track.INBOUND,),
        format="mulaw-8000",
        profile="local",
        language=None,
        speakers={Track.INBOUND: "caller"},
        started_at=NOW,
    )


def stream_end(*, heard: int = 0, outcome: str = "completed", reason: str = "stop") -> StreamEnd:
    summary = TrackSummary(track=Track.INBOUND, audio_s=3.0, lost_s=0.0, untranscribed_s=0.0, finals=0)
    return StreamEnd(
        outcome=outcome,
        reason=reason,
        duration_s=3.0,
        tracks=(summary,),
        ended_at=NOW,
        heard={Track.INBOUND: heard},
    )


@asynccontextmanager
async def house(
    folder: Path,
    recognizers: ScriptedRecognizers | None = None,
    *,
    batch: Batch | None = None,
    stt: dict[str, Any] | None = None,
    clock: Callable[[], float] = lambda: NOW,
    **journal: Any,
) -> AsyncIterator[House]:
    settings = JournalSettings(**{"max_age_h": 8760.0, **journal})
    async with (
        Outbox(folder, clock=clock) as outbox,
        Journal(folder / "journal", settings) as kept,
        Recovery(
            outbox,
            kept,
            recognizers or ScriptedRecognizers(on_end=seconds_heard),
            batch or Batch(),
            stt=SttSettings.model_validate({"drain_s": 0.05, **(stt or {})}),
            settings=settings,
            folder=folder,
            outages=Outages(),
            clock=clock,
            draw=lambda: 0.0,
        ) as recovery,
    ):
        yield House(outbox, kept, recovery)


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def spoken(events: list[Any]) -> list[tuple[str, float, bool]]:
    return [
        (event["data"]["text"], event["data"]["start_s"], event["data"]["recovered"])
        for event in events
        if event["type"] == "transcript.final"
    ]


def words(events: list[Any]) -> list[str]:
    """All of them, in the order of their times."""
    found = [word for event in events if event["type"] == "transcript.final" for word in event["data"]["words"]]
    return [word["word"] for word in sorted(found, key=lambda each: each["start_s"])]


async def test_a_call_that_is_handed_over_is_told_to_its_end(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.outbox.publish(call_events.started())
        here.recovery.take(await here.over(here.call(3)))
        events = await here.until_ended()
    assert spoken(events) == [("second 0", 0.0, True), ("second 1", 1.0, True), ("second 2", 2.0, True)]
    ended = events[-1]["data"]
    assert (ended["outcome"], ended["reason"], ended["complete"], ended["duration_s"]) == (
        "completed",
        "stop",
        True,
        3.0,
    )
    assert [line["text"] for line in ended["conversation"]] == ["second 0", "second 1", "second 2"]
    assert ended["tracks"][0]["finals"] == 3
    assert [event["data"]["sequence"] for event in events] == [1, 2, 3, 4, 5]


async def test_its_journal_is_removed(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        here.recovery.take(await here.over(here.call(1)))
        await here.until_idle()
    assert files(tmp_path / "journal") == []


async def test_what_was_heard_before_is_not_heard_again(tmp_path: Path) -> None:
    recognizers = ScriptedRecognizers(on_end=seconds_heard)
    async with house(tmp_path, recognizers) as here:
        here.recovery.take(await here.over(here.call(3), heard=24_000))
        events = await here.until_ended()
    assert recognizers.sessions == []
    assert events[-1]["data"]["complete"] is True


async def test_it_begins_after_the_last_final_of_the_store(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.outbox.publish(call_events.started())
        await here.outbox.publish(call_events.final(sequence=2))  # to 14.02 s
        here.recovery.take(await here.over(here.call(17)))
        events = await here.until_ended()
    assert [(text, start_s) for text, start_s, recovered in spoken(events) if recovered] == [
        ("second 14", 14.0),
        ("second 15", 15.0),
        ("second 16", 16.0),
    ]


async def test_it_is_tried_again_until_a_recogniser_is_back(tmp_path: Path) -> None:
    recognizers = ScriptedRecognizers(on_end=seconds_heard)
    recognizers.refusal = RecognizerUnavailable("away", code="stt_refused_503")
    with capture_logs() as logs:
        async with house(tmp_path, recognizers) as here:
            here.recovery.take(await here.over(here.call(2)))
            async with asyncio.timeout(DEADLINE_S):
                while not any(entry["event"] == "stt_lost" for entry in logs):
                    await here.events()
            recognizers.refusal = None
            events = await here.until_ended()
    assert [text for text, _, _ in spoken(events)] == ["second 0", "second 1"]
    assert events[-1]["data"]["complete"] is True


async def test_a_call_that_waited_too_long_says_what_is_missing(tmp_path: Path) -> None:
    clock = iter([NOW + 7201.0] * 1000)
    async with house(tmp_path, max_age_h=2.0, clock=lambda: next(clock)) as here:
        here.recovery.take(await here.over(here.call(3), heard=8000))
        events = await here.until_ended()
    (gap,) = [event["data"] for event in events if event["type"] == "call.gap"]
    assert (gap["start_s"], gap["end_s"], gap["reason"]) == (1.0, 3.0, "journal_too_old")
    ended = events[-1]["data"]
    assert (ended["outcome"], ended["reason"], ended["complete"]) == ("upstream_error", "not_all_transcribed", False)
    assert ended["tracks"][0]["untranscribed_s"] == 2.0


async def test_audio_that_the_journal_could_not_keep_is_told(tmp_path: Path) -> None:
    tape = Tape(MULAW, 24_000, is_archived=True)
    async with house(tmp_path) as here:
        call = here.journal.begin(header(), {Track.INBOUND: tape})
        for number in range(5):  # memory holds three seconds, and the journal has not looked yet
            tape.append(Stretch(number * 8000, bytes([number]) * 8000))
        here.recovery.take(await here.over(call, heard=4000))
        events = await here.until_ended()
    (gap,) = [event["data"] for event in events if event["type"] == "call.gap"]
    assert (gap["start_s"], gap["end_s"], gap["reason"]) == (0.5, 2.0, "not_held")
    assert [text for text, _, _ in spoken(events)] == ["second 2", "second 3", "second 4"]
    assert events[-1]["data"]["complete"] is False


async def test_a_bug_ends_its_call_as_far_as_it_is_known(tmp_path: Path) -> None:
    def on_end(_session: ScriptedRecognizer) -> tuple[()]:
        raise ZeroDivisionError("my secret")

    with capture_logs() as logs:
        async with house(tmp_path, ScriptedRecognizers(on_end=on_end)) as here:
            here.recovery.take(await here.over(here.call(3)))
            events = await here.until_ended()
    assert [event["data"].get("reason") for event in events[-2:]] == ["internal_error", "not_all_transcribed"]
    assert [entry["event"] for entry in logs].count("recovery_failed") == 1
    assert "secret" not in str([entry for entry in logs if entry["event"] != "recovery_failed"])


async def test_a_call_that_was_never_announced_is_announced_first(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        here.recovery.take(await here.over(here.call(1)))
        events = await here.until_ended()
    assert [event["type"] for event in events] == ["call.started", "transcript.final", "call.ended"]
    assert events[0]["data"]["audio"] == "mulaw-8000"


async def test_a_profile_for_recordings_can_hear_what_is_left(tmp_path: Path) -> None:
    batch = Batch()
    whole = {"kind": "pulse-batch", "url": "https://stt.example.com/"}
    stt = {"recovery_profile": "whole", "profiles": {"whole": whole}}
    async with house(tmp_path, batch=batch, stt=stt) as here:
        here.recovery.take(await here.over(here.call(3), heard=8000))
        events = await here.until_ended()
    assert spoken(events) == [("good bye", 1.1, True)]
    (final,) = [event["data"] for event in events if event["type"] == "transcript.final"]
    assert [word["start_s"] for word in final["words"]] == [1.1, 1.5]
    assert final["provider"] == "whole"
    assert batch.sizes == [44 + 2 * 16_000]
    assert events[-1]["data"]["complete"] is True


async def test_the_next_process_goes_on_with_what_it_finds(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.outbox.publish(call_events.started())
        here.call(2).leave()
    async with house(tmp_path) as here:
        await here.recovery.resume()
        events = await here.until_ended()
    assert [text for text, _, _ in spoken(events)] == ["second 0", "second 1"]
    ended = events[-1]["data"]
    assert (ended["outcome"], ended["reason"], ended["complete"]) == ("indeterminate", "gateway_restarted", False)
    assert (ended["duration_s"], ended["tracks"][0]["audio_s"]) == (2.0, 2.0)


async def test_a_file_whose_call_has_its_end_is_only_removed(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.outbox.publish(call_events.started())
        here.call(2).leave()
        await here.outbox.publish(call_events.ended())
    async with house(tmp_path) as here:
        await here.recovery.resume()
        await here.until_idle()
        assert len(await here.events()) == 2
    assert files(tmp_path / "journal") == []


async def test_what_the_store_does_not_have_yet_is_not_heard_as_far_as_the_journal_knows(tmp_path: Path) -> None:
    """Killed between the last words and their commit, the call must be heard again from there."""
    last = Final(text="goodbye", start_s=0.1, end_s=0.9)
    recognizers = ScriptedRecognizers(on_end=lambda _session: (last, Finished()))
    held = asyncio.Event()
    async with house(tmp_path) as here, line(recognizers, journal=here.journal) as server:
        publish = server.sink.publish

        async def hold_finals(event: CallEvent) -> object:
            if isinstance(event, TranscriptFinal):
                held.set()
                await asyncio.Event().wait()
            return await publish(event)

        server.sink.publish = hold_finals  # type: ignore[method-assign] # a store that has become slow
        async with server.phone() as phone:
            await phone.start()
            await phone.media(50)
            await phone.stop()
            async with asyncio.timeout(DEADLINE_S):
                await held.wait()
            await here.journal.flush()
            await server.calls.drain(0.0, 0.05)
    async with house(tmp_path) as here:
        (kept,) = here.journal.kept()
        assert kept.end is None
        assert kept.extent(Track.INBOUND) == (0, 8000)


# ── Without a journal ────────────────────────────────────────────────────────────────────────────────────────────


async def test_only_calls_without_end_are_ended_and_only_once(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        for call_id in ("over", "open"):
            await here.outbox.publish(call_events.started(call_id, 1))
        await here.outbox.publish(call_events.ended("over", 2))
    async with house(tmp_path) as here:
        await here.recovery.resume()
        await here.recovery.resume()
        assert [len(await here.events(call_id)) for call_id in ("over", "open")] == [2, 2]


async def test_a_long_call_keeps_its_whole_conversation(tmp_path: Path) -> None:
    """More events than are read from the store at once."""
    async with house(tmp_path) as here:
        await here.outbox.publish(call_events.started("long", 1))
        for number in range(2, 1_104):
            await here.outbox.publish(call_events.final("long", number, text=str(number)))
        await here.recovery.resume()
        (ended,) = await here.outbox.events_of("long", after=1_103)
    assert ended.body.count(b'"text"') == 1_102


async def test_a_call_that_had_only_begun_is_ended_without_a_conversation(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.outbox.publish(call_events.started("short", 1))
        await here.recovery.resume()
        (_, ended) = await here.outbox.events_of("short")
    assert ended.sequence == 2
    assert b'"conversation":[]' in ended.body


# ── Whole gateways ───────────────────────────────────────────────────────────────────────────────────────────────


async def killed(tmp_path: Path, **environ: Any) -> list[Any]:
    """Distinct events of a call of two tracks and 2.5 s whose gateway is killed, and started again."""
    async with PulseServer(recognise(hear=read_content)) as vendor, Receiver() as receiver:
        environ |= {"GATEWAY_STT": heard_by(vendor), "GATEWAY_WEBHOOK": posted_to(receiver)}
        async with GatewayProcess(tmp_path, **environ) as served, phone(await served.stream_url()) as caller:
            await caller.start("inbound", "outbound", tenant="acme")
            await caller.media(125)
            await caller.media(125, "outbound")
            await receiver.wait_for(5)
            await served.until_metric("gateway_journal_bytes", 40_000)
            served.send_signal(signal.SIGKILL)
            assert await served.exit_code() == -signal.SIGKILL
        async with GatewayProcess(tmp_path, **environ):
            await until_ended(receiver)
        # The delivery that the kill interrupted may be made again, with its id.
        return list({event["id"]: event for event in (each.verify(SECRET) for each in receiver.requests)}.values())


async def test_a_call_that_was_killed_is_transcribed_to_where_its_audio_ends(tmp_path: Path) -> None:
    events = await killed(tmp_path)
    assert [event["data"]["sequence"] for event in events] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [event["type"] for event in events].count("call.ended") == 1
    ended = events[-1]["data"]
    assert (ended["outcome"], ended["reason"], ended["complete"]) == ("indeterminate", "gateway_restarted", False)
    assert ended["call"]["metadata"] == {"tenant": "acme"}
    assert ended["duration_s"] == 2.5
    for track in ("inbound", "outbound"):
        finals = [event for event in events if event["data"].get("track") == track]
        assert words(finals) == [f"b{number}" for number in range(1, 126)]
        assert [recovered for _, _, recovered in spoken(finals)] == [False, False, True]
    assert [each["audio_s"] for each in ended["tracks"]] == [2.5, 2.5]


async def test_without_a_journal_a_call_that_was_killed_ends_with_what_had_been_said(tmp_path: Path) -> None:
    events = await killed_without_journal(tmp_path)
    assert [event["data"]["sequence"] for event in events] == [1, 2, 3, 4, 5, 6]
    ended = events[-1]["data"]
    assert (ended["outcome"], ended["reason"], ended["complete"]) == ("indeterminate", "gateway_restarted", False)
    assert ended["duration_s"] is None
    assert [(each["track"], each["finals"], each["audio_s"]) for each in ended["tracks"]] == [
        ("inbound", 2, None),
        ("outbound", 2, None),
    ]
    assert [each["start_s"] for each in ended["conversation"]] == [0.0, 0.0, 1.0, 1.0]


async def killed_without_journal(tmp_path: Path) -> list[Any]:
    async with PulseServer() as vendor, Receiver() as receiver:
        environ = {
            "GATEWAY_STT": heard_by(vendor),
            "GATEWAY_WEBHOOK": posted_to(receiver),
            "GATEWAY_JOURNAL": {"enabled": False},
        }
        async with GatewayProcess(tmp_path, **environ) as served, phone(await served.stream_url()) as caller:
            await caller.start("inbound", "outbound")
            await caller.media(100)
            await caller.media(100, "outbound")
            await receiver.wait_for(5)
            served.send_signal(signal.SIGKILL)
            await served.exit_code()
        async with GatewayProcess(tmp_path, **environ):
            await until_ended(receiver)
        return list({event["id"]: event for event in (each.verify(SECRET) for each in receiver.requests)}.values())


async def test_a_recogniser_that_is_down_for_the_whole_call_costs_no_word(tmp_path: Path) -> None:
    acts = [refuse(503)] * 2 + [recognise()]
    async with PulseServer(*acts) as vendor, Receiver() as receiver:
        stt = {**heard_by(vendor), "drain_s": 0.1}
        environ = {"GATEWAY_STT": stt, "GATEWAY_WEBHOOK": posted_to(receiver)}
        async with GatewayProcess(tmp_path, **environ) as served, phone(await served.stream_url()) as caller:
            await caller.start()
            await caller.media(150)
            await caller.stop()
            events = await until_ended(receiver)
    assert [(text, start_s) for text, start_s, _ in spoken(events)] == [
        ("second 1", 0.0),
        ("second 2", 1.0),
        ("second 3", 2.0),
    ]
    assert all(recovered for _, _, recovered in spoken(events))
    assert events[-1]["data"]["complete"] is True
    assert (events[-1]["data"]["outcome"], events[-1]["data"]["reason"]) == ("completed", "stop")


async def test_a_batch_service_hears_the_call_that_no_live_one_did(tmp_path: Path) -> None:
    async with PulseServer(refuse(503)) as vendor, batch_server() as service, Receiver() as receiver:
        stt = heard_by(vendor)
        stt["profiles"]["whole"] = {"kind": "pulse-batch", "url": service.url}
        environ = {
            "GATEWAY_STT": {**stt, "drain_s": 0.1, "recovery_profile": "whole"},
            "GATEWAY_WEBHOOK": posted_to(receiver),
        }
        async with GatewayProcess(tmp_path, **environ) as served, phone(await served.stream_url()) as caller:
            await caller.start()
            await caller.media(60)
            await caller.stop()
            events = await until_ended(receiver)
    (request,) = service.requests
    assert request.body[:4] == b"RIFF"
    assert spoken(events) == [("Call me back.", 0.1, True)]
    assert events[-1]["data"]["complete"] is True


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_shutdown_in_mid_call_loses_no_word(tmp_path: Path, signals: int) -> None:
    """The second signal cuts everything off: what no recogniser had heard is heard after the next start."""
    async with PulseServer(recognise(hear=read_content)) as vendor, Receiver() as receiver:
        environ = {
            "GATEWAY_STT": heard_by(vendor),
            "GATEWAY_WEBHOOK": posted_to(receiver),
            "GATEWAY_DRAIN_TIMEOUT_S": "0" if signals == 1 else "60",
        }
        async with GatewayProcess(tmp_path, **environ) as served, phone(await served.stream_url()) as caller:
            await caller.start()
            await caller.media(125)
            await receiver.wait_for(3)
            served.send_signal(signal.SIGTERM)
            if signals == 2:
                await served.wait_for_log("gateway_draining")
                served.send_signal(signal.SIGTERM)
            await served.exit_code()
        if signals == 2:
            async with GatewayProcess(tmp_path, **environ):
                await until_ended(receiver)
        events = list({each.event["id"]: each.event for each in receiver.requests}.values())
    assert words(events) == [f"b{number}" for number in range(1, 126)]
    assert events[-1]["type"] == "call.ended"
