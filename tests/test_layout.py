"""The shape of the house: which room may know which, and which rooms touch the world."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = {"events", "errors", "config", "channels", "telemetry", "guard", "fetch", "recordings", "patterns", "shared"}
ROOMS = {
    *("dialects", "media", "stt", "engines", "speech_api", "transcript", "outbox", "simulate", "journal", "live"),
    *("assist", "redaction"),
}
NEIGHBOURS = {
    "stt": ("media.timeline", "media.tape"),  # a track's session reads the timeline's stretches from the tape
    "journal": ("media.timeline", "media.tape"),  # it keeps on disk what the tapes hold in memory
    "outbox": ("redaction",),  # what is masked is masked when it is stored, or when it is sent
    "redaction": ("assist.words",),  # a cue is masked as its final is, and so has to be found in it
    "speech_api": ("stt.base",),  # its clients are served through the same seam as phone calls
    # It shows what they keep, how loud calls are, and the settings; wrong tokens are limited as requests are.
    "live": ("outbox", "transcript", "redaction", "stt.loudness", "address_limits", "config_sources"),
    "simulate": ("dialects.twilio_signature", "stream_tokens"),  # the softphone signs as the platform does
}
PURE = [
    "gateway/dialects",
    "gateway/media",
    "gateway/transcript",
    "gateway/assist/words.py",
    "gateway/assist/times.py",
    "gateway/assist/rules.py",
    "gateway/assist/finder.py",
    "gateway/redaction",
    "gateway/patterns.py",
    "gateway/events.py",
    "gateway/errors.py",
    "gateway/stream_tokens.py",
    "gateway/live/origins.py",
    "gateway/live/sessions.py",
    "gateway/live/search_query.py",
    "gateway/live/search_words.py",
    "gateway/address_limits.py",
    "gateway/stt/protocol.py",
    "gateway/stt/batch.py",
    "gateway/stt/parts.py",
    "gateway/stt/pulse.py",
    "gateway/stt/query.py",
    "gateway/stt/deepgram.py",
    "gateway/stt/assemblyai.py",
    "gateway/stt/openai.py",
    "gateway/stt/lightning.py",
    "gateway/stt/slng.py",
    "gateway/stt/wire.py",
    "gateway/stt/speechmatics.py",
    "gateway/stt/soniox.py",
    "gateway/stt/vosk.py",
    "gateway/stt/clock.py",
    "gateway/stt/backoff.py",
    "gateway/stt/chain.py",
    "gateway/stt/kinds.py",
    "gateway/stt/ledger.py",
    "gateway/stt/liveness.py",
    "gateway/stt/loudness.py",
    "gateway/stt/succession.py",
    "gateway/speech_api/pulse.py",
    "gateway/speech_api/lightning.py",
    "gateway/speech_api/slng.py",
    "gateway/speech_api/parameters.py",
    "gateway/speech_api/prerecorded.py",
    "gateway/speech_api/capabilities.py",
    "gateway/speech_api/riff.py",
    "gateway/engines/endpointing.py",
    "gateway/engines/wire.py",
    "gateway/journal/format.py",
    "gateway/journal/index.py",
    "gateway/outbox/breaker.py",
    "gateway/outbox/payload.py",
    "gateway/outbox/schedule.py",
    "gateway/outbox/signing.py",
    "gateway/shared.py",
    "codecs/telephony_codecs",
]
IMPURE = {"asyncio", "aiohttp", "socket", "time", "random", "os", "websockets", "sqlite3", "threading", "subprocess"}


def modules(place: str) -> list[Path]:
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("place", PURE)
def test_pure_modules_import_no_input_or_output(place: str) -> None:
    guilty = {
        path.name: sorted(touched)
        for path in modules(place)
        if (touched := {name.partition(".")[0] for name in imports(path)} & IMPURE)
    }
    assert guilty == {}


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_knows_the_shared_ground_and_itself_only(room: str) -> None:
    allowed = tuple(f"gateway.{each}." for each in (*SHARED, room, *NEIGHBOURS.get(room, ())))
    guilty = {
        str(path.relative_to(ROOT)): name
        for path in modules(f"gateway/{room}")
        for name in imports(path)
        if name.startswith("gateway.") and not f"{name}.".startswith(allowed)
    }
    assert guilty == {}


def test_codecs_know_nothing_of_the_gateway() -> None:
    assert not [path for path in modules("codecs") if any(name.startswith("gateway") for name in imports(path))]


def test_the_codecs_folder_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "codecs" / "__init__.py").exists()


def test_lock_files_name_no_index() -> None:
    locks = [*ROOT.glob("*.lock"), *ROOT.glob("tests/environments/*.lock"), ROOT / "tests/node/package-lock.json"]
    assert [path.name for path in locks if "://" in path.read_text()] == []
