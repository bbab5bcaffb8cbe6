"""
What speech vendors answer, by kind of profile: valid conversations, as the documents of each have them, to be spoiled.

`opened` gives a protocol that has said its beginning and sent audio, so that answers meet it in the middle of its work.
"""

import json
from collections.abc import Mapping
from typing import Any

from gateway.config import AUDIO_FORMS_OF_KIND, SttProfile
from gateway.events import RecognizerRequest
from gateway.stt.profiles import PROTOCOLS
from gateway.stt.protocol import ClientProtocol
from telephony_codecs.formats import AudioFormat

_PULSE_WORD = {"word": "Book", "start": 0.2, "end": 0.5, "confidence": 0.97}
_PULSE: tuple[dict[str, Any], ...] = (
    {"type": "transcription", "status": "success", "session_id": "s", "transcript": "Bo", "is_final": False},
    {"type": "speech_started", "session_id": "s", "timestamp": 0.2},
    {"type": "transcription", "transcript": "Book", "is_final": True, "words": [_PULSE_WORD], "language": "en"},
    {"type": "speech_ended", "session_id": "s", "timestamp": 0.5},
    {"type": "transcription", "transcript": "it.", "is_final": True, "from_finalize": True, "words": [_PULSE_WORD]},
    {"type": "pong"},
    {"type": "error", "status": "error", "message": "worker died"},
    {"type": "transcription", "transcript": "", "is_final": True, "is_last": True, "full_transcript": "Book it."},
)
_NOVA = {
    "transcript": "Yes",
    "confidence": 0.8,
    "words": [{"word": "yes", "punctuated_word": "Yes", "start": 0.1, "end": 0.4}],
}
_SONIOX = {"text": "Good", "start_ms": 10, "end_ms": 90, "confidence": 0.97, "is_final": True, "language": "en"}
_SPOKEN = {"content": "Yes", "confidence": 0.9, "language": "en"}
_ITEM = "conversation.item.input_audio_transcription"

