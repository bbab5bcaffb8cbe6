"""WAV files in memory, as Python's own library writes them."""

import io
import wave


def wav(audio: bytes, *, channels: int = 1, rate_hz: int = 16000) -> bytes:
    """16-bit PCM with its header."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(audio)
    return buffer.getvalue()
