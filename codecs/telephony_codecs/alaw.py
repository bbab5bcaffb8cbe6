"""G.711 A-law, as telephone networks in Europe and most of the world use it."""

from telephony_codecs._audioop import alaw2lin, lin2alaw


def decode(payload: bytes) -> bytes:
    """
    Decode A-law to linear PCM.

    Args:
        payload: one octet per sample (even bits inverted, as on the line), any length, also empty.

    Returns:
        int16 little-endian mono, exactly twice as long; within ±32256, never 0.

    Source: ITU-T G.711 (11/88), table 1, scaled from 13 to 16 bits.
    """
    return alaw2lin(payload, 2)


def encode(pcm: bytes) -> bytes:
    """
    Encode linear PCM as A-law.

    Args:
        pcm: int16 little-endian mono, whole samples.

    Returns:
        one octet per sample (even bits inverted, as on the line).

    Raises:
        ValueError: an odd number of bytes.

    Source: ITU-T G.711 (11/88), table 1, after dropping the three lowest bits (rounding down).
    """
    if len(pcm) % 2:
        raise ValueError(f"int16 audio of {len(pcm)} bytes ends inside a sample")
    return lin2alaw(pcm, 2)
