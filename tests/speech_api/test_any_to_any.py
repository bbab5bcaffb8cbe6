"""
Any served protocol in front of any vendor's: a client, our server, our client, and a vendor, each over real sockets.

The vendor is our own speech API again, with a scripted recogniser behind it.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect

from gateway.config import SttProfile
from gateway.events import Final, Finished, Partial, RecognizerRequest, Word
from gateway.stt.base import Recognizer
from gateway.stt.profiles import ProfiledRecognizers
from telephony_codecs.formats import AudioFormat
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.speech_server import HEADERS, TOKEN, SpeechServer, speech_server

AUDIO = bytes(range(250)) * 128  # a second of 16 kHz linear16
FIRST = Final(
    text="Cancel my order.",
    start_s=0.5,
    end_s=1.5,
    words=(Word(word="Cancel", start_s=0.5, end_s=0.75), Word(word="order.", start_s=1.0, end_s=1.5)),
    language="en",
    from_finalize=True,
)
INIT = '{"type":"init","config":{"language":"en","sample_rate":16000,"encoding":"linear16"}}'
QUERY = "language=en&encoding=linear16&sample_rate=16000&word_timestamps=true"
CLIENTS = {
    "pulse": (lambda server: server.get_text(QUERY), "close_stream"),
    "live": (lambda server: server.live(QUERY), "close_stream"),
    "lightning": (lambda server: server.lightning(QUERY), "end"),
    "slng": (SpeechServer.slng, "close"),
}
VENDORS = {
    "pulse": SpeechServer.get_text,
    "pulse-live": lambda server: server.live().removesuffix("&"),
    "lightning": SpeechServer.lightning,
    "slng": SpeechServer.slng,
}


def engine() -> ScriptedRecognizers:
    """Hears nothing but counts: a partial per piece, a final when flushed, another at the end."""
    return ScriptedRecognizers(
        on_audio=lambda _session, _audio: [Partial(text="cancel my")],
        on_finalize=lambda _session: [FIRST],
        on_end=_last,
    )


def _last(session: ScriptedRecognizer) -> list[Any]:
    thanks = Final(text="Thanks.", language="en")
    return [thanks, Finished()] if "finalize" in session.calls else [FIRST, thanks, Finished()]


@asynccontextmanager
async def chain(kind: str, engine: ScriptedRecognizers) -> AsyncIterator[SpeechServer]:
    """Our server in front of a vendor of this kind."""
    async with speech_server(engine) as vendor:
        profile = SttProfile(
            kind=kind, url=VENDORS[kind](vendor), api_key=SecretStr(TOKEN), audio="linear16-16000", language="en"
        )
        recognizers = ProfiledRecognizers({"vendor": profile}, _no_local)
        async with speech_server(recognizers, profile="vendor") as server:
            yield server


def _no_local(_request: RecognizerRequest) -> AbstractAsyncContextManager[Recognizer]:
    raise AssertionError("no profile is local")


@asynccontextmanager
async def entered(name: str, server: SpeechServer) -> AsyncIterator[ClientConnection]:
    url, _ = CLIENTS[name]
    async with connect(url(server), additional_headers=HEADERS) as socket:
        if name == "slng":
            await socket.send(INIT)
            assert json.loads(await socket.recv())["type"] == "ready"
        yield socket


def is_final(message: dict[str, Any]) -> bool:
    return message.get("is_final", message.get("type") == "final_transcript")


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_of_one_system_is_heard_by_another(name: str, kind: str) -> None:
    scripted = engine()
    async with chain(kind, scripted) as server, entered(name, server) as socket:
        for at in range(0, len(AUDIO), 3200):
            await socket.send(AUDIO[at : at + 3200])
        partial = json.loads(await socket.recv())
        await socket.send(json.dumps({"type": CLIENTS[name][1]}))
        told = [json.loads(message) async for message in socket]
    finals = [message for message in told if is_final(message) and message["transcript"]]
    assert [message["transcript"] for message in finals] == ["Cancel my order.", "Thanks."]
    assert (partial["transcript"], is_final(partial)) == ("cancel my", False)
    words = finals[0].get("words") or finals[0]["word_timestamps"]
    assert [(word["word"], word["start"], word["end"]) for word in words] == [
        ("Cancel", 0.5, 0.75),
        ("order.", 1.0, 1.5),
    ]
    assert finals[0]["language"] == "en"
    assert socket.close_code == 1000
    session = scripted.sessions[0]
    assert session.audio == AUDIO
    assert (session.request.format, session.request.language) == (AudioFormat.parse("linear16-16000"), "en")
    assert session.calls[-1] == "end"


@pytest.mark.parametrize("kind", [kind for kind in VENDORS if kind != "lightning"])  # which has no way to flush
@pytest.mark.parametrize("name", CLIENTS)
async def test_finalize_goes_all_the_way_and_the_session_goes_on(name: str, kind: str) -> None:
    scripted = engine()
    async with chain(kind, scripted) as server, entered(name, server) as socket:
        await socket.send(AUDIO)
        await socket.send('{"type":"finalize"}')
        while not is_final(final := json.loads(await socket.recv())):
            pass
        assert (final["transcript"], final["from_finalize"]) == ("Cancel my order.", True)
        await socket.send(AUDIO)
        await socket.send(json.dumps({"type": CLIENTS[name][1]}))
        told = [json.loads(message) async for message in socket]
    assert [message["transcript"] for message in told if is_final(message) and message["transcript"]] == ["Thanks."]
    assert scripted.sessions[0].audio == AUDIO * 2
