"""Recogniser sessions by profile name: which vendor's protocol, or the recogniser that runs here."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from msgspec import structs

from gateway.config import SttProfile
from gateway.errors import RecognizerUnavailable
from gateway.events import RecognizerRequest
from gateway.stt.assemblyai import AssemblyAIProtocol
from gateway.stt.base import Recognizer
from gateway.stt.client import open_session
from gateway.stt.deepgram import DeepgramProtocol
from gateway.stt.lightning import LightningProtocol
from gateway.stt.openai import OpenAIProtocol
from gateway.stt.pace import PacedRecognizer
from gateway.stt.protocol import ProtocolFactory
from gateway.stt.pulse import pulse, pulse_live
from gateway.stt.slng import SlngProtocol
from gateway.stt.soniox import SonioxProtocol
from gateway.stt.speechmatics import SpeechmaticsProtocol
from gateway.stt.vosk import VoskProtocol
from telephony_codecs.formats import AudioFormat

LocalOpener: TypeAlias = Callable[[RecognizerRequest], AbstractAsyncContextManager[Recognizer]]

PROTOCOLS: Mapping[str, ProtocolFactory] = {
    "pulse": pulse,
    "pulse-live": pulse_live,
    "lightning": LightningProtocol,
    "slng": SlngProtocol,
    "deepgram": DeepgramProtocol,
    "assemblyai": AssemblyAIProtocol,
    "openai": OpenAIProtocol,
    "speechmatics": SpeechmaticsProtocol,
    "soniox": SonioxProtocol,
    "vosk": VoskProtocol,
}
"""Vendors' protocols by the `kind` of a profile; `local` is none of them."""
PACED = frozenset({"assemblyai", "soniox"})
"""Kinds whose vendors end a session that sends audio faster than it was spoken."""


class ProfiledRecognizers:
    """
    The `Recognizers` that the settings describe.

    Args:
        profiles: by name.
        local: opens a session of the recogniser on this machine, for profiles of kind `local`.
    """

    def __init__(self, profiles: Mapping[str, SttProfile], local: LocalOpener) -> None:
        self._profiles = profiles
        self._local = local

    def audio_format(self, profile: str, source: AudioFormat) -> AudioFormat:
        """
        The format that this profile's sessions want; the local recogniser takes any.

        Raises:
            RecognizerUnavailable: no profile of this name.
        """
        found = self._find(profile)
        return source if found.kind == "local" else found.format

    @asynccontextmanager
    async def open(self, profile: str, request: RecognizerRequest) -> AsyncIterator[Recognizer]:
        """
        Connect a session; the profile's language is spoken unless the request names one.

        Raises, on entering:
            RecognizerUnavailable: no profile of this name, refused, or not reached in time.
            RecognizerProtocolError: it answered, but not as its protocol says.
        """
        found = self._find(profile)
        async with self._session(found, request) as recognizer:
            yield PacedRecognizer(recognizer, request.format) if found.kind in PACED else recognizer

    def _session(self, profile: SttProfile, request: RecognizerRequest) -> AbstractAsyncContextManager[Recognizer]:
        if profile.kind == "local":
            return self._local(structs.replace(request, language=request.language or profile.language))
        if profile.is_batch:
            raise RecognizerUnavailable("the profile takes recordings only", code="not_streaming", retryable=False)
        # Vendors' protocols set the language themselves: the URL or the options may name one, too.
        return open_session(profile, PROTOCOLS[profile.kind](profile, request))

    def _find(self, name: str) -> SttProfile:
        profile = self._profiles.get(name)
        if profile is None:
            raise RecognizerUnavailable("no such speech profile", code="unknown_profile", retryable=False)
        return profile
