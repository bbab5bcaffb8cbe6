"""
What of a track is settled: which words are new, and from where on audio has to be heard again.

*Committed* is the position up to which everything that was said is in a segment, or known to be no speech. A session
that replaces a lost one is given audio from a little earlier, so that its first word is not clipped: from the beginning
of the last committed word, which is then heard whole and can be told from the next one. Of what it says about that
overlap, each word whose middle lies before the committed position is dropped.

Finals without word times cannot be sorted so. Those with times of their own are believed, and audio is heard again from
their end exactly. Of those without any time it is only known that they end before the audio that was sent when their
text was complete. Committing all of it would lose what was already spoken of the next utterance; so audio is heard
again from `IN_FLIGHT_S` before, and words that repeat the end of what was said are dropped by their text. While such a
session catches up it says nothing about how far it is: then audio is heard again from where it began.
"""

from collections.abc import Sequence

from msgspec import structs

from gateway.events import Final, Hearing, Partial, Segment, Word
from gateway.stt.clock import SessionClock

LONGEST_OVERLAP_S = 1.0
"""A last word longer than this is not heard again as a whole."""
MARGIN_S = 0.1
"""Before the beginning of that word: recognisers' times are not exact."""
PRE_ROLL_S = 0.3
"""Audio that is heard again before a word that follows a pause."""
IN_FLIGHT_S = 2.0
"""How far a recogniser without times may be behind the audio, at least as far as its finals are concerned."""
UNSETTLED_S = 0.3
"""A word that reaches so close to the place where a session was ended in mid-call may be incomplete."""
_TAIL_WORDS = 200
_GARBLED_WORDS = 2
"""A first final of so few words that repeats nothing is nonsense, made of the end of a word."""


