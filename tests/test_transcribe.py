"""`gateway transcribe`: files and URLs to text, captions and JSON, with an exit code for scripts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway import config_sources
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.transcribe import Job, run
from tests.support import whole_gateway
from tests.support.batch_server import Answer, batch_server
from tests.support.wav_file import wav
from tests.support.whole_gateway import FAST_ENGINE

AUDIO = wav(bytes(3200))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "call.wav"
    path.write_bytes(AUDIO)
    return path


def job(*sources: Path | str, **changes: Any) -> Job:
    given = {"profile": "batch", "style": "text", "language": None, "output": None, "at_once": 2} | changes
    return Job(sources=tuple(map(str, sources)), **given)


def settings(url: str = "http://127.0.0.1:1/", **tree: Any) -> Settings:
    profile = {"kind": "pulse-batch", "url": url}
    return config_sources.load(environ={}, flags={"stt": {"profiles": {"batch": profile}}, **tree})


async def test_one_file_goes_to_standard_output(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with batch_server() as server:
        assert await run(settings(server.url), job(recording)) == 0
    assert capsys.readouterr().out == "Call me back.\n"


async def test_several_files_go_to_files_of_their_own_under_names_that_tell_them_apart(
    recording: Path, tmp_path: Path
) -> None:
    flac = tmp_path / "call.flac"
    soundfile.write(flac, np.zeros(800, "<i2"), 8000)
    async with batch_server() as server:
        assert await run(settings(server.url), job(recording, flac, style="srt", output=tmp_path / "out")) == 0
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written.keys() == {"call.wav.srt", "call.flac.srt"}
    assert written["call.wav.srt"] == "1\n00:00:00,100 --> 00:00:01,100\nCall me back.\n"


async def test_json_names_source_profile_speakers_and_words(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with batch_server() as server:
        await run(settings(server.url), job(recording, style="json"))
    found = json.loads(capsys.readouterr().out)
    assert (found["profile"], found["duration_s"], found["text"]) == ("batch", 1.2, "Call me back.")
    (passage,) = found["passages"]
    assert (passage["speaker"], len(passage["words"])) == ("speaker 0", 3)


async def test_a_stereo_file_is_a_call_between_caller_and_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "call.wav", np.zeros((800, 2), "<i2"), 8000)
    async with batch_server() as server:
        await run(settings(server.url), job(tmp_path / "call.wav"))
    assert capsys.readouterr().out == "caller: Call me back.\nagent: Call me back.\n"


async def test_a_live_profile_does_where_there_is_no_batch(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(settings(), job(recording, profile="local"), engine=FAST_ENGINE) == 0
    assert capsys.readouterr().out.endswith("3200\n")


async def test_a_url_is_fetched_and_its_query_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(_request: web.Request) -> web.Response:
        return web.Response(body=AUDIO)

    app = web.Application()
    app.router.add_get("/call.wav", serve)
    async with TestServer(app, host="127.0.0.1") as elsewhere, batch_server() as server:
        url = f"{elsewhere.make_url('/call.wav')}?token=hunter2"
        assert await run(settings(server.url, batch={"fetch_private": True}), job(url, style="json")) == 0
    output = capsys.readouterr().out
    assert json.loads(output)["text"] == "Call me back."
    assert "hunter2" not in output


async def test_one_bad_file_costs_itself_and_the_exit_code(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.mp3").write_bytes(b"not audio" * 100)
    sources = (tmp_path / "bad.mp3", recording)
    assert await run(settings(), job(*sources, profile="local"), engine=FAST_ENGINE) == 1
    output, errors = capsys.readouterr()
    assert output.endswith("3200\n")
    assert "bad.mp3: the recording is not in a format that is known here" in errors


async def test_a_service_or_a_url_that_cannot_be_reached_is_exit_code_3(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with batch_server(Answer(401)) as server:
        assert await run(settings(server.url), job(recording, "http://127.0.0.1:1/private.wav")) == 3
    assert "the address is not a public one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"profile": "nowhere"}, "not defined"),
        ({"style": "srt"}, "need --output"),
    ],
)
async def test_what_cannot_work_is_said_before_anything_is_done(
    recording: Path, changes: dict[str, str], fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        await run(settings(), job(recording, recording, **changes))


async def test_a_file_that_is_not_there_is_exit_code_2(tmp_path: Path) -> None:
    code, _, errors = await whole_gateway.run("transcribe", str(tmp_path / "none.wav"))
    assert (code, "none.wav: no such file" in errors) == (2, True)


async def test_the_command_prints_the_transcript_and_nothing_else(recording: Path) -> None:
    async with batch_server(Answer(503, headers={"Retry-After": "0"}), Answer()) as server:
        environ = {
            "GATEWAY_STT__PROFILES__BATCH__KIND": "pulse-batch",
            "GATEWAY_STT__PROFILES__BATCH__URL": server.url,
            "GATEWAY_SPEECH_API__BATCH_PROFILE": "batch",
        }
        code, output, errors = await whole_gateway.run("transcribe", str(recording), **environ)
    assert (code, output) == (0, "Call me back.\n")
    assert "stt_recording_retried" in errors
