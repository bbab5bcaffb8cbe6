"""
What is done for the audio of many sessions at once.

A chunk of a call comes alone, but rarely at a time of its own: what other calls sent in the same milliseconds is on its
way, too. To convert a hundred pieces together costs half of what it costs one by one (`Converter.convert_together`).
"""

from collections.abc import Callable
from functools import partial

from telephony_codecs.convert import Converter


class Together:
    """
    Shared by all sessions of the process.

    Args:
        soon: calls what is to be done about a chunk, now or when the same is done for others (`Arrivals.soon`).
    """

    def __init__(self, soon: Callable[[Callable[[], None]], None] = lambda call: call()) -> None:
        self.soon = soon
        self._converters: list[Converter] = []
        self._audios: list[bytes] = []
        self._takers: list[Callable[[bytes], None]] = []

    def convert(self, converter: Converter, audio: bytes, then: Callable[[bytes], None]) -> None:
        """
        Convert a piece of one stream, soon.

        Args:
            converter: of the stream; nobody uses it before `then` is called.
            then: gets the output.
        """
        self._converters.append(converter)
        self._audios.append(audio)
        self._takers.append(then)
        if len(self._takers) == 1:
            self.soon(self._convert)

    def _convert(self) -> None:
        converters, self._converters = self._converters, []
        audios, self._audios = self._audios, []
        takers, self._takers = self._takers, []
        for then, audio in zip(takers, Converter.convert_together(converters, audios), strict=True):
            self.soon(partial(then, audio))
