"""Joining: recognisers want 50 ms to 1 s of audio per message, phone platforms send 20 ms."""

from collections.abc import Sequence

from gateway.media.timeline import Stretch


class Joiner:
    """
    Joins stretches that follow on each other into chunks of at least `chunk_bytes`.

    A chunk never spans a jump of the position, so its first sample's position places every sample in it.

    Args:
        chunk_bytes: of a chunk.
        bytes_per_sample: of the audio.
        first_bytes: of the first chunk, where that is to be another one.
    """

    def __init__(self, chunk_bytes: int, bytes_per_sample: int, first_bytes: int | None = None) -> None:
        self._chunk_bytes = chunk_bytes
        self._wanted_bytes = first_bytes or chunk_bytes
        self._bytes_per_sample = bytes_per_sample
        self._parts: list[bytes] = []
        self._size = 0
        self._start = 0

    def add(self, stretch: Stretch) -> list[Stretch]:
        """Take one stretch; returns the chunks that it completed, mostly none."""
        done: list[Stretch] = []
        if self._size and stretch.position != self._start + self._size // self._bytes_per_sample:
            done.append(self._take())
        return done + self.extend(stretch.position, (stretch.payload,))

    def extend(self, position: int, payloads: Sequence[bytes]) -> list[Stretch]:
        """
        Take audio that follows on whatever came before; returns the chunks that it completed.

        Args:
            position: of its first sample.
            payloads: its parts, in order; at least one.
        """
        if not self._size:
            self._start = position
        size = self._size + sum(map(len, payloads))
        if size < self._wanted_bytes:
            self._parts += payloads
            self._size = size
            return []
        if size - len(payloads[-1]) < self._wanted_bytes:  # as nearly always: the last one completes the only chunk
            self._parts += payloads
            self._size = size
            return [self._take()]
        done: list[Stretch] = []
        for payload in payloads:
            done += self.extend(position, (payload,))
            position += len(payload) // self._bytes_per_sample
        return done

    @property
    def lacking_bytes(self) -> int:
        """What the chunk under way lacks."""
        return self._wanted_bytes - self._size

    def flush(self) -> list[Stretch]:
        """The incomplete chunk, if there is one."""
        return [self._take()] if self._size else []

    def _take(self) -> Stretch:
        """What is held, complete or not; the next part goes on behind it."""
        payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        chunk = Stretch(self._start, payload)
        self._start += self._size // self._bytes_per_sample
        self._parts.clear()
        self._size = 0
        self._wanted_bytes = self._chunk_bytes
        return chunk
