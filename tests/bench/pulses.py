"""
Pulses: what tells, in audio that is otherwise silent, which frame arrived where and when.

A pulse is one 20 ms frame: a tone of 1 kHz, faded in and out, as loud as one of four levels. The level is its code. A
call's first frame is a pulse, and then every 26th; a detector finds them again in mu-law and in linear audio, and says
at which frame of the track each one stood. So a pulse that was replaced with silence shows, and audio that is missing
or came twice, by what it shifts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from telephony_codecs import mulaw
from telephony_codecs.formats import AudioFormat, Encoding

FRAME_S = 0.02
FRAME_SAMPLES = 160
"""Of 8 kHz, as the phone platform sends it."""
PULSE_EVERY = 26
"""Frames. No multiple of a chunk's five: a call's pulses take every place in it. And no beat of half a second."""
PEAKS = (4000, 8000, 16000, 30000)
"""Of the four codes; int16."""
_BOUNDS = tuple(round((low * high) ** 0.5) for low, high in pairwise(PEAKS))
_AUDIBLE = 1000
_SILENT_OCTET = {Encoding.MULAW: b"\xff", Encoding.LINEAR16: b"\0"}
SILENT_FRAME = b"\xff" * FRAME_SAMPLES


def pulse_frame(code: int) -> bytes:
    """The 160 octets of mu-law of a pulse with this code, 0 to 3."""
    at = np.arange(FRAME_SAMPLES) + 0.5
    fade = np.sin(np.pi * at / FRAME_SAMPLES)
    tone = np.cos(2 * np.pi * 1000 / 8000 * (at - FRAME_SAMPLES / 2))
    return mulaw.encode(np.rint(PEAKS[code] * fade * tone).astype("<i2").tobytes())


def code_of(call: int, frame: int) -> int | None:
    """The code of the pulse that a call's frame is, by number of call and frame, both from 0; None: it is silent."""
    is_pulse = frame == 0 or (frame >= 5 and (frame + call) % PULSE_EVERY == 0)
    return (frame + call) // PULSE_EVERY % len(PEAKS) if is_pulse else None


@dataclass(frozen=True, slots=True)
class Detection:
    """
    A pulse that arrived.

    Args:
        frame: of the track, from 0, that it stood at.
        code: what it was read as.
        at: when the first message came that it can be heard in; monotonic seconds.
        until_frame: where that message ended, in frames since the start of the track; not always whole.
    """

    frame: int
    code: int
    at: float
    until_frame: float


class Detector:
    """
    Finds pulses in a track's audio, message by message.

    Args:
        form: of the audio: mu-law, or linear16 of any rate.

    Attributes:
        heard_bytes: so far.
        found: the pulses so far; one that may go on in the next message comes with that.
    """

    def __init__(self, form: AudioFormat) -> None:
        self._bytes_per_sample = 1 if form.encoding is Encoding.MULAW else 2
        self._frame_samples = round(form.rate_hz * FRAME_S)
        self._silence = _silences(form.encoding)
        self._is_mulaw = form.encoding is Encoding.MULAW
        self.heard_bytes = 0
        self.found: list[Detection] = []
        self._open: tuple[int, float, float] | None = None
        self._peak = 0

    @property
    def heard_frames(self) -> float:
        """How much audio came, in frames."""
        return self.heard_bytes / (self._frame_samples * self._bytes_per_sample)

    def feed(self, message: bytes, at: float) -> None:
        """A message of audio that came at a time; monotonic seconds."""
        begin = self.heard_bytes // self._bytes_per_sample
        self.heard_bytes += len(message)
        if message == self._silence(len(message)):
            self._close()
            return
        linear = mulaw.decode(message) if self._is_mulaw else message[: len(message) // 2 * 2]
        loudness = np.abs(np.frombuffer(linear, "<i2").astype(np.int32))
        until = self.heard_frames
        position = 0
        while position < len(loudness):  # in steps that end where frames do
            frame, within = divmod(begin + position, self._frame_samples)
            size = self._frame_samples - within
            self._hear(frame, int(loudness[position : position + size].max()), at, until)
            position += size

    def end(self) -> None:
        """No more comes: a pulse may have been the last of it."""
        self._close()

    def _hear(self, frame: int, peak: int, at: float, until: float) -> None:
        if peak <= _AUDIBLE:
            self._close()
            return
        if self._open is None:
            self._open = (frame, at, until)
        self._peak = max(self._peak, peak)

    def _close(self) -> None:
        if self._open is not None:
            frame, at, until = self._open
            code = sum(self._peak > bound for bound in _BOUNDS)
            self.found.append(Detection(frame=frame, code=code, at=at, until_frame=until))
            self._open, self._peak = None, 0


def _silences(encoding: Encoding) -> Callable[[int], bytes]:
    """Silent messages by length, each made once: nine messages in ten are compared with one of them."""
    octet = _SILENT_OCTET[encoding]
    made: dict[int, bytes] = {}

    def silence(size: int) -> bytes:
        found = made.get(size)
        if found is None:
            found = made[size] = octet * size
        return found

    return silence
