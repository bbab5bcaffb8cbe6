"""Joining: recognisers want 50 ms to 1 s of audio per message, phone platforms send 20 ms."""

from gateway.media.timeline import Stretch


class Joiner:
    """
    Joins stretches that follow on each other into chunks of at least `chunk_bytes`.

    A chunk never spans a jump of the position, so its first sample's position places every sample in it.

    Args:
        chunk_bytes: of a chunk.
        bytes_per_sample: of the audio.
    """

    def __init__(self, chunk_bytes: int, bytes_per_sample: int) -> None:
        self.chunk_bytes = chunk_bytes
        self._bytes_per_sample = bytes_per_sample
        self._parts: list[bytes] = []
        self._size = 0
        self._start = 0

    def add(self, stretch: Stretch) -> list[Stretch]:
        """Take one stretch; returns the chunks that it completed, mostly none."""
        done: list[Stretch] = []
        if self._size and stretch.position != self._start + self._size // self._bytes_per_sample:
            done.append(self.take())
        if self.extend(stretch.position, stretch.payload):
            done.append(self.take())
        return done

    def extend(self, position: int, payload: bytes) -> bool:
        """
        Take audio that follows on whatever came before; returns whether a chunk is complete, which is then to be taken.

        Args:
            position: of its first sample.
        """
        if not self._size:
            self._start = position
        self._parts.append(payload)
        self._size += len(payload)
        return self._size >= self.chunk_bytes

    @property
    def held_bytes(self) -> int:
        """What the chunk under way holds."""
        return self._size

    def flush(self) -> list[Stretch]:
        """The incomplete chunk, if there is one."""
        return [self.take()] if self._size else []

    def take(self) -> Stretch:
        """What is held, complete or not; there must be something."""
        payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return Stretch(self._start, payload)