class Ledger:
    """
    Keeps the account of one track over all its recogniser sessions. Positions are samples.

    Args:
        rate_hz: of the track.
        language: of segments whose recogniser names none.
        heard: position up to which an earlier process has committed everything; None: nothing was heard yet.
        is_recovery: every segment is heard after an interruption.

    Attributes:
        committed: see the module; None before any audio came.
        resume: where a next session has to begin; at most `committed`.
    """

    def __init__(self, rate_hz: int, language: str | None, *, heard: int | None, is_recovery: bool) -> None:
        self._rate_hz = rate_hz
        self._language = language
        self._is_recovery = is_recovery
        self.committed = heard
        self.resume = heard if heard is None else max(0, heard - round(PRE_ROLL_S * rate_hz))
        self._times_words: dict[str, bool] = {}  # by provider
        self._provider = ""
        self._clock = SessionClock(rate_hz)
        self._seam = heard or 0
        self._recovered_until = 0
        self._cut: int | None = None
        self._was_cut_into = False
        self._caught_up_from = 0
        self._is_first = False
        self._timed = 0
        self._tail: tuple[str, ...] = ()
        self._repeated: tuple[str, ...] = ()
        self._last: Final | None = None
        self._pending: Partial | None = None
        self._pending_start_s: float | None = None
        self._pending_end = 0

    def begin(self, position: int) -> None:
        """The first audio of the track has come."""
        if self.committed is None:
            self.committed = self.resume = position
            self._timed = position

    def open(self, provider: str, clock: SessionClock, *, has_word_times: bool, recovered_until: int, edge: int) -> int:
        """
        Another session begins.

        Args:
            provider: name of its profile.
            clock: of this session.
            has_word_times: whether its finals are expected to have them.
            recovered_until: position before which its audio had been given to a session, or should have been.
            edge: how far the call is.

        Returns:
            Where its audio has to begin.
        """
        self._provider = provider
        self._clock = clock
        self._recovered_until = recovered_until
        self._cut = self._last = None
        self._was_cut_into = False
        self._caught_up_from = edge + round(IN_FLIGHT_S * self._rate_hz) if edge > (self.resume or 0) else 0
        start, committed = self.resume or 0, self.committed or 0
        if self._tail:
            self._seam, self._repeated, self._is_first = start, self._tail, True
        else:
            self._seam, self._repeated = committed, ()
            if not self._times_words.get(provider, has_word_times):
                start = committed
        return start

    @property
    def has_pending(self) -> bool:
        """Whether an utterance is being spoken that is not final yet."""
        return self._pending is not None

    def partial(self, partial: Partial) -> Hearing | None:
        """An utterance that is being spoken; what there is to show of it."""
        words = self._in_call(partial.words)
        kept = self._without_overlap(words)
        text = partial.text if len(kept) == len(words) else _text(kept, partial.text)
        if not text:
            self._pending = None
            return None
        if self._pending is None or self._pending.text != text:
            self._pending_end = self._clock.position
        start_s = kept[0].start_s if len(kept) < len(words) else self._at(partial.start_s)
        self._pending = structs.replace(partial, text=text)
        self._pending_start_s = start_s
        return Hearing(provider=self._provider, text=text, start_s=start_s)

    def final(self, final: Final) -> Segment | None:
        """A piece of transcript; the segment that is new in it, if any."""
        complete_at = self._complete_at(final)
        self._pending = None
        if not final.text or (final.words and final == self._last):
            return None  # some services say a thing twice: the same words at the same time are the same words
        self._last = final
        self._times_words[self._provider] = bool(final.words)
        if not final.words:
            return self._untimed_words(final, complete_at)
        words = self._in_call(final.words)
        kept = self._before_cut(self._without_overlap(words))
        kept = kept[self._repeats([word.word for word in kept]) :]
        if not kept:
            return None
        is_whole = len(kept) == len(words)
        start_s = self._at(final.start_s) if is_whole else None
        end_s = self._at(final.end_s) if is_whole else None
        start_s = kept[0].start_s if start_s is None else start_s
        end_s = kept[-1].end_s if end_s is None else max(end_s, kept[-1].end_s)
        spoken_s = end_s - kept[-1].start_s
        self._settle(self._sample(end_s), spoken_s + MARGIN_S if spoken_s <= LONGEST_OVERLAP_S else PRE_ROLL_S)
        return self._segment(final, final.text if is_whole else _text(kept, final.text), start_s, end_s, kept)

    def _untimed_words(self, final: Final, complete_at: int) -> Segment | None:
        """A final whose words have no times, with or without times of its own."""
        start_s, end_s = self._at(final.start_s), self._at(final.end_s)
        if end_s is not None and self._sample(end_s) <= self._seam:
            return None
        heard = final.text.split()
        repeated = self._repeats(heard)
        text = " ".join(heard[repeated:]) if repeated else final.text
        start_s = (self.committed or 0) / self._rate_hz if start_s is None else max(start_s, self._seam / self._rate_hz)
        if end_s is not None:
            self._settle(self._sample(end_s), 0.0)
        else:
            self._settle_untimed(complete_at, heard[repeated:])
            end_s = complete_at / self._rate_hz
        return self._segment(final, text, start_s, end_s, ()) if text else None

    def settle(self, position: int) -> None:
        """The recogniser has said everything about the audio before this position."""
        if self._cut is not None:
            if self._was_cut_into:
                return  # its last words were left to the next session
            position = min(position, self._cut - round(UNSETTLED_S * self._rate_hz))
        if self.committed is not None and position > self.committed:
            self._settle(position, PRE_ROLL_S)

    def settle_before_pending(self) -> None:
        """The recogniser has said everything but the utterance that it never made final."""
        if self._pending_start_s is not None:
            self.settle(self._sample(self._pending_start_s - MARGIN_S))

    def cut(self, position: int) -> None:
        """
        The session is ended here although somebody may be speaking.

        A word that reaches up to here may be half a word: it is left to the next session, which hears it whole.
        """
        self._cut = position

    def forced(self) -> Segment | None:
        """What was heard last and never became final: the best that is known."""
        partial, self._pending = self._pending, None
        if partial is None:
            return None
        start_s = self._pending_start_s
        if start_s is None:
            start_s = (self.committed or 0) / self._rate_hz
        end = max(self._pending_end, self._sample(start_s))
        self.committed = max(self.committed or 0, end)
        return Segment(
            provider=self._provider,
            text=partial.text,
            start_s=start_s,
            end_s=end / self._rate_hz,
            language=self._language,
            recovered=self._is_recovered(end),
            forced=True,
        )

    def _segment(self, final: Final, text: str, start_s: float, end_s: float, words: tuple[Word, ...]) -> Segment:
        end_s = max(start_s, end_s)
        return Segment(
            provider=self._provider,
            text=text,
            start_s=start_s,
            end_s=end_s,
            words=words,
            language=final.language or self._language,
            confidence=final.confidence,
            recovered=self._is_recovered(self._sample(end_s)),
        )

    def _settle(self, position: int, overlap_s: float) -> None:
        if self.committed is None or position < self.committed:
            return
        self.committed = self._timed = position
        self.resume = max(self.resume or 0, position - round(overlap_s * self._rate_hz))
        self._tail = ()

    def _settle_untimed(self, position: int, said: Sequence[str]) -> None:
        self.committed = max(self.committed or 0, position)
        self._tail = (*self._tail, *map(_plain, said))[-_TAIL_WORDS:]
        if position >= self._caught_up_from:
            self.resume = max(self._timed, self.resume or 0, position - round(IN_FLIGHT_S * self._rate_hz))

    def _complete_at(self, final: Final) -> int:
        """Position that was sent when a final's text had been heard: with the last partial, if that had all of it."""
        if self._pending is not None and _plain(self._pending.text) == _plain(final.text):
            return self._pending_end
        return self._clock.position

    def _without_overlap(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        seam_s = self._seam / self._rate_hz
        if not words or words[0].start_s >= seam_s:
            return words
        return tuple(word for word in words if word.start_s + word.end_s >= 2 * seam_s)

    def _before_cut(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        if self._cut is None:
            return words
        certain_s = self._cut / self._rate_hz - UNSETTLED_S
        certain = tuple(word for word in words if word.end_s <= certain_s)
        self._was_cut_into |= len(certain) < len(words)
        return certain

    def _repeats(self, heard: Sequence[str]) -> int:
        """How many words at the beginning repeat what was said before the session began."""
        if not self._repeated or not heard:
            return 0
        is_first, self._is_first = self._is_first, False
        count, left = _overlap(self._repeated, [_plain(word) for word in heard])
        if not count and is_first and len(heard) <= _GARBLED_WORDS:
            return len(heard)  # it is from the beginning of what was said before, but made of half a word
        self._repeated = left
        return count

    def _in_call(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        at = self._clock.call_s
        return tuple(
            Word(word=word.word, start_s=at(word.start_s), end_s=at(word.end_s), confidence=word.confidence)
            for word in words
        )

    def _at(self, session_s: float | None) -> float | None:
        return None if session_s is None else self._clock.call_s(session_s)

    def _sample(self, call_s: float) -> int:
        return max(0, round(call_s * self._rate_hz))

    def _is_recovered(self, end: int) -> bool:
        return self._is_recovery or end <= self._recovered_until


def _text(words: Sequence[Word], original: str) -> str:
    """Words as text; without blanks where the recogniser writes none."""
    return (" " if " " in original.strip() else "").join(word.word for word in words)


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _overlap(tail: tuple[str, ...], heard: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """
    How many words at the beginning of what was heard repeat the tail, and what of the tail may still be repeated.

    A first word may be garbled, having been cut into: it counts as repeated if what follows it is.
    """
    length = skipped = place = 0
    for before in (0, 1):
        for at in range(len(tail)):
            longest = min(len(tail) - at, len(heard) - before)
            if longest > length and list(tail[at : at + longest]) == list(heard[before : before + longest]):
                length, skipped, place = longest, before, at
    if not length:
        return 0, ()
    count = skipped + length
    return count, tail[place + length :] if count == len(heard) else ()
