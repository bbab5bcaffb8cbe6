"""A text and its words with tokens in place of what is found."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from gateway.redaction.finder import PLAIN, Circumstances, Finder, Span

_MOST_ALIGNED = 1000
"""Words that are compared with the text; the effort grows with the square."""


@dataclass(frozen=True, slots=True)
class Masked:
    """What became of a passage; `words` in the order in which they were given."""

    text: str
    words: tuple[str, ...]


def mask_text(finder: Finder, text: str, around: Circumstances = PLAIN) -> str:
    """
    The text with a token such as `[card]` for everything that is found.

    What is left is looked at again, because an expression may match what it did not before; so masking twice is
    masking once.
    """
    return _mask_text(finder, text, finder.find(text, around), around)


def mask_passage(finder: Finder, text: str, words: Sequence[str], around: Circumstances = PLAIN) -> Masked:
    """
    Mask a text and the words of which it is made.

    Words are judged as they stand one after the other, and masked also where the text is: a recogniser may write
    "4111" there and "four", "one" … here.
    """
    spans = finder.find(text, around)
    masked = _mask_text(finder, text, spans, around)
    joined = " ".join(words)
    own = _mask_words(finder, words, spans if joined == text else finder.find(joined, around), around)
    if not spans or joined == text:
        return Masked(masked, own)
    kinds = _kinds_in_text(text, spans, words)
    tokens = (
        f"[{kind}]" if kind and word == before else word for word, before, kind in zip(own, words, kinds, strict=True)
    )
    return Masked(masked, tuple(tokens))


def mask_words(finder: Finder, words: Sequence[str], around: Circumstances = PLAIN) -> tuple[str, ...]:
    """Words that follow each other: each that belongs to something that is found gets its token."""
    return _mask_words(finder, words, finder.find(" ".join(words), around), around)


def _mask_text(finder: Finder, text: str, spans: Sequence[Span], around: Circumstances) -> str:
    for left in reversed(range(finder.rounds)):
        if not spans:
            break
        text = _replace(text, spans)
        spans = finder.find(text, around) if left else []
    return text


def _mask_words(finder: Finder, words: Sequence[str], spans: Sequence[Span], around: Circumstances) -> tuple[str, ...]:
    masked = tuple(words)
    for left in reversed(range(finder.rounds)):
        if not spans:
            break
        masked = _replace_words(masked, spans)
        spans = finder.find(" ".join(masked), around) if left else []
    return masked


def _replace(text: str, spans: Sequence[Span]) -> str:
    parts: list[str] = []
    done = 0
    for span in spans:
        parts += (text[done : span.start], f"[{span.kind}]")
        done = span.end
    return "".join((*parts, text[done:]))


def _replace_words(words: Sequence[str], spans: Sequence[Span]) -> tuple[str, ...]:
    made = []
    start = place = 0
    for word in words:
        end = start + len(word)
        while place < len(spans) and spans[place].end <= start:
            place += 1
        mine = []
        for span in spans[place:]:
            if span.start >= end:
                break
            mine.append(Span(max(span.start, start) - start, min(span.end, end) - start, span.kind))
        made.append(_replace(word, mine) if mine else word)
        start = end + 1
    return tuple(made)


def _kinds_in_text(text: str, spans: Sequence[Span], words: Sequence[str]) -> list[str | None]:
    """What each word is in the text, as far as the text tells."""
    chunks: list[tuple[str, str | None]] = []
    place = 0
    for match in re.finditer(r"\S+", text):
        while place < len(spans) and spans[place].end <= match.start():
            place += 1
        is_masked = place < len(spans) and spans[place].start < match.end()
        chunks.append((match.group(), spans[place].kind if is_masked else None))
    if len(chunks) == len(words):
        return [kind for _, kind in chunks]
    if max(len(chunks), len(words)) > _MOST_ALIGNED:
        return [None] * len(words)
    return _aligned(chunks, words)


def _aligned(chunks: Sequence[tuple[str, str | None]], words: Sequence[str]) -> list[str | None]:
    """What is the same in both holds the rest in its place; what differs is masked as a whole if a part of it is."""
    kinds: list[str | None] = [None] * len(words)
    matcher = SequenceMatcher(None, [_plain(chunk) for chunk, _ in chunks], [_plain(word) for word in words], False)
    for tag, first, last, start, end in matcher.get_opcodes():
        if tag == "equal":
            for chunk, word in zip(range(first, last), range(start, end), strict=True):
                kinds[word] = chunks[chunk][1]
        else:
            kind = next((kind for _, kind in chunks[first:last] if kind), None)
            kinds[start:end] = [kind] * (end - start)
    return kinds


def _plain(word: str) -> str:
    return word.strip(".,;:!?\"'()").casefold()
