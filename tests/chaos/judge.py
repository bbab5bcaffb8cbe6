"""
What was delivered, held against what was sent. Pure.

For each call: its events come once (a repeated webhook-id is the same event again, with the same body), in the order of
a sequence without holes that begins at 1 and ends with the only `call.ended`; the finals of a track say its seconds in
order, each once, beginning with the first and without a hole, at least as far as they must, each at its time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import tones

TOLERANCE_S = 0.05
MOST_FAULTS = 20

Event = dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """
    What is owed to one call.

    Args:
        call_sid: the platform's name of it.
        values: by track, what its seconds carry, in order.
        owed: how many of these at least must have been transcribed.
        must_exist: whether the gateway must know of it; else it may.
        must_be_complete: whether `call.ended` must say so.
        must_be_recovered: whether every final must be marked so.
        was_lied_about: the speech service did not tell the truth; what was said twice, in what order and when is then
            no fault of ours.
    """

    call_sid: str
    values: Mapping[str, Sequence[int]]
    owed: int
    must_exist: bool = True
    must_be_complete: bool = False
    must_be_recovered: bool = False
    was_lied_about: bool = False


@dataclass
class Verdict:
    """Faults in words (the first ones), how many there were, and counts."""

    faults: list[str] = field(default_factory=list)
    count: int = 0
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.count == 0

    def fault(self, text: str) -> None:
        self.count += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(text)

    def add(self, name: str, amount: float = 1) -> None:
        self.figures[name] = self.figures.get(name, 0) + amount

    def merge(self, other: "Verdict") -> None:
        """Take what another run showed; figures add up, but the worst time stays the worst."""
        self.count += other.count
        self.faults = [*self.faults, *other.faults][:MOST_FAULTS]
        for name, amount in other.figures.items():
            if name == "worst_time_s":
                self.figures[name] = max(self.figures.get(name, 0.0), amount)
            else:
                self.add(name, amount)


def judge(calls: Iterable[Expected], deliveries: Iterable[Mapping[str, Any]]) -> Verdict:
    """
    Judge a run.

    Args:
        calls: all that were placed.
        deliveries: the receiver's log, see `tests.chaos.receiver`.
    """
    verdict = Verdict()
    events = _by_call(list(deliveries), verdict)
    for name in ("calls", "words_owed", "words_lost", "words_doubled", "two_bodies"):
        verdict.add(name, 0)
    known = set()
    for call in calls:
        verdict.add("calls")
        known.add(call.call_sid)
        if call.call_sid in events:
            for mine in events[call.call_sid]:
                _judge_call(call, mine, verdict)
            if len(events[call.call_sid]) > 1:
                verdict.fault(f"{call.call_sid}: is {len(events[call.call_sid])} calls")
        elif call.must_exist:
            verdict.fault(f"{call.call_sid}: nothing was delivered of it")
            verdict.add("words_lost", call.owed * len(call.values))
    for call_sid in events.keys() - known:
        verdict.fault(f"{call_sid}: was never placed")
    return verdict


def finals_of(events: Iterable[Event], track: str) -> list[Event]:
    """The data of a track's finals, in order."""
    return [e["data"] for e in events if e["type"] == "transcript.final" and e["data"]["track"] == track]


def words_of(finals: Iterable[Event]) -> list[Event]:
    """Their words, in order."""
    return [word for final in finals for word in final["words"]]


def kept_events(deliveries: Iterable[Mapping[str, Any]]) -> dict[str, list[Event]]:
    """By our call id: the events that the receiver kept, each once, in the order of the first time."""
    return {call_id: calls for per_sid in _by_sid(deliveries).values() for call_id, calls in per_sid.items()}


def _by_sid(deliveries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[Event]]]:
    seen: set[str] = set()
    events: dict[str, dict[str, list[Event]]] = {}
    for each in deliveries:
        if each["kept"] and each["id"] not in seen and each["event"]["data"]["sequence"] is not None:
            seen.add(each["id"])
            call = each["event"]["data"]["call"]
            events.setdefault(call["platform_call_id"], {}).setdefault(call["id"], []).append(each["event"])
    return events


def _by_call(deliveries: Sequence[Mapping[str, Any]], verdict: Verdict) -> dict[str, list[list[Event]]]:
    """By the platform's call id, the calls that we made of it; notes what is wrong with single deliveries."""
    digests: dict[str, str] = {}
    for each in deliveries:
        verdict.add("deliveries")
        if not each["verified"]:
            verdict.fault(f"{each['id']}: its signature does not hold")
        if digests.setdefault(each["id"], each["digest"]) != each["digest"]:
            verdict.fault(f"{each['id']}: has two bodies")
            verdict.add("two_bodies")
    return {call_sid: list(calls.values()) for call_sid, calls in _by_sid(deliveries).items()}


