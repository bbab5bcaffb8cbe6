"""Joining: recognisers want 50 ms to 1 s of audio per message, phone platforms send 20 ms."""

from gateway.media.timeline import Stretch


class Joiner:
    """
    Joins stretches that follow on each other into chunks of at least `chunk_bytes`.

    A chunk never spans a jump of the position, so its first sample's position places every sample in it.
    """

    def __init__(self, chunk_bytes: int, bytes_per_sample: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._bytes_per_sample = bytes_per_sample
        self._parts: list[bytes] = []
        self._size = 0
        self._start = 0

    def add(self, stretch: Stretch) -> list[Stretch]:
        """Take one stretch; returns the chunks that it completed, mostly none."""
        done: list[Stretch] = []
        if self._size and stretch.position != self._start + self._size // self._bytes_per_sample:
            done.append(self._take())
        if not self._size:
            self._start = stretch.position
        self._parts.append(stretch.payload)
        self._size += len(stretch.payload)
        if self._size >= self._chunk_bytes:
            done.append(self._take())
        return done

    def flush(self) -> list[Stretch]:
        """The incomplete chunk, if there is one."""
        return [self._take()] if self._size else []

    def _take(self) -> Stretch:
        payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return Stretch(self._start, payload)
