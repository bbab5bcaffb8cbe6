"""After a call: `call.transcript`, and `call.ended` last whatever happens."""

import asyncio
import os
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config import JournalSettings, PostCallSettings, RecordingSettings
from gateway.errors import RecognizerUnavailable
from gateway.events import CallEnded, CallTranscript, RecordingRequest, RecordingTranscript
from gateway.journal import Journal
from gateway.post_call import PostCall
from gateway.server import serving
from tests.support.batch_server import batch_server
from tests.support.phone import Line, line
from tests.support.upload_server import TRANSCRIPT
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import FAST_ENGINE, phone, posted_to, settings, until_ended

NOW = 1_800_000_000.0


class Recordings:
    """Looks at the recording it is given, then does as told."""

    def __init__(self, act: Callable[[], Awaitable[RecordingTranscript]]) -> None:
        self._act = act
        self.requests: list[RecordingRequest] = []
        self.asked = asyncio.Event()
        self.shape: tuple[int, int, int] = (0, 0, 0)

    async def transcribe(
        self, _profile: str, recording: Path, request: RecordingRequest, **_others: object
    ) -> RecordingTranscript:
        self.requests.append(request)
        self.asked.set()
        with wave.open(str(recording)) as file:
            self.shape = (file.getnchannels(), file.getframerate(), file.getnframes())
        return await self._act()


async def answered() -> RecordingTranscript:
    return TRANSCRIPT


async def refused() -> RecordingTranscript:
    raise RecognizerUnavailable("no", code="stt_refused_503")


async def broken() -> RecordingTranscript:
    raise ZeroDivisionError


async def never() -> RecordingTranscript:
    await asyncio.Event().wait()
    raise AssertionError


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@asynccontextmanager
async def recorded_line(
    folder: Path, recordings: Recordings, *, profile: str | None = "batch", kept: bool = False, **changes: Any
) -> AsyncIterator[Line]:
    settings = PostCallSettings(profile=profile, **changes)
    post_call = PostCall(settings, RecordingSettings(enabled=kept), recordings, folder, apart=False)
    async with (
        Journal(folder / "journal", JournalSettings()) as journal,
        line(post_call=post_call, journal=journal) as server,
    ):
        yield server


async def call(server: Line, *, tracks: tuple[str, ...] = ("inbound", "outbound"), **parameters: str) -> None:
    async with server.phone() as platform:
        await platform.start(*tracks, **parameters)
        for track in tracks:
            await platform.media(10, track)
        await platform.stop()
        await server.sink.wait_for(CallEnded)


async def test_the_transcript_comes_before_the_end_which_stays_last(tmp_path: Path) -> None:
    recordings = Recordings(answered)
    async with recorded_line(tmp_path, recordings) as server:
        await call(server, gw_language="de")
    *_, transcript, ended = server.sink.events
    assert isinstance(transcript, CallTranscript)
    assert isinstance(ended, CallEnded)
    assert transcript.sequence is not None
    assert ended.sequence == transcript.sequence + 1
    assert (transcript.provider, transcript.text, transcript.words) == ("batch", "Call me back.", TRANSCRIPT.words)
    assert recordings.shape == (2, 8000, 1600)
    (request,) = recordings.requests
    assert (request.language, request.word_times, request.diarize) == ("de", True, True)


async def test_nothing_is_left_of_a_call_that_is_over(tmp_path: Path) -> None:
    async with recorded_line(tmp_path, Recordings(answered)) as server:
        await call(server)
    assert files(tmp_path) == []


async def test_a_recording_is_kept_and_named_in_the_end(tmp_path: Path) -> None:
    async with recorded_line(tmp_path, Recordings(answered), profile=None, kept=True) as server:
        await call(server)
    (ended,) = server.sink.of(CallEnded)
    assert ended.recording == "call_1.wav"
    with wave.open(str(tmp_path / "recordings" / ended.recording)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 8000, 1600)


async def test_a_recording_that_is_kept_can_be_transcribed_too(tmp_path: Path) -> None:
    async with recorded_line(tmp_path, Recordings(answered), kept=True) as server:
        await call(server)
    assert len(server.sink.of(CallTranscript)) == 1
    assert files(tmp_path) == ["recordings/call_1.wav"]