ANSWERS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "pulse": _PULSE,
    "pulse-live": _PULSE,
    "lightning": tuple({name: each[name] for name in each if name not in ("type", "status")} for each in _PULSE),
    "slng": (
        {"type": "ready", "session_id": "s"},
        {"type": "partial_transcript", "transcript": "Y", "confidence": 0.5},
        {"type": "final_transcript", "transcript": "Yes", "language": "en", "words": _NOVA["words"]},
        {"type": "Results", "channel": {"alternatives": [_NOVA]}, "is_final": True, "start": 0.0, "duration": 1.0},
        {"type": "utterance_end", "last_word_end": 0.4},
        {"type": "error", "code": "config_error", "data": {"code": "auth_error"}},
    ),
    "deepgram": (
        {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.1},
        {"type": "Results", "channel": {"alternatives": [_NOVA]}, "is_final": False, "start": 0.0, "duration": 1.0},
        {"type": "Results", "channel": {"alternatives": [_NOVA]}, "is_final": True, "speech_final": True, "start": 0.0},
        {"type": "Results", "channel": {"alternatives": [_NOVA]}, "is_final": True, "from_finalize": True},
        {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 2.4},
        {"type": "Error", "description": "x", "message": "y", "variant": "z"},
        {"type": "Metadata", "request_id": "r", "duration": 1.0, "channels": 1},
    ),
    "assemblyai": (
        {"type": "Begin", "id": "s", "expires_at": 1790000000},
        {"type": "SpeechStarted", "timestamp": 300, "confidence": 0.9},
        {"type": "Turn", "turn_order": 0, "transcript": "my", "end_of_turn": False, "words": []},
        {
            "type": "Turn",
            "turn_order": 0,
            "transcript": "My.",
            "end_of_turn": True,
            "turn_is_formatted": True,
            "words": [{"text": "My.", "start": 100, "end": 400, "confidence": 0.9, "word_is_final": True}],
        },
        {"type": "Error", "error_code": 3005, "error": "Session expired"},
        {"type": "Termination", "audio_duration_seconds": 4, "session_duration_seconds": 5},
    ),
    "openai": (
        {"type": "session.created", "session": {"type": "transcription"}},
        {"type": "session.updated", "session": {}},
        {"type": "input_audio_buffer.speech_started", "audio_start_ms": 100, "item_id": "a"},
        {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 900, "item_id": "a"},
        {"type": "input_audio_buffer.committed", "previous_item_id": None, "item_id": "a"},
        {"type": f"{_ITEM}.delta", "item_id": "a", "delta": "Ye"},
        {
            "type": f"{_ITEM}.completed",
            "item_id": "a",
            "transcript": "Yes.",
            "languages": ["en"],
            "logprobs": [{"token": "Yes", "logprob": 0.0}, {"token": ".", "logprob": -0.2}],
        },
        {"type": f"{_ITEM}.failed", "item_id": "b", "error": {"type": "server_error"}},
        {"type": "error", "event_id": "e", "error": {"type": "server_error", "code": None, "event_id": None}},
    ),
    "speechmatics": (
        {"message": "RecognitionStarted", "id": "1", "language_pack_info": {"word_delimiter": " "}},
        {"message": "AudioAdded", "seq_no": 1},
        {"message": "AddPartialTranscript", "metadata": {"start_time": 0.0, "transcript": "Y"}, "results": []},
        {
            "message": "AddTranscript",
            "metadata": {"start_time": 0.0, "end_time": 1.0, "transcript": "Yes. "},
            "results": [
                {"type": "word", "start_time": 0.1, "end_time": 0.4, "alternatives": [_SPOKEN]},
                {"type": "punctuation", "attaches_to": "previous", "start_time": 0.4, "alternatives": [_SPOKEN]},
            ],
        },
        {"message": "EndOfUtterance", "metadata": {"start_time": 1.9, "end_time": 1.9}, "forced": True},
        {"message": "Warning", "type": "duration_limit_exceeded"},
        {"message": "Error", "type": "quota_exceeded", "reason": "x"},
        {"message": "EndOfTranscript"},
    ),
    "soniox": (
        {"tokens": [], "final_audio_proc_ms": 0, "total_audio_proc_ms": 0},
        {"tokens": [{**_SONIOX, "is_final": False}], "final_audio_proc_ms": 0},
        {"tokens": [_SONIOX, {"text": "<end>", "is_final": True}], "final_audio_proc_ms": 90},
        {"tokens": [_SONIOX, {"text": "<fin>", "is_final": True}], "final_audio_proc_ms": 90},
        {"tokens": [], "error_code": 503, "error_message": "x"},
        {"tokens": [], "finished": True},
    ),
    "vosk": (
        {"partial": ""},
        {"partial": "than"},
        {"result": [{"conf": 0.99, "end": 0.8, "start": 0.3, "word": "thanks"}], "text": "thanks"},
        {
            "alternatives": [
                {"confidence": 231.5, "text": " thanks", "result": [{"start": 0.3, "end": 0.8, "word": "t"}]}
            ]
        },
        {"text": ""},
    ),
}
RECORDED = {
    "status": "success",
    "transcription": "Book it.",
    "words": [{**_PULSE_WORD, "speaker": "speaker_0"}],
    "utterances": [{"text": "Book it.", "start": 0.2, "end": 0.9, "speaker": 1}],
    "language": "en",
    "metadata": {"duration": 1.25, "fileSize": 1000},
    "gender": "female",
    "emotions": {"happiness": 0.8},
}
"""An answer to a whole recording."""


def conversation(kind: str) -> list[str]:
    """The vendor's side of a session, as it goes over the wire."""
    return [json.dumps(each) for each in ANSWERS[kind]]


def opened(kind: str) -> ClientProtocol:
    """A session of this kind that has audio under way."""
    form = AUDIO_FORMS_OF_KIND.get(kind, ("mulaw-8000",))[0]
    profile = SttProfile(kind=kind, url="wss://vendor.example/session", audio=form)  # type: ignore[arg-type]
    protocol = PROTOCOLS[kind](profile, RecognizerRequest(format=AudioFormat.parse(form)))
    protocol.opening()
    return protocol
