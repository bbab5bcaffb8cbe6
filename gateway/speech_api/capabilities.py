"""
What each served route honours, and what it accepts without effect: `GET /api/capabilities`.

Three things decide: the route's protocol, the engine behind it, and the gateway between them. Parameters that clients
of the vendor send are accepted everywhere, so that programs run unchanged; this page says which of them do something.
"""

from collections.abc import Mapping
from typing import Any

from gateway.config import BATCH_KINDS

_GATEWAY = ("encoding", "sample_rate", "word_timestamps", "sentence_timestamps")
_ENGINE = ("language", "endpointing", "eou_timeout_ms", "endpointing_timeout", "max_words", "finalize_on_words")
_NOBODY = (
    *("format", "punctuate", "capitalize", "itn_normalize", "numerals", "keywords", "diarize"),
    *("redact_pii", "redact_pci", "external_session_id"),
)
STREAMING: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pulse": ((*_GATEWAY, "vad_events", "vad"), (*_ENGINE, *_NOBODY, "full_transcript")),
    "live": (("model", *_GATEWAY, "full_transcript", "vad_events", "vad"), (*_ENGINE, *_NOBODY)),
    "lightning": (_GATEWAY, (*_ENGINE, *_NOBODY, "full_transcript")),
    "slng": (
        ("encoding", "sample_rate", "enable_partials", "enable_partial_transcripts", "enable_vad"),
        (
            *("language", "vad_min_silence_duration_ms", "vad_threshold", "vad_speech_pad_ms"),
            *("enable_diarization", "min_speakers", "max_speakers"),
        ),
    ),
}
"""By name of the route: what the gateway sees to, and what it passes on or ignores."""
_PULSE_ENGINE = frozenset((*_ENGINE, "vad_min_silence_duration_ms"))
_ENGINES: Mapping[str, frozenset[str]] = {
    "local": _PULSE_ENGINE - {"language"},  # whatever the language, it hears English
    "pulse": _PULSE_ENGINE,
    "pulse-live": _PULSE_ENGINE,
}
_OTHER_ENGINES = _PULSE_ENGINE - {"max_words", "finalize_on_words"}

_RECORDED = ("encoding", "sample_rate", "word_timestamps", "url")
_RECORDED_ENGINE = (
    *("language", "diarize", "diarization", "gender_detection", "emotion_detection"),
    *("format", "punctuate", "capitalize", "itn_normalize", "redact_pii", "redact_pci"),
)
_RECORDED_NOBODY = ("age_detection",)
_PRO_LACKS = frozenset({"diarize", "diarization", "gender_detection", "emotion_detection"})


def streaming_route(path: str, name: str, kind: str) -> dict[str, Any]:
    """
    What a WebSocket route does.

    Args:
        path, name: of the route.
        kind: of the profile behind it.
    """
    gateway, others = STREAMING[name]
    engine = _ENGINES.get(kind, _OTHER_ENGINES)
    honoured = [*gateway, *(each for each in others if each in engine)]
    return _entry("GET", path, "websocket", kind, honoured, [each for each in others if each not in engine])


def recorded_route(path: str, kind: str, *, is_unified: bool) -> dict[str, Any]:
    """What a route for recordings does; `kind` is that of the profile behind it."""
    if kind in BATCH_KINDS:
        lacks = _PRO_LACKS if kind == "pulse-pro-batch" else frozenset()
        engine = [each for each in _RECORDED_ENGINE if each not in lacks]
    else:
        engine = [] if kind == "local" else ["language"]
    ignored = [each for each in (*_RECORDED_ENGINE, *_RECORDED_NOBODY) if each not in engine]
    honoured = [*(("model",) if is_unified else ()), *_RECORDED, *engine]
    return {**_entry("POST", path, "http", kind, honoured, ignored), "refused": ["webhook_url"]}


def _entry(
    method: str, path: str, transport: str, kind: str, honoured: list[str], ignored: list[str]
) -> dict[str, Any]:
    return {
        "method": method,
        "path": path,
        "transport": transport,
        "engine": kind,
        "honoured": sorted(honoured),
        "accepted_not_honoured": sorted(ignored),
    }