def _judge_call(call: Expected, events: Sequence[Event], verdict: Verdict) -> None:
    sequences = [event["data"]["sequence"] for event in events]
    if sequences != list(range(1, len(events) + 1)):
        verdict.fault(f"{call.call_sid}: events came as {_short(sequences)}")
    types = [event["type"] for event in events]
    if types[0] != "call.started" or types.count("call.started") != 1:
        verdict.fault(f"{call.call_sid}: does not begin with its one call.started")
    if types.count("call.ended") != 1 or types[-1] != "call.ended":
        verdict.fault(f"{call.call_sid}: {types.count('call.ended')} times call.ended, the last event is {types[-1]}")
    for event_type in set(types):
        verdict.add(event_type, types.count(event_type))
    for track, values in call.values.items():
        _judge_track(call, track, values, finals_of(events, track), verdict)
    if types[-1] == "call.ended":
        _judge_end(call, events, verdict)


def _judge_track(call: Expected, track: str, values: Sequence[int], finals: Sequence[Event], verdict: Verdict) -> None:
    name = f"{call.call_sid} {track}"
    words = words_of(finals)
    heard = [each["word"] for each in words]
    verdict.add("words", len(heard))
    verdict.add("words_owed", call.owed)
    verdict.add("recovered", sum(final["recovered"] for final in finals))
    wanted = [tones.word(value) for value in values]
    if missing := set(wanted[: call.owed]) - set(heard):
        verdict.add("words_lost", len(missing))
        places = [index for index, word in enumerate(wanted) if word in missing]
        verdict.fault(f"{name}: {len(missing)} of {call.owed} seconds are lost: {_short(places)}")
    if len(heard) > len(set(heard)):
        verdict.add("words_doubled", len(heard) - len(set(heard)))
    if call.was_lied_about:
        return
    if len(heard) > len(set(heard)):
        twice = [index for index, word in enumerate(wanted) if heard.count(word) > 1]
        verdict.fault(f"{name}: seconds are there twice: {_short(twice)}")
    if heard != wanted[: len(heard)] and not missing and len(heard) == len(set(heard)):
        verdict.fault(f"{name}: words are out of order, or not of this call, or behind a hole: {_short(heard)}")
    if [final["text"].split() for final in finals] != [[each["word"] for each in final["words"]] for final in finals]:
        verdict.fault(f"{name}: texts and words of finals differ")
    if call.must_be_recovered and not all(final["recovered"] for final in finals):
        verdict.fault(f"{name}: finals are not marked as recovered")
    _judge_times(name, wanted, call.owed, words, verdict)


def _judge_times(name: str, wanted: Sequence[str], owed: int, words: Sequence[Event], verdict: Verdict) -> None:
    places = {word: index for index, word in enumerate(wanted)}
    worst_s = 0.0
    for each in words:
        if (place := places.get(each["word"])) is not None:
            worst_s = max(worst_s, abs(each["start_s"] - place - tones.WORD_START_S))
            if place < owed:  # the end of another one may never have been sent
                worst_s = max(worst_s, abs(each["end_s"] - place - tones.WORD_END_S))
    verdict.figures["worst_time_s"] = max(verdict.figures.get("worst_time_s", 0.0), worst_s)
    if worst_s > TOLERANCE_S:
        verdict.fault(f"{name}: a word is {worst_s:.3f} s off its time")


def _judge_end(call: Expected, events: Sequence[Event], verdict: Verdict) -> None:
    ended = events[-1]["data"]
    finals = [event["data"] for event in events if event["type"] == "transcript.final"]
    lines = sorted((final["start_s"], final["track"], final["text"]) for final in finals)
    if sorted((each["start_s"], each["track"], each["text"]) for each in ended["conversation"]) != lines:
        verdict.fault(f"{call.call_sid}: call.ended tells another conversation than its finals")
    if call.must_be_complete and ended["complete"] is not True:
        verdict.fault(f"{call.call_sid}: not complete ({ended['outcome']}, {ended['reason']})")
    if call.must_be_complete and any(event["type"] == "call.gap" for event in events):
        verdict.fault(f"{call.call_sid}: a gap is told where nothing is missing")


def _short(items: Sequence[Any]) -> str:
    return str(list(items) if len(items) <= 12 else [*items[:6], "…", *items[-6:]])