async def test_a_recording_that_is_too_long_is_not_transcribed(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with recorded_line(tmp_path, Recordings(answered), max_minutes=0.001) as server:
            await call(server)
    assert [entry["code"] for entry in logs if entry["event"] == "post_call_transcript_missing"] == ["too_long"]


def lay_down(folder: Path, **ages_days: int) -> None:
    folder.mkdir()
    for name, age_days in ages_days.items():
        (folder / f"{name}.wav").touch()
        os.utime(folder / f"{name}.wav", (NOW, NOW - age_days * 86_400))


async def test_old_recordings_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    lay_down(folder, call_old=31, call_new=29, mine=31)
    settings = RecordingSettings(enabled=True, retention_days=30)
    recordings = Recordings(answered)
    post_call = PostCall(PostCallSettings(), settings, recordings, tmp_path, apart=False, clock=lambda: NOW)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            pruning = tasks.create_task(post_call.run())
            async with asyncio.timeout(5):
                while not logs:
                    await asyncio.to_thread(folder.stat)
            pruning.cancel()
    assert files(folder) == ["call_new.wav", "mine.wav"]
    assert logs[0] == {"event": "recordings_pruned", "files": 1, "log_level": "info"}


@pytest.mark.parametrize(
    ("act", "tracks", "code"),
    [(refused, ("inbound",), "stt_refused_503"), (never, ("inbound",), "timeout"), (answered, (), "no_audio")],
)
async def test_a_call_ends_without_its_transcript_where_there_is_none(
    tmp_path: Path, act: Callable[[], Awaitable[RecordingTranscript]], tracks: tuple[str, ...], code: str
) -> None:
    with capture_logs() as logs:
        async with recorded_line(tmp_path, Recordings(act), timeout_s=0.2) as server:
            await call(server, tracks=tracks)
    assert server.sink.of(CallTranscript) == []
    assert [entry["code"] for entry in logs if entry["event"] == "post_call_transcript_missing"] == [code]


async def test_a_bug_in_transcribing_the_recording_does_not_cost_the_call_its_end(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with recorded_line(tmp_path, Recordings(broken)) as server:
            await call(server)
    (ended,) = server.sink.of(CallEnded)
    assert (ended.outcome, ended.reason) == ("gateway_error", "internal_error")
    assert [entry["event"] for entry in logs].count("call_failed") == 1


async def test_draining_does_not_wait_for_a_transcript(tmp_path: Path) -> None:
    recordings = Recordings(never)
    async with recorded_line(tmp_path, recordings) as server, server.phone() as platform:
        await platform.start("inbound")
        await platform.media(10)
        await platform.stop()
        await platform.closed()
        async with asyncio.timeout(5):
            await recordings.asked.wait()
            await server.calls.drain(0.0, 4.0)
        (ended,) = server.sink.of(CallEnded)
    assert (ended.outcome, ended.reason) == ("completed", "stop")


def test_what_an_earlier_process_left_on_its_way_is_deleted(tmp_path: Path) -> None:
    for name in ("post_call", "recordings"):
        lay_down(tmp_path / name, call_1=0)
    PostCall(PostCallSettings(), RecordingSettings(), Recordings(answered), tmp_path, apart=False)
    assert files(tmp_path) == ["recordings/call_1.wav"]


async def test_a_whole_gateway_delivers_the_transcript_as_a_signed_webhook(tmp_path: Path) -> None:
    async with batch_server() as service, Receiver() as receiver:
        tree = settings(
            tmp_path,
            webhook=posted_to(receiver),
            post_call={"profile": "whole"},
            stt={"profiles": {"whole": {"kind": "pulse-batch", "url": service.url}}},
        )
        async with serving(tree, engine=FAST_ENGINE) as gateway, phone(gateway.stream_url) as platform:
            await platform.start("inbound", "outbound")
            await platform.media(10)
            await platform.media(10, "outbound")
            await platform.stop()
            events = await until_ended(receiver)
    assert [event["type"] for event in events][-2:] == ["call.transcript", "call.ended"]
    data = events[-2]["data"]
    assert (data["provider"], data["text"], data["duration_s"]) == ("whole", "Call me back.", 1.2)
    assert data["utterances"] == [{"text": "Call me back.", "start_s": 0.1, "end_s": 1.0, "speaker": 0, "track": None}]
    (request,) = service.requests
    assert request.query == {"language": "en", "word_timestamps": "true", "diarize": "true"}
    assert request.body[:4] == b"RIFF"
