"""The pre-recorded routes over real sockets: both forms, every refusal, nothing left behind."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config import BatchSettings, SttProfile
from gateway.errors import GatewayError, RecognizerProtocolError, RecognizerUnavailable
from gateway.events import Final, Finished, RecordingTranscript
from gateway.recordings import RecordingRefused
from gateway.speech_api import uploads
from gateway.stt.recordings import ProfiledRecordings
from tests.support import seeds
from tests.support.scripted_recognizer import ScriptedRecognizers
from tests.support.speech_server import HEADERS, TOKEN
from tests.support.upload_server import RecordingScript, upload_server
from tests.support.wav_file import wav

LEGACY = "/waves/v1/pulse/get_text"
UNIFIED = "/waves/v1/stt/?model=pulse&language=en"
AUDIO = wav(b"\1\0" * 16000)


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


async def post(base: str, path: str = LEGACY, data: Any = AUDIO, **how: Any) -> Answer:
    headers = how.pop("headers", HEADERS)
    async with (
        aiohttp.ClientSession() as session,
        session.post(base + path, headers=headers, **(how or {"data": data})) as answer,
    ):
        return Answer(answer.status, await answer.json(), answer.headers)


async def test_a_posted_file_is_answered_with_its_text_and_duration(tmp_path: Path) -> None:
    async with upload_server(tmp_path, script := RecordingScript()) as base:
        answer = await post(base)
    assert answer.status == 200
    assert answer.body == {
        "status": "success",
        "transcription": "Call me back.",
        "words": [],
        "utterances": [],
        "metadata": {"duration": 1.25, "fileSize": len(AUDIO)},
    }
    assert answer.headers["X-Request-Id"]
    assert script.heard[0][0] == AUDIO


async def test_words_and_utterances_come_when_word_timestamps_are_wanted(tmp_path: Path) -> None:
    async with upload_server(tmp_path, RecordingScript()) as base:
        body = (await post(base, LEGACY + "?word_timestamps=true")).body
    assert body["words"] == [{"start": 0.1, "end": 0.4, "word": "Call", "confidence": 0.99, "speaker": 1}]
    assert body["utterances"] == [{"start": 0.1, "end": 1.0, "text": "Call me back.", "speaker": 1}]


async def test_pulse_pro_answers_in_its_own_way(tmp_path: Path) -> None:
    async with upload_server(tmp_path, RecordingScript()) as base:
        body = (await post(base, "/waves/v1/stt/?model=pulse-pro&language=en&word_timestamps=true")).body
    assert body["words"] == [{"start": 0.1, "end": 0.4, "word": "Call", "confidence": 0.99}]
    assert (body["language"], body["totalBytes"], body["metadata"]["num_chunks"]) == ("en", len(AUDIO), 1)
    assert "utterances" not in body


async def test_what_is_asked_for_is_passed_on_under_either_name(tmp_path: Path) -> None:
    query = "?language=de&diarization=true&gender_detection=true&emotion_detection=True&age_detection=true&format=false"
    async with upload_server(tmp_path, script := RecordingScript()) as base:
        body = (await post(base, LEGACY + query)).body
    wanted = script.heard[0][1]
    assert (wanted.language, wanted.diarize, wanted.gender, wanted.emotion) == ("de", True, True, True)
    assert wanted.options == {"format": "false"}
    assert not {"gender", "emotions", "age"} & body.keys(), "what nobody said was made up"


async def test_what_the_engine_says_of_voices_is_passed_on(tmp_path: Path) -> None:
    transcript = RecordingTranscript(text="x", gender="female", emotions={"happiness": 0.8})
    async with upload_server(tmp_path, RecordingScript(transcript)) as base:
        body = (await post(base, LEGACY + "?gender_detection=true&emotion_detection=true")).body
        quiet = (await post(base)).body
    assert (body["gender"], body["emotions"]) == ("female", {"happiness": 0.8})
    assert not {"gender", "emotions"} & quiet.keys()


async def test_audio_without_a_container_is_what_the_query_says(tmp_path: Path) -> None:
    query = LEGACY + "?encoding=mulaw&sample_rate=8000"
    async with upload_server(tmp_path, script := RecordingScript()) as base:
        await post(base, query, b"\xff" * 800)
        await post(base, query, AUDIO)
    assert [str(wanted.headerless) for _, wanted in script.heard] == ["mulaw-8000", "None"]


async def test_silence_is_a_success_without_text(tmp_path: Path) -> None:
    recordings = ProfiledRecordings({"local": SttProfile(kind="local")}, ScriptedRecognizers(), BatchSettings())
    async with upload_server(tmp_path, recordings) as base:
        answer = await post(base, LEGACY + "?word_timestamps=true", wav(bytes(32000)))
    assert (answer.status, answer.body["transcription"], answer.body["words"]) == (200, "", [])
    assert answer.body["metadata"]["duration"] == 1.0


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_missing_key_and_a_wrong_one_have_the_shapes_of_their_path(tmp_path: Path) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    async with upload_server(tmp_path, script := RecordingScript()) as base:
        missing, bad = await post(base, headers={}), await post(base, headers=wrong)
        unified = await post(base, UNIFIED, headers={})
    assert (missing.status, missing.body) == (401, {"message": "an API key is required"})
    assert (bad.status, bad.body) == (401, {"error": "unauthorized"})
    assert (unified.status, {"error", "request_id"} <= unified.body.keys()) == (401, True)
    assert script.heard == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/waves/v1/stt/?language=en", "bad_model"),
        ("/waves/v1/stt/?model=whisper&language=en", "bad_model"),
        ("/waves/v1/stt/?model=pulse", "bad_parameter"),
        (UNIFIED + "&diarize=perhaps", "bad_parameter"),
        (UNIFIED + "&webhook_url=https://example.com/", "webhook_not_served"),
    ],
)
async def test_a_query_that_cannot_be_served_is_a_400(tmp_path: Path, path: str, code: str) -> None:
    async with upload_server(tmp_path, RecordingScript()) as base:
        answer = await post(base, path)
    assert (answer.status, answer.body["error_code"]) == (400, code)
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]


async def _in_pieces() -> AsyncIterator[bytes]:
    with contextlib.suppress(ConnectionError):
        for _ in range(40):
            yield b"\0" * 65536


@pytest.mark.parametrize("streamed", [False, True], ids=["announced", "unannounced"])
async def test_a_recording_that_is_too_large_is_a_400_or_413(tmp_path: Path, streamed: bool) -> None:
    def data() -> Any:
        return _in_pieces() if streamed else io.BytesIO(bytes((1 << 20) + 1))

    async with upload_server(tmp_path, script := RecordingScript(), batch={"max_mb": 1}) as base:
        legacy, unified = await post(base, data=data()), await post(base, UNIFIED, data=data())
    assert (legacy.status, unified.status) == (400, 413)
    assert legacy.body["errors"] == unified.body["error"] == "Audio data too large"
    assert (legacy.body["status"], legacy.body["message"]) == ("error", "Error handling audio data")
    assert script.heard == []


async def test_no_audio_is_a_400(tmp_path: Path) -> None:
    async with upload_server(tmp_path, RecordingScript()) as base:
        answer = await post(base, data=b"")
    assert (answer.status, answer.body["error_code"]) == (400, "no_audio")


async def test_what_is_not_audio_is_a_400_that_says_what_is_missing(tmp_path: Path) -> None:
    recordings = ProfiledRecordings({"local": SttProfile(kind="local")}, ScriptedRecognizers(), BatchSettings())
    async with upload_server(tmp_path, recordings) as base:
        answer = await post(base, data=b"not audio" * 1000)
    assert (answer.status, answer.body["error_code"]) == (400, "not_audio")
    assert "encoding and sample_rate" in answer.body["errors"]


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (RecognizerUnavailable("x", code="no_capacity", retry_after_s=6.5), 503, "7"),
        (RecognizerUnavailable("x", retryable=False), 503, None),
        (RecognizerUnavailable("x", code="stt_recording_too_large", retryable=False), 413, None),
        (RecognizerProtocolError("x"), 502, None),
        (RecordingRefused("x", code="too_long"), 400, None),
    ],
)
async def test_a_recogniser_that_fails_is_told_as_http(
    tmp_path: Path, error: GatewayError, status: int, retry_after: str | None
) -> None:
    async with upload_server(tmp_path, RecordingScript(error=error)) as base:
        answer = await post(base, UNIFIED)
    assert (answer.status, answer.headers.get("Retry-After")) == (status, retry_after)


async def test_recordings_take_places_like_any_session(tmp_path: Path) -> None:
    async with upload_server(tmp_path, RecordingScript(), max_sessions=1) as base, aiohttp.ClientSession() as client:
        async with client.ws_connect(base + LEGACY, headers=HEADERS):
            assert (await post(base)).status == 429
        while (await post(base)).status != 200:
            pass  # the session is given back once its end was said


async def test_an_upload_that_stalls_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_IDLE_S", 0.1)

    answered = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"x"
        await answered.wait()

    async with (
        upload_server(tmp_path, RecordingScript()) as base,
        aiohttp.ClientSession() as session,
        session.post(base + LEGACY, headers=HEADERS, data=stalls()) as answer,
    ):
        answered.set()
    assert answer.status == 408


async def test_what_a_killed_process_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("upload-abc", "mine"):
        (tmp_path / "uploads" / name).mkdir(parents=True)
    async with upload_server(tmp_path, RecordingScript()):
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["mine"]


async def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    async with upload_server(tmp_path, RecordingScript(error=RecognizerUnavailable("x"))) as base:
        await post(base)
        assert list((tmp_path / "uploads").iterdir()) == []


# ── URLs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def files(**content: bytes) -> AsyncIterator[str]:
    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=content[request.match_info["name"]])

    app = web.Application()
    app.router.add_get("/{name}", serve)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"


async def test_a_url_is_fetched_and_its_name_is_in_the_answer(tmp_path: Path) -> None:
    async with (
        files(call=AUDIO) as elsewhere,
        upload_server(tmp_path, script := RecordingScript(), batch={"fetch_private": True}) as base,
    ):
        answer = await post(base, json={"url": f"{elsewhere}/call?token=1"})
    assert answer.body["metadata"] == {"duration": 1.25, "fileSize": len(AUDIO), "filename": "call"}
    assert script.heard[0][0] == AUDIO


async def test_a_url_at_a_private_address_is_refused_by_default(tmp_path: Path) -> None:
    async with files(call=AUDIO) as elsewhere, upload_server(tmp_path, script := RecordingScript()) as base:
        answer = await post(base, json={"url": f"{elsewhere}/call"})
    assert (answer.status, answer.body["error_code"], script.heard) == (400, "blocked_address", [])


async def test_a_url_with_too_much_behind_it_is_too_large(tmp_path: Path) -> None:
    async with (
        files(call=bytes(2 << 20)) as elsewhere,
        upload_server(tmp_path, RecordingScript(), batch={"fetch_private": True, "max_mb": 1}) as base,
    ):
        assert (await post(base, UNIFIED, json={"url": f"{elsewhere}/call"})).status == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b'{"url":5}', b'{"link":"x"}', b'{"url":"\xff"}', b'{"x":' + b"[" * 60_000],
    ids=lambda body: str(body[:20]),
)
async def test_json_without_a_url_is_a_400(tmp_path: Path, body: bytes) -> None:
    async with upload_server(tmp_path, RecordingScript()) as base:
        answer = await post(base, data=body, headers={**HEADERS, "Content-Type": "application/json"})
    assert (answer.status, answer.body["error_code"]) == (400, "bad_json")


async def test_pulse_pro_takes_no_url(tmp_path: Path) -> None:
    async with upload_server(tmp_path, RecordingScript()) as base:
        answer = await post(base, "/waves/v1/stt/?model=pulse-pro&language=en", json={"url": "https://example.com/x"})
    assert (answer.status, answer.body["error_code"]) == (400, "url_not_served")


# ── The vendor's own programs ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "call.wav"
    path.write_bytes(AUDIO)
    return path


def live() -> ProfiledRecordings:
    """A live recogniser behind the routes."""
    final = Final(text="Hello, this is a test.", start_s=0.1, end_s=0.9)
    recognizers = ScriptedRecognizers(on_end=lambda _session: (final, Finished()))
    return ProfiledRecordings({"local": SttProfile(kind="local")}, recognizers, BatchSettings())


async def test_the_guides_program_for_files_prints_its_transcript(tmp_path: Path, recording: Path) -> None:
    async with upload_server(tmp_path, live()) as base:
        seed = await seeds.run(seeds.batch_file(base.partition("//")[2], recording), tmp_path, key=TOKEN)
    assert (seed.code, seed.output, seed.errors) == (0, "Hello, this is a test.\n", "")


async def test_the_guides_program_for_urls_prints_its_transcript(tmp_path: Path) -> None:
    async with files(call=AUDIO) as elsewhere, upload_server(tmp_path, live(), batch={"fetch_private": True}) as base:
        program = seeds.batch_url(base.partition("//")[2], f"{elsewhere}/call")
        seed = await seeds.run(program, tmp_path, key=TOKEN)
    assert (seed.code, seed.output, seed.errors) == (0, "Hello, this is a test.\n", "")


async def test_the_guides_request_for_every_feature_is_answered(tmp_path: Path, recording: Path) -> None:
    async with upload_server(tmp_path, live()) as base:
        seed = await seeds.run(seeds.batch_features(base.partition("//")[2], recording), tmp_path, key=TOKEN)
    assert (seed.code, seed.errors) == (0, "")
    assert '"utterances": [{"start": 0.1, "end": 0.9, "text": "Hello, this is a test."}]' in seed.output
