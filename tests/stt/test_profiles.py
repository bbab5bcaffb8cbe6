"""Sessions by profile name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from gateway.config import BATCH_KINDS, SttProfile
from gateway.errors import RecognizerUnavailable
from gateway.events import Final, Finished, RecognizerEvent, RecognizerRequest
from gateway.stt.base import Recognizer, Recognizers
from gateway.stt.profiles import PROTOCOLS, ProfiledRecognizers
from telephony_codecs.formats import AudioFormat
from tests.support.pulse_server import KEY, PulseServer

MULAW = AudioFormat.parse("mulaw-8000")
ALAW = AudioFormat.parse("alaw-8000")


class SilentRecognizer:
    """Hears nothing."""

    async def send(self, audio: bytes) -> None: ...
    async def finalize(self) -> None: ...
    async def keepalive(self) -> None: ...
    async def end(self) -> None: ...

    async def events(self) -> AsyncIterator[RecognizerEvent]:
        yield Finished()


class Local:
    """Opens local sessions, and remembers for what."""

    def __init__(self) -> None:
        self.requests: list[RecognizerRequest] = []

    @asynccontextmanager
    async def open(self, request: RecognizerRequest) -> AsyncIterator[Recognizer]:
        self.requests.append(request)
        yield SilentRecognizer()


def recognizers(local: Local | None = None, **profiles: SttProfile) -> Recognizers:
    return ProfiledRecognizers(profiles, (local or Local()).open)


def request(**wanted: Any) -> RecognizerRequest:
    return RecognizerRequest(format=MULAW, **wanted)


def test_every_kind_that_can_be_configured_can_be_opened() -> None:
    kinds = set(get_args(SttProfile.model_fields["kind"].annotation))
    assert kinds == {*PROTOCOLS, *BATCH_KINDS, "local"}


def test_the_local_recogniser_takes_audio_as_it_is() -> None:
    assert recognizers(mine=SttProfile(kind="local")).audio_format("mine", ALAW) == ALAW


def test_a_vendor_is_sent_the_form_that_its_profile_names() -> None:
    vendor = SttProfile(kind="pulse", url="wss://h/p", audio="linear16-16000")
    assert recognizers(vendor=vendor).audio_format("vendor", MULAW) == AudioFormat.parse("linear16-16000")


@pytest.mark.parametrize(("asked", "spoken"), [(None, "de"), ("fr", "fr")])
async def test_the_local_recogniser_is_asked_for_the_profiles_language_unless_the_call_names_one(
    asked: str | None, spoken: str
) -> None:
    local = Local()
    async with recognizers(local, mine=SttProfile(kind="local", language="de")).open("mine", request(language=asked)):
        pass
    assert local.requests == [request(language=spoken)]


@pytest.mark.parametrize(("asked", "spoken"), [(None, "de"), ("fr", "fr")])
async def test_a_vendor_is_asked_for_the_profiles_language_unless_the_call_names_one(
    asked: str | None, spoken: str
) -> None:
    async with PulseServer() as server:
        vendor = SttProfile(kind="pulse-live", url=server.url, api_key=SecretStr(KEY), language="de")
        async with recognizers(vendor=vendor).open("vendor", request(language=asked)):
            await server.until(lambda: len(server.sessions) == 1)
        assert server.sessions[0].query["language"] == spoken


async def test_a_vendors_session_recognises_and_ends() -> None:
    async with PulseServer() as server:
        vendor = SttProfile(kind="pulse-live", url=server.url, api_key=SecretStr(KEY))
        async with recognizers(vendor=vendor).open("vendor", request()) as recognizer:
            await recognizer.send(bytes(8000))
            await recognizer.end()
            finals = [event.text async for event in recognizer.events() if isinstance(event, Final)]
    assert finals == ["second 1"]


async def test_placeholders_of_the_url_reach_the_vendor_filled() -> None:
    async with PulseServer() as server:
        vendor = SttProfile(kind="pulse-live", url=f"{server.url}?call={{call_id}}", api_key=SecretStr(KEY))
        async with recognizers(vendor=vendor).open("vendor", request(call_id="call_7")):
            await server.until(lambda: len(server.sessions) == 1)
        assert server.sessions[0].query["call"] == "call_7"


async def test_an_unknown_profile_is_unavailable_and_not_tried_again() -> None:
    with pytest.raises(RecognizerUnavailable) as raised:
        async with recognizers().open("nobody", request()):
            pass
    assert (raised.value.code, raised.value.retryable) == ("unknown_profile", False)


def test_the_audio_form_of_an_unknown_profile_is_unavailable() -> None:
    with pytest.raises(RecognizerUnavailable):
        recognizers().audio_format("nobody", MULAW)
