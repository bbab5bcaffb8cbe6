"""When each word of a final was said. Pure."""

from collections.abc import Sequence

from gateway.assist.words import spots, tidied
from gateway.events import Segment, Word


def word_times(final: Segment, said: Sequence[str]) -> list[tuple[float, float]]:
    """
    From when to when each word of a final was said.

    Recognisers write "20" in the text where their words are "twenty": words are taken from both ends as long as they
    agree, and what lies between has the time between. Without word times each has that of the final.
    """
    timed = [(spot.word, word) for word in final.words for spot in spots(tidied(word.word))]
    count, heard = len(said), [word for word, _ in timed]
    ahead = _agreeing(said, heard)
    behind = min(_agreeing(said[::-1], heard[::-1]), count - ahead, len(timed) - ahead)
    before: list[Word] = [word for _, word in timed[:ahead]]
    after: list[Word] = [word for _, word in timed[len(timed) - behind :]]
    between = (before[-1].end_s if before else final.start_s, after[0].start_s if after else final.end_s)
    return [
        *((word.start_s, word.end_s) for word in before),
        *([between] * (count - ahead - behind)),
        *((word.start_s, word.end_s) for word in after),
    ]


def _agreeing(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
