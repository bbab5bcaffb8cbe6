"""What a stretch of audio bytes means: encoding and rate. Always mono."""

from dataclasses import dataclass
from enum import StrEnum


class Encoding(StrEnum):
    """
    Sample encodings, under the names that speech APIs use.

    `linear16` and `linear32` are signed little-endian integers of 16 and 32 bits.
    """

    MULAW = "mulaw"
    ALAW = "alaw"
    LINEAR16 = "linear16"
    LINEAR32 = "linear32"


_BYTES_PER_SAMPLE = {Encoding.MULAW: 1, Encoding.ALAW: 1, Encoding.LINEAR16: 2, Encoding.LINEAR32: 4}
# G.711 (11/88): the code words nearest to zero, as idle lines send them.
_SILENCE = {Encoding.MULAW: b"\xff", Encoding.ALAW: b"\xd5", Encoding.LINEAR16: b"\0\0", Encoding.LINEAR32: b"\0" * 4}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Encoding and sample rate of mono audio; written `mulaw-8000`, `linear16-16000`, …"""

    encoding: Encoding
    rate_hz: int

    @classmethod
    def parse(cls, text: str) -> "AudioFormat":
        """
        Read the form `encoding-rate`.

        Raises:
            ValueError: unknown encoding, or a rate that is not a positive integer.
        """
        encoding, _, rate = text.rpartition("-")
        if not rate.isascii() or not rate.isdigit() or int(rate) == 0:
            raise ValueError(f"not an audio format: {text!r} (expected for example 'mulaw-8000')")
        return cls(Encoding(encoding), int(rate))

    def __str__(self) -> str:
        return f"{self.encoding.value}-{self.rate_hz}"

    @property
    def bytes_per_sample(self) -> int:
        return _BYTES_PER_SAMPLE[self.encoding]

    def silence(self, samples: int) -> bytes:
        """Idle audio of that many samples."""
        return _SILENCE[self.encoding] * samples

    def samples(self, audio: bytes) -> int:
        """How many whole samples these bytes hold."""
        return len(audio) // self.bytes_per_sample
