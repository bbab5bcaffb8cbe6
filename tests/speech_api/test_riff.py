"""The header of a WAV file in front of bare samples."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from gateway.speech_api.riff import HeaderSkipper
from telephony_codecs.formats import AudioFormat, Encoding
from tests.support.wav_file import wav

AUDIO = bytes(range(256)) * 4


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def fmt(tag: int, rate_hz: int, bits: int, more: bytes = b"") -> bytes:
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, 1, rate_hz, rate_hz * bits // 8, bits // 8, bits) + more)


def declared(file: bytes) -> AudioFormat | None:
    skipper = HeaderSkipper()
    skipper.feed(file)
    assert skipper.found
    return skipper.declared


def test_only_the_samples_of_a_wav_file_pass() -> None:
    assert HeaderSkipper().feed(wav(AUDIO)) == AUDIO


def test_the_header_says_what_the_audio_is() -> None:
    assert declared(wav(AUDIO, rate_hz=8000)) == AudioFormat(Encoding.LINEAR16, 8000)


def test_stereo_is_nothing_that_can_be_heard() -> None:
    assert declared(wav(AUDIO, channels=2)) is None


def test_mulaw_files_are_known() -> None:
    assert declared(riff(fmt(7, 8000, 8), chunk(b"data", AUDIO))) == AudioFormat(Encoding.MULAW, 8000)


def test_the_extensible_form_names_its_encoding_at_the_end() -> None:
    extension = struct.pack("<HHIH", 22, 32, 4, 1) + bytes(14)
    assert declared(riff(fmt(0xFFFE, 48000, 32, extension), chunk(b"data", AUDIO))) == AudioFormat(
        Encoding.LINEAR32, 48000
    )


def test_chunks_before_the_samples_are_skipped_with_their_padding() -> None:
    assert HeaderSkipper().feed(riff(fmt(1, 16000, 16), chunk(b"LIST", b"odd"), chunk(b"data", AUDIO))) == AUDIO


def test_a_size_of_zero_does_not_end_the_audio() -> None:
    streamed = riff(fmt(1, 16000, 16)) + b"data" + bytes(4) + AUDIO
    assert HeaderSkipper().feed(streamed) == AUDIO


def test_a_huge_chunk_is_not_believed() -> None:
    lie = riff(fmt(1, 16000, 16)) + b"JUNK" + struct.pack("<I", 0xFFFF_FFF0) + AUDIO
    assert HeaderSkipper().feed(lie).endswith(AUDIO)


def test_riff_of_another_kind_passes_as_audio() -> None:
    other = b"RIFF\0\0\0\0AVI " + AUDIO
    assert HeaderSkipper().feed(other) == other


@given(st.lists(st.integers(0, 200), max_size=30), st.sampled_from([wav(AUDIO), AUDIO, b"RIFX" + AUDIO]))
def test_how_the_stream_is_cut_does_not_matter(cuts: list[int], stream: bytes) -> None:
    whole = HeaderSkipper().feed(stream)
    skipper, heard, rest = HeaderSkipper(), b"", stream
    for size in cuts:
        piece, rest = rest[:size], rest[size:]
        heard += skipper.feed(piece)
    assert heard + skipper.feed(rest) == whole
