"""The seam inside a worker process: one recogniser of one session, synchronous, no I/O."""

from typing import Protocol

from gateway.events import RecognizerEvent


class Engine(Protocol):
    """
    Recognises one track. Each method returns what it caused, in order; times count from the session's first sample.

    Not thread-safe; each call may take as long as recognition takes.
    """

    def accept(self, audio: bytes) -> list[RecognizerEvent]:
        """Hear more audio, in the format that the session was opened with; any length, also half a sample."""

    def finalize(self) -> list[RecognizerEvent]:
        """Close the current utterance; exactly one `Final` with `from_finalize`, with empty text if nobody spoke."""

    def end(self) -> list[RecognizerEvent]:
        """Close the session: the last `Final`, if any, then `Finished`."""
