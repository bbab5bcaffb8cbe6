"""G.711 mu-law, as telephone networks in North America and Japan use it and most media streams send it."""

from telephony_codecs._audioop import lin2ulaw, ulaw2lin


def decode(payload: bytes) -> bytes:
    """
    Decode mu-law to linear PCM.

    Args:
        payload: one octet per sample, any length, also empty.

    Returns:
        int16 little-endian mono, exactly twice as long; within ±32124.

    Source: ITU-T G.711 (11/88), table 2, scaled from 14 to 16 bits.
    """
    return ulaw2lin(payload, 2)


def encode(pcm: bytes) -> bytes:
    """
    Encode linear PCM as mu-law; samples beyond the code's range (±32635) saturate.

    Args:
        pcm: int16 little-endian mono, whole samples.

    Returns:
        one octet per sample.

    Raises:
        ValueError: an odd number of bytes.

    Source: ITU-T G.711 (11/88), table 2, after dropping the two lowest bits (rounding down).
    """
    if len(pcm) % 2:
        raise ValueError(f"int16 audio of {len(pcm)} bytes ends inside a sample")
    return lin2ulaw(pcm, 2)
