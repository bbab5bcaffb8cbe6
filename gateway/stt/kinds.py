"""What is known of each kind of recogniser beside its protocol: its limits, and how it may be tried."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """
    How a kind of recogniser is treated.

    Args:
        speed: multiple of real time at which held audio may be sent; None: as fast as the engine takes it.
        max_session_s: age at which the vendor ends a session; None: no limit is known.
        answers_finalize: `finalize` is answered and does no harm to a session that goes on.
        has_word_times: finals carry the times of their words.
        patience_s: speech that may be sent without an answer before the session is suspected to be dead.
    """

    speed: float | None = 4.0
    max_session_s: float | None = None
    answers_finalize: bool = True
    has_word_times: bool = True
    patience_s: float = 10.0


_SMALLEST = 2.5
"""
Smallest's own samples send 4096 bytes of 16 kHz linear audio, 128 ms, each 50 ms (docs.smallest.ai, Waves, "Pulse
realtime", code examples, read 2026-08); SLNG's do the same.
"""

TRAITS: Mapping[str, Traits] = {
    # Its own pool sees when it hangs; a machine that is overloaded makes it slow, which is not the same.
    "local": Traits(speed=None, patience_s=float("inf")),
    # `get_text` may end a session whose `finalize` is followed by silence, as older samples expect it to.
    "pulse": Traits(speed=_SMALLEST, answers_finalize=False, patience_s=20.0),
    "pulse-live": Traits(speed=_SMALLEST),
    "lightning": Traits(speed=_SMALLEST, answers_finalize=False, patience_s=20.0),
    "slng": Traits(speed=_SMALLEST),
    # Clients that were written for it keep to 1.25. Its guide "Recovering from connection errors and timeouts when live
    # streaming" (developers.deepgram.com, 2026-11) asks for replay; the part of it that we could read has no figure.
    "deepgram": Traits(speed=1.25),
    # Close codes 3007 (faster than real time) and 3008 (3 h): assemblyai.com/docs, "Universal Streaming", read 2026-11.
    "assemblyai": Traits(speed=1.0, max_session_s=3 * 3600.0),
    # 60 minutes: the Realtime guide as quoted by learn.microsoft.com/answers/a/12544418 (2026-01). With turn detection
    # a long turn is answered only at its end, and `finalize` would cut it.
    "openai": Traits(max_session_s=3600.0, has_word_times=False, patience_s=30.0),
    # docs.speechmatics.com, "Limits - Realtime", read 2026-11.
    "speechmatics": Traits(max_session_s=48 * 3600.0),
    # soniox.com/docs, "Limits & quotas" (300 minutes, fixed) and "Error handling" (real-time cadence), read 2026-11.
    "soniox": Traits(speed=1.0, max_session_s=300 * 60.0),
    "vosk": Traits(),
}
"""By the `kind` of a profile."""
