"""
Take a RIFF header off the front of a stream that is meant to be bare samples.

Clients read a whole `.wav` file and send it as if it were PCM. Layout: Microsoft, Multimedia Programming Interface and
Data Specifications 1.0 (1991), "RIFF" and "WAVE form"; the extensible form is WAVEFORMATEXTENSIBLE in mmreg.h.
"""

from telephony_codecs.formats import AudioFormat, Encoding

_FILE_HEADER_BYTES = 12  # "RIFF", size, "WAVE"
_CHUNK_HEADER_BYTES = 8  # id, size
# A larger chunk in front of the samples is more likely a lie than metadata: stop skipping and let the audio through.
_LARGEST_CHUNK_BYTES = 1 << 20
_EXTENSIBLE = 0xFFFE
_ENCODINGS = {(1, 16): Encoding.LINEAR16, (1, 32): Encoding.LINEAR32, (6, 8): Encoding.ALAW, (7, 8): Encoding.MULAW}


class HeaderSkipper:
    """
    Passes a byte stream on without the RIFF header that it may begin with, however the stream is cut.

    The chunk size of `data` is not believed (streaming writers leave 0 or the maximum): all that follows is audio.

    Attributes:
        found: a complete header was skipped.
        declared: what that header says of the audio; None if it is nothing this gateway can hear, such as stereo.
    """

    def __init__(self) -> None:
        self.found = False
        self.declared: AudioFormat | None = None
        self._head: bytearray | None = bytearray()
        self._in_file = False
        self._to_skip = 0
        self._rest = b""

    def feed(self, audio: bytes) -> bytes:
        """The audio among these bytes; empty while the header goes on."""
        if self._head is None:
            return audio
        self._head += audio
        while self._head is not None:
            if not (self._step_over_chunk() if self._in_file else self._enter_file()):
                return b""
        return self._rest

    def _enter_file(self) -> bool:
        """Decide whether a header begins here; False: more bytes are needed."""
        assert self._head is not None
        start = bytes(self._head[:_FILE_HEADER_BYTES])
        if not b"RIFF".startswith(start[:4]) or not b"WAVE".startswith(start[8:]):
            return self._pass_on()
        if len(start) < _FILE_HEADER_BYTES:
            return False
        del self._head[:_FILE_HEADER_BYTES]
        self._in_file = True
        return True

    def _step_over_chunk(self) -> bool:
        assert self._head is not None
        head = self._head
        skipped = min(self._to_skip, len(head))
        del head[:skipped]
        self._to_skip -= skipped
        if self._to_skip or len(head) < _CHUNK_HEADER_BYTES:
            return False
        kind, size = bytes(head[:4]), int.from_bytes(head[4:8], "little")
        if kind == b"data":
            del head[:_CHUNK_HEADER_BYTES]
            self.found = True
            return self._pass_on()
        if size > _LARGEST_CHUNK_BYTES:
            return self._pass_on()
        if kind == b"fmt ":
            if len(head) < _CHUNK_HEADER_BYTES + size:
                return False
            self.declared = _read_format(bytes(head[_CHUNK_HEADER_BYTES : _CHUNK_HEADER_BYTES + size]))
        self._to_skip = _CHUNK_HEADER_BYTES + size + size % 2  # chunks begin at even places
        return True

    def _pass_on(self) -> bool:
        assert self._head is not None
        self._rest, self._head = bytes(self._head), None
        return True


def _read_format(body: bytes) -> AudioFormat | None:
    tag, channels, bits = (int.from_bytes(body[at : at + 2], "little") for at in (0, 2, 14))
    if tag == _EXTENSIBLE:
        tag = int.from_bytes(body[24:26], "little")
    encoding = _ENCODINGS.get((tag, bits))
    if encoding is None or channels != 1:
        return None
    return AudioFormat(encoding, int.from_bytes(body[4:8], "little"))
