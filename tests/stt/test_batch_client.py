"""Batch profiles over real sockets: bounds, retries, and no secrets in errors."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config import SttProfile
from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import RecordingRequest
from gateway.stt import batch_client
from gateway.stt.batch_client import ATTEMPTS, BatchClient
from tests.support.batch_server import KEY, Answer, BatchServer, batch_server

AUDIO = bytes(range(256)) * 4000


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "call.wav"
    path.write_bytes(AUDIO)
    return path


class Pauses(list[float]):
    """Instead of sleeping."""

    async def sleep(self, seconds: float) -> None:
        self.append(seconds)


async def transcribe(server: BatchServer, recording: Path, pauses: Pauses | None = None, **profile: Any) -> str:
    given = SttProfile.model_validate({"kind": "pulse-batch", "url": server.url, "api_key": KEY, **profile})
    client = BatchClient(sleep=(pauses if pauses is not None else Pauses()).sleep, draw=lambda: 0.0)
    return (await client.transcribe(given, recording, RecordingRequest(word_times=True))).text


async def test_the_file_is_sent_as_it_is_with_its_length_and_the_key(recording: Path) -> None:
    async with batch_server() as server:
        assert await transcribe(server, recording) == "Call me back."
    (request,) = server.requests
    assert request.body == AUDIO
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Content-Length"] == str(len(AUDIO))
    assert request.query == {"language": "en", "word_timestamps": "true"}


async def test_it_tries_again_with_growing_pauses_and_the_whole_file(recording: Path) -> None:
    pauses = Pauses()
    async with batch_server(Answer(503), Answer(500), Answer()) as server:
        assert await transcribe(server, recording, pauses) == "Call me back."
    assert pauses == [0.5, 1.0]
    assert {request.body for request in server.requests} == {AUDIO}


async def test_a_longer_wait_that_the_service_asks_for_is_kept_within_reason(recording: Path) -> None:
    pauses = Pauses()
    late, later = Answer(429, headers={"Retry-After": "7"}), Answer(429, headers={"Retry-After": "86400"})
    async with batch_server(late, later, Answer()) as server:
        await transcribe(server, recording, pauses)
    assert pauses == [7.0, 30.0]


async def test_it_gives_up_after_the_last_attempt(recording: Path) -> None:
    async with batch_server(Answer(503)) as server:
        with pytest.raises(RecognizerUnavailable) as caught:
            await transcribe(server, recording)
    assert (caught.value.code, len(server.requests)) == ("stt_refused_503", ATTEMPTS)


@pytest.mark.parametrize("status", [400, 401, 403, 413])
async def test_a_refusal_for_good_is_not_repeated(recording: Path, status: int) -> None:
    async with batch_server(Answer(status, b"sk_batch secret text")) as server:
        with pytest.raises(RecognizerUnavailable) as caught:
            await transcribe(server, recording)
    assert len(server.requests) == 1
    assert "secret" not in str(caught.value)


async def test_a_redirect_is_not_followed(recording: Path) -> None:
    async with batch_server() as elsewhere, batch_server(Answer(307, headers={"Location": elsewhere.url})) as server:
        with pytest.raises(RecognizerUnavailable) as caught:
            await transcribe(server, recording)
    assert (caught.value.code, elsewhere.requests) == ("stt_refused_307", [])


async def test_an_endless_answer_is_cut_off(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_client, "LARGEST_ANSWER_BYTES", 10_000)
    async with batch_server(Answer(200, b" " * 1_000_000)) as server:
        with pytest.raises(RecognizerProtocolError) as caught:
            await transcribe(server, recording)
    assert caught.value.code == "stt_answer_too_large"


async def test_nobody_there_is_unavailable_and_its_text_holds_neither_address_nor_key(recording: Path) -> None:
    async with batch_server() as server:
        pass
    with pytest.raises(RecognizerUnavailable) as caught:
        await transcribe(server, recording)
    assert caught.value.code == "stt_unreachable"
    assert not any(secret in str(caught.value) for secret in (KEY, "127.0.0.1"))
