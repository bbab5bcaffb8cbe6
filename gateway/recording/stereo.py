"""Tracks put side by side. Blocks; belongs in a thread."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from gateway.recordings import write_wav
from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat, Encoding


def join(tracks: Sequence[Path], audio_format: AudioFormat, target: Path) -> None:
    """
    Make one WAV file with a channel per track, sample-aligned; shorter tracks end in silence.

    Args:
        tracks: headerless files, the left channel first.
        audio_format: of all of them.
        target: made or overwritten; 16 bits, the tracks' own rate.
    """
    write_wav(target, len(tracks), audio_format.rate_hz, _blocks(tracks, audio_format))


def _blocks(tracks: Sequence[Path], audio_format: AudioFormat) -> Iterator[bytes]:
    linear = AudioFormat(Encoding.LINEAR16, audio_format.rate_hz)
    second_bytes = audio_format.rate_hz * audio_format.bytes_per_sample
    with ExitStack() as stack:
        files = [stack.enter_context(track.open("rb")) for track in tracks]
        converters = [Converter(audio_format, linear) for _ in files]
        while any(raw := [file.read(second_bytes) for file in files]):
            pcm = [converter.convert(part) for converter, part in zip(converters, raw, strict=True)]
            samples = max(map(len, pcm)) // 2
            block = np.zeros((samples, len(files)), "<i2")
            for channel, part in enumerate(pcm):
                block[: len(part) // 2, channel] = np.frombuffer(part, "<i2")
            yield block.tobytes()
