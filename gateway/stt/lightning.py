"""
Smallest's older path, `/api/v1/lightning/get_text` (kind `lightning`).

Pulse's messages without `type`, and fewer words of the client's: `end` ends, and there is neither a way to flush nor a
keep-alive. The terminal message has `is_last`; then the server closes.

Source: docs.smallest.ai, Waves, "Speech to Text (WebSocket)" of Lightning, read 2026.
"""

from msgspec import structs

from gateway.config import SttProfile
from gateway.events import Finished, RecognizerEvent, RecognizerRequest
from gateway.stt.protocol import Messages
from gateway.stt.pulse import PulseProtocol

_NORMAL_CLOSURE = 1000


class LightningProtocol(PulseProtocol):
    """One Lightning session; see `PulseProtocol`."""

    def __init__(self, profile: SttProfile, request: RecognizerRequest) -> None:
        # Pulse's ways to steer finals are not among its parameters.
        super().__init__(profile, structs.replace(request, eou_timeout_ms=None, endpointing=None, max_words=None))
        self._has_ended = False

    def finalize(self) -> Messages:
        return ()

    def keepalive(self) -> Messages:
        return ()

    def end(self) -> Messages:
        self._has_ended = True
        return ('{"type":"end"}',)

    def closed(self, code: int) -> list[RecognizerEvent]:
        if self._has_ended and code == _NORMAL_CLOSURE:  # it closes after the last message, however that is marked
            return [Finished()]
        return super().closed(code)
