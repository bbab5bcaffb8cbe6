"""From one audio format to another, as a stream: decode, resample, encode, each only where needed."""

from collections.abc import Callable

from telephony_codecs import alaw, mulaw
from telephony_codecs.formats import AudioFormat, Encoding
from telephony_codecs.pcm import linear16_to_linear32, linear32_to_linear16
from telephony_codecs.resample import Resampler


def _unchanged(pcm: bytes) -> bytes:
    return pcm


_DECODE: dict[Encoding, Callable[[bytes], bytes]] = {
    Encoding.MULAW: mulaw.decode,
    Encoding.ALAW: alaw.decode,
    Encoding.LINEAR16: _unchanged,
    Encoding.LINEAR32: linear32_to_linear16,
}
_ENCODE: dict[Encoding, Callable[[bytes], bytes]] = {
    Encoding.MULAW: mulaw.encode,
    Encoding.ALAW: alaw.encode,
    Encoding.LINEAR16: _unchanged,
    Encoding.LINEAR32: linear16_to_linear32,
}


class Converter:
    """
    Converts one mono stream; the output depends on the bytes alone, not on how they are cut.

    Equal formats pass through untouched. Everything else is computed in 16 bits, also from one rate of `linear32`
    to another.

    Args:
        source: format of the input.
        target: format of the output.

    Raises:
        ValueError: the formats differ and a rate is not one of `resample.RATES_HZ`.

    Attributes:
        passes_through: the formats are equal.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self.passes_through = source == target
        if self.passes_through:
            return
        self._sample_bytes = source.bytes_per_sample
        self._decode = _DECODE[source.encoding]
        self._encode = _ENCODE[target.encoding]
        self._resampler = Resampler(source.rate_hz, target.rate_hz)
        self._split_sample = b""

    def convert(self, audio: bytes) -> bytes:
        """
        Take more input, which may end inside a sample, and return all output that it completes.

        Equal formats return the very object that came in.
        """
        if self.passes_through:
            return audio
        return self._encode(self._resampler.process(self._decoded(audio)))

    def flush(self) -> bytes:
        """
        End the stream: drop a sample that never became whole and return the resampler's tail.

        The object is then ready for a new stream.
        """
        if self.passes_through:
            return b""
        self._split_sample = b""
        return self._encode(self._resampler.flush())

    def _decoded(self, audio: bytes) -> bytes:
        return self._decode(self._whole_samples(audio) if self._sample_bytes > 1 else audio)

    def _whole_samples(self, audio: bytes) -> bytes:
        """Complete a sample that was split, and keep one that is split now for the next time."""
        audio = self._split_sample + audio
        whole_bytes = len(audio) - len(audio) % self._sample_bytes
        self._split_sample = audio[whole_bytes:]
        return audio[:whole_bytes]
