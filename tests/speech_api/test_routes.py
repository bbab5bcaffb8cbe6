"""The door: who is let in, and how the others are told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.events import RecognizerRequest
from gateway.speech_api.routes import ROUTES
from gateway.telemetry import SPEECH_API_ERRORS
from telephony_codecs.formats import AudioFormat
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.speech_server import HEADERS, TOKEN, speech_server


class Refusal:
    """What a client sees that is not let in."""

    def __init__(self, status: int, headers: Mapping[str, str], body: dict[str, Any]) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.code = body["error_code"]
        self.message = body["message"]


async def refused(url: str, headers: dict[str, str] | None = HEADERS) -> Refusal:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, additional_headers=headers)
    response = caught.value.response
    return Refusal(response.status_code, response.headers, json.loads(response.body or b""))


def connected(url: str) -> connect:
    return connect(url, additional_headers=HEADERS)


async def let_in(url: str, headers: dict[str, str] | None = None) -> None:
    async with connect(url, additional_headers=headers) as socket:
        await socket.send('{"type":"close_stream"}')
        assert json.loads(await socket.recv())["is_last"]


@pytest.mark.parametrize("path", sorted(path for path, (name, _) in ROUTES.items() if name != "slng"))
async def test_every_path_of_the_pulse_family_is_served(path: str) -> None:
    async with speech_server(ScriptedRecognizers()) as server:
        await let_in(f"ws://{server.host}{path}?model=pulse&token={TOKEN}")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/stt/slng/deepgram/nova:3-en",
        "/v1/stt/slng/deepgram/nova%3A3-en",
        "/v1/stt/slng/deepgram/nova%3a3-en",
        "/v1/bridges/unmute/stt/slng/deepgram/nova:3-en",
        "/v1/bridges/unmute/stt/slng/deepgram/nova%3A3-en",
        "/v1/bridges/unmute/stt/any/model:at-all",
    ],
)
async def test_slng_is_served_whichever_way_the_colon_is_written(path: str) -> None:
    async with speech_server(ScriptedRecognizers()) as server, connected(f"ws://{server.host}{path}") as socket:
        await socket.send('{"type":"init","config":{}}')
        assert json.loads(await socket.recv())["type"] == "ready"


async def test_other_models_of_slng_are_not_found() -> None:
    async with speech_server(ScriptedRecognizers()) as server:
        with pytest.raises(InvalidStatus) as caught:
            await connected(f"ws://{server.host}/v1/stt/slng/deepgram/nova-3")
    assert caught.value.response.status_code == 404


async def test_refusals_of_slng_have_the_vendors_codes() -> None:
    async with speech_server(ScriptedRecognizers(), max_sessions=1) as server:
        wrong = await refused(server.slng(), {"Authorization": "Bearer wrong"})
        async with connected(server.slng()):
            late = await refused(server.slng())
    assert (wrong.status, wrong.body["code"]) == (401, "auth_error")
    assert (late.status, late.body["code"]) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize(
    "headers", [None, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}], ids=str
)
async def test_without_the_right_key_the_answer_is_401_before_the_upgrade(headers: dict[str, str] | None) -> None:
    async with speech_server(recognizers := ScriptedRecognizers()) as server:
        refusal = await refused(server.live(), headers)
    assert (refusal.status, refusal.code) == (401, "unauthorized")
    assert recognizers.sessions == []


async def test_a_wrong_key_in_the_query_is_refused() -> None:
    async with speech_server(ScriptedRecognizers()) as server:
        assert (await refused(server.get_text("token=wrong"), None)).status == 401


async def test_the_header_goes_before_the_query() -> None:
    async with speech_server(ScriptedRecognizers()) as server:
        assert (await refused(server.get_text(f"token={TOKEN}"), {"Authorization": "Bearer wrong"})).status == 401


async def test_a_key_that_is_no_text_is_merely_wrong() -> None:
    async with speech_server(ScriptedRecognizers()) as server:
        assert (await refused(server.get_text("token=%ff%fe\u00e9"), None)).status == 401


@pytest.mark.parametrize("query", [f"token={TOKEN}", f"api_key={TOKEN}"])
async def test_browsers_bring_their_key_in_the_query(query: str) -> None:
    async with speech_server(ScriptedRecognizers()) as server:
        await let_in(server.get_text(query))


async def test_an_anonymous_server_lets_in_clients_without_a_key() -> None:
    async with speech_server(ScriptedRecognizers(), anonymous=True) as server:
        await let_in(server.get_text())


async def test_an_anonymous_server_still_says_that_a_key_is_wrong() -> None:
    async with speech_server(ScriptedRecognizers(), anonymous=True) as server:
        assert (await refused(server.get_text(), {"Authorization": "Bearer wrong"})).status == 401


async def test_a_bad_query_is_refused_before_the_upgrade_and_counted() -> None:
    before = SPEECH_API_ERRORS.labels("pulse", "bad_parameter")._value.get()
    async with speech_server(ScriptedRecognizers()) as server:
        refusal = await refused(server.get_text("sample_rate=11025"))
    assert (refusal.status, refusal.code) == (400, "bad_parameter")
    assert "sample_rate" in refusal.message
    assert SPEECH_API_ERRORS.labels("pulse", "bad_parameter")._value.get() == before + 1


async def test_pulse_pro_is_refused_on_live() -> None:
    async with speech_server(ScriptedRecognizers()) as server:
        refusal = await refused(server.live().replace("model=pulse", "model=pulse-pro"))
    assert (refusal.status, refusal.code) == (400, "model_not_streaming")
    assert "/waves/v1/stt/" in refusal.message


async def test_every_refusal_has_a_request_id() -> None:
    async with speech_server(ScriptedRecognizers()) as server:
        first, second = await refused(server.live(), None), await refused(server.live(), None)
    assert len({first.headers["x-request-id"], second.headers["x-request-id"], ""}) == 3


async def test_one_session_too_many_is_told_when_to_come_again() -> None:
    async with speech_server(ScriptedRecognizers(), max_sessions=1) as server, connected(server.live()):
        refusal = await refused(server.live())
    assert (refusal.status, refusal.code) == (429, "too_many_sessions")
    assert int(refusal.headers["retry-after"]) > 0


async def test_a_place_is_free_again_after_the_session() -> None:
    recognizers = ScriptedRecognizers()
    async with speech_server(recognizers, max_sessions=1) as server:
        for number in range(3):
            await let_in(server.live(), HEADERS)
            await recognizers.sessions[number].closed.wait()
            assert server.api.active == 0


async def test_a_recogniser_that_refuses_is_a_503_before_the_upgrade() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = RecognizerUnavailable("secret", code="no_capacity", retry_after_s=6.5)
    async with speech_server(recognizers) as server:
        refusal = await refused(server.live())
    assert (refusal.status, refusal.code, refusal.headers["retry-after"]) == (503, "no_capacity", "7")
    assert "secret" not in refusal.message


async def test_a_recogniser_that_makes_no_sense_is_a_503_that_does_not_invite_to_come_again() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = RecognizerProtocolError("secret")
    async with speech_server(recognizers) as server:
        refusal = await refused(server.live())
    assert (refusal.status, refusal.code) == (503, "recognizer_protocol_error")
    assert "retry-after" not in refusal.headers


async def test_a_final_refusal_does_not_invite_to_come_again() -> None:
    recognizers = ScriptedRecognizers()
    recognizers.refusal = RecognizerUnavailable("wrong key", retryable=False)
    async with speech_server(recognizers) as server:
        assert "retry-after" not in (await refused(server.live())).headers


async def test_while_draining_nobody_is_let_in() -> None:
    async with speech_server(ScriptedRecognizers(), is_draining=True) as server:
        refusal = await refused(server.live())
    assert (refusal.status, refusal.code) == (503, "draining")


async def test_a_plain_request_is_told_to_upgrade() -> None:
    async with (
        speech_server(recognizers := ScriptedRecognizers()) as server,
        aiohttp.request("GET", server.live(scheme="http"), headers=HEADERS) as response,
    ):
        assert response.status == 426
    assert recognizers.sessions == []


async def test_the_recogniser_is_opened_for_the_audio_that_its_profile_wants() -> None:
    wanted = AudioFormat.parse("linear16-16000")
    recognizers = ScriptedRecognizers(format=wanted)
    async with speech_server(recognizers) as server:
        await let_in(server.live("encoding=mulaw&sample_rate=8000&language=en&eou_timeout_ms=500"), HEADERS)
    request = recognizers.sessions[0].request
    assert (request.format, request.language, request.eou_timeout_ms) == (wanted, "en", 500)


class _Slow(ScriptedRecognizers):
    """Opens only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.granted = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self, profile: str, request: RecognizerRequest) -> AsyncIterator[ScriptedRecognizer]:
        self.asked.set()
        await self.granted.wait()
        async with super().open(profile, request) as session:
            yield session


async def test_a_client_that_leaves_before_the_upgrade_holds_nothing() -> None:
    recognizers = _Slow()
    async with asyncio.timeout(5), speech_server(recognizers) as server, asyncio.TaskGroup() as tasks:
        client = tasks.create_task(let_in(server.live(), HEADERS))
        await recognizers.asked.wait()
        client.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await client
        recognizers.granted.set()
        await (await recognizers.session()).closed.wait()
        assert server.api.active == 0
