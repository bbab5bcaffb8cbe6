"""The seam of this room: what the owner of a call needs of any phone platform's media protocol."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.events import AudioFrame, TelephonyEvent, Track


class Dialect(Protocol):
    """
    One stream of one phone platform, from the upgrade to the close; never shared between sockets.

    A method that raises leaves the dialect as it was: the next message is judged as if the bad one had never come.
    """

    @property
    def name(self) -> str:
        """The platform's name in routes, logs and metrics."""

    @property
    def is_bidirectional(self) -> bool:
        """Whether the platform takes messages from us. If not, the three sending methods raise."""

    def receive(self, message: str | bytes) -> list[TelephonyEvent]:
        """
        Understand one WebSocket message.

        Args:
            message: text, or the bytes of a text or binary message; anything at all.

        Raises:
            DialectError: it is not what the protocol allows. Nothing else is ever raised.
        """

    def audio(self, messages: Sequence[bytes]) -> Mapping[Track, list[AudioFrame]]:
        """
        The short way for what nearly all messages are: a frame of audio each, and nothing wrong with it.

        Returns:
            the frames; none, if not all messages are such: then `receive` has to see them. The dialect is as it was.
        """

    def play(self, payload: bytes) -> list[str | bytes]:
        """
        Messages that play this audio, in the stream's own format, to the caller.

        Raises:
            DialectError: the stream takes no messages (`one_way_stream`), or not now (`not_streaming`).
        """

    def mark(self, name: str) -> list[str | bytes]:
        """Messages that ask for `MarkReached(name)` once all audio before has been played. Raises as `play` does."""

    def clear_playback(self) -> list[str | bytes]:
        """Messages that drop the audio not yet played. Raises as `play` does."""
