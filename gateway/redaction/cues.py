"""
Cues show of finals what the masked finals show there.

Alone a cue would tell too little: of "four one one one" a rule may have matched "four" only.
"""

from collections.abc import Iterator, Sequence

from gateway.assist.words import spots, tidied
from gateway.redaction.finder import Circumstances, Finder, Span
from gateway.redaction.masking import apart, mask_spans, replaced
from gateway.redaction.memory import Said


def mask_cue(finder: Finder, text: str, finals: Sequence[Said]) -> str | None:
    """
    The text of a cue, masked as it is in its finals.

    Where the same words stand twice in the newest final, they are masked if they are in one of the places.

    Args:
        text: cut out of finals that follow each other; see `gateway.assist.finder`.
        finals: of its track, up to the one that completed it, the oldest first.

    Returns:
        None if it is not in there.
    """
    lines = [said._replace(text=tidied(said.text)) for said in finals]
    lines = [line for line in lines if any(map(str.isalnum, line.text))]  # the others have no word
    joined = " ".join(line.text for line in lines)
    newest = len(joined) - len(lines[-1].text) if lines else 0
    places = [place for place in _places(text, joined) if place + len(text) > newest]
    if not places:
        return None
    masked = set[Span]()
    for start, end, kind in _masked(finder, lines, places[0]):
        for place in places:
            begin, stop = max(start - place, 0), min(end - place, len(text))
            if begin < stop:
                masked.add(Span(begin, stop, kind))
    return replaced(text, apart(masked))


def _places(text: str, joined: str) -> Iterator[int]:
    """Where a text begins in another one, from left to right; it has whole words of it."""
    own, words = spots(text), spots(joined)
    if not own:
        return
    begins, ends = {word.start for word in words}, {word.end for word in words}
    place = joined.find(text)
    while place >= 0:
        if place + own[0].start in begins and place + own[-1].end in ends:
            yield place
        place = joined.find(text, place + 1)


def _masked(finder: Finder, lines: Sequence[Said], first: int) -> Iterator[tuple[int, int, str]]:
    """What of the joined lines is masked, beginning with the line in which the character `first` is."""
    begin = 0
    for line in lines:
        if begin + len(line.text) > first:
            for span in mask_spans(finder, line.text, Circumstances(line.after_digits)):
                yield begin + span.start, begin + span.end, span.kind
        begin += len(line.text) + 1
