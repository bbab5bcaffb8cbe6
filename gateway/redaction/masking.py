"""A text and its words with tokens in place of what is found."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
    """The text with a token such as `[card]` for everything that is found; see `mask_spans`."""
    return replaced(text, mask_spans(finder, text, around))


def mask_spans(finder: Finder, text: str, around: Circumstances = PLAIN) -> Sequence[Span]:
    """
    What of a text gets a token, in its own characters, from left to right.

    What is left is looked at again, because an expression may match what it did not before; so masking twice is
    masking once.
    """
    spans = finder.find(text, around)
    if finder.rounds == 1 or not spans:
        return spans
    whole: list[Span] = []
    places = list(range(len(text) + 1))  # where each place of what has become of the text was in it
    for _ in range(finder.rounds):
        for span in reversed(spans):
            whole.append(Span(places[span.start], places[span.end], span.kind))
            places[span.start + 1 : span.end] = [places[span.start]] * (len(_token(span)) - 1)
        text = replaced(text, spans)
        spans = finder.find(text, around)
        if not spans:
            break
    return apart(whole)


def mask_passage(finder: Finder, text: str, words: Sequence[str], around: Circumstances = PLAIN) -> Masked:
    """
    Mask a text and the words of which it is made.

    Words are judged as they stand one after the other, and masked also where the text is: a recogniser may write
    "4111" there and "four", "one" … here.
    """
    spans = mask_spans(finder, text, around)
    masked = replaced(text, spans)
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


def apart(spans: Iterable[Span]) -> list[Span]:
    """From left to right, those that overlap made one."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start < found[-1].end:
            found[-1] = replace(found[-1], end=max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def replaced(text: str, spans: Sequence[Span]) -> str:
    """The text with tokens in these places; they are apart and go from left to right."""
    parts: list[str] = []
    done = 0
    for span in spans:
        parts += (text[done : span.start], _token(span))
        done = span.end
    return "".join((*parts, text[done:]))


def _token(span: Span) -> str:
    return f"[{span.kind}]"


def _mask_words(finder: Finder, words: Sequence[str], spans: Sequence[Span], around: Circumstances) -> tuple[str, ...]:
    masked = tuple(words)
    for left in reversed(range(finder.rounds)):
        if not spans:
            break
        masked = _replace_words(masked, spans)
        spans = finder.find(" ".join(masked), around) if left else []
    return masked


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
        made.append(replaced(word, mine) if mine else word)
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
