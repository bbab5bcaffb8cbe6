"""Read query parameters of the served speech APIs; every fault is a 400 that names the parameter."""

import re
from collections.abc import Collection, Mapping

from gateway.speech_api.base import RequestRefused
from telephony_codecs.formats import AudioFormat, Encoding

SAMPLE_RATES_HZ = (8000, 16000, 22050, 24000, 44100, 48000)

# The vendor's lists differ from page to page and shrink and grow: the shape of a code is checked, not its membership.
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_AGGREGATORS = frozenset({"multi", "multi-eu", "multi-asian", "multi-indic", "multi-south-indic", "north_indic"})


class Parameters:
    """
    A query, read by type. Absent and empty parameters give the default; unknown ones are nobody's business.

    Each method raises `RequestRefused` with code `bad_parameter`.
    """

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query

    def text(self, name: str) -> str | None:
        """The value as it is."""
        return self._query.get(name) or None

    def flag(self, name: str, default: bool = False) -> bool:
        """`true` or `false`; also `True`, as Python's clients write it."""
        text = (self.text(name) or str(default)).lower()
        if text not in ("true", "false"):
            raise _bad(name, "must be true or false")
        return text == "true"

    def number(self, name: str, least: int, most: int) -> int | None:
        """A whole number within both bounds."""
        text = self.text(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
            raise _bad(name, f"must be a whole number from {least} to {most}")
        return int(text)

    def matching(self, name: str, pattern: str) -> str | None:
        """Text that the regular expression describes as a whole."""
        text = self.text(name)
        if text is not None and not re.fullmatch(pattern, text):
            raise _bad(name, f"must match {pattern}")
        return text

    def language(self) -> str | None:
        """A language code of two or three letters, or one of the vendor's names for several languages at once."""
        text = self.text("language")
        if text is not None and text not in _AGGREGATORS and not _LANGUAGE.fullmatch(text):
            raise _bad("language", f"must be a code such as en, or one of {', '.join(sorted(_AGGREGATORS))}")
        return text

    def audio_format(self) -> AudioFormat:
        """`encoding` (linear16 by default) and `sample_rate` (16000)."""
        encoding = self.text("encoding") or Encoding.LINEAR16
        if encoding not in set(Encoding):
            raise _bad("encoding", f"must be one of {', '.join(Encoding)}")
        rate = self.text("sample_rate") or "16000"
        if rate not in _texts(SAMPLE_RATES_HZ):
            raise _bad("sample_rate", f"must be one of {', '.join(_texts(SAMPLE_RATES_HZ))}")
        return AudioFormat(Encoding(encoding), int(rate))


def _texts(numbers: Collection[int]) -> list[str]:
    return [str(number) for number in numbers]


def _bad(name: str, must: str) -> RequestRefused:
    return RequestRefused(f"{name} {must}", code="bad_parameter")
