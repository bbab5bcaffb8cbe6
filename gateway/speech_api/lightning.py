"""
Smallest's older streaming path, server side: `/api/v1/lightning/get_text`, later `/waves/v1/lightning/get_text`.

A Pulse session as it was first documented: results have no `type` and no `status`, word times come as
`word_timestamps` without confidences, `language` is `en` unless the query says otherwise (`multi`: find out), and
`end` ends. The server closes by itself, because the vendor's program reads until it does. Later words of the family
(`finalize`, `close_stream`, `keepalive`) mean here what they mean on Pulse's `get_text`.

Source: Smallest, "Speech to Text (WebSocket)" of Lightning, read in 2026; the name of the later path from the
documentation's history.
"""

from collections.abc import Mapping

from msgspec import structs

from gateway.config import SpeechApiSettings
from gateway.speech_api.parameters import Parameters
from gateway.speech_api.pulse import PulseConfig, PulseSession, read_request

DEFAULT_LANGUAGE = "en"


def open_lightning(query: Mapping[str, str], settings: SpeechApiSettings, session_id: str, now: float) -> PulseSession:
    """
    A session of `/api/v1/lightning/get_text`.

    Raises:
        RequestRefused: 400, a parameter is malformed.
    """
    parameters = Parameters(query)
    request = read_request(parameters)
    config = PulseConfig(
        request=structs.replace(request, language=request.language or DEFAULT_LANGUAGE),
        typed=False,
        finalize=settings.finalize,
        finalize_grace_s=settings.finalize_grace_s,
        idle_timeout_s=settings.idle_timeout_s,
        word_fields=("word_timestamps",) if parameters.flag("word_timestamps") else (),
        word_confidence=False,
        utterances=parameters.flag("sentence_timestamps"),
        vad_events=False,
        full_transcript=True,
        transcription=False,
        transcript_on_errors=True,
    )
    return PulseSession(config, session_id, now)
