"""The judge of the fault harness: what is right passes, and nothing that is wrong does."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import tones
from tests.chaos.judge import Expected, Verdict, judge

Log = list[dict[str, Any]]
CALL = {"id": "call_1", "platform_call_id": "CA1"}
OWED = Expected("CA1", {"inbound": range(100, 106)}, owed=6, must_be_complete=True)


def entry(number: int, kind: str, **data: Any) -> dict[str, Any]:
    event = {"type": kind, "data": {"call": CALL, "sequence": number, **data}}
    return {"id": f"evt_{number}", "digest": f"d{number}", "verified": True, "kept": True, "event": event}


def final(number: int, first: int, count: int) -> dict[str, Any]:
    places = range(first, first + count)
    words = [{"word": tones.word(100 + each), "start_s": each + 0.15, "end_s": each + 0.85} for each in places]
    text = " ".join(tones.word(100 + each) for each in places)
    times = {"start_s": words[0]["start_s"], "end_s": words[-1]["end_s"]}
    return entry(number, "transcript.final", track="inbound", text=text, words=words, recovered=False, **times)


def good_log() -> Log:
    finals = [final(2, 0, 2), final(3, 2, 3), final(4, 5, 1)]
    lines = [{name: each["event"]["data"][name] for name in ("start_s", "track", "text")} for each in finals]
    ended = {"complete": True, "outcome": "completed", "reason": "stop", "conversation": lines}
    return [entry(1, "call.started"), *finals, entry(5, "call.ended", **ended)]


def verdict(log: Log, owed: Expected = OWED) -> Verdict:
    return judge([owed], log)


def test_a_call_that_was_heard_as_a_whole_has_no_fault() -> None:
    found = verdict(good_log())
    assert (found.faults, found.figures["words"], found.figures["words_lost"]) == ([], 6, 0)


def test_a_repeated_delivery_of_the_same_body_is_no_fault() -> None:
    log = good_log()
    assert verdict([*log[:3], log[1], log[2], *log[2:]]).faults == []


def test_a_delivery_that_was_not_kept_does_not_count() -> None:
    log = good_log()
    refused = {**log[4], "kept": False}
    assert verdict([refused, *log]).faults == []


def test_words_beyond_what_is_owed_may_be_missing_at_the_end() -> None:
    log = good_log()
    del log[3]
    log[3] = entry(4, "call.ended", **{**log[3]["event"]["data"], "sequence": 4})
    log[3]["event"]["data"]["conversation"].pop()
    owed = Expected("CA1", {"inbound": range(100, 106)}, owed=5)
    assert verdict(log, owed).faults == []


def test_a_call_that_may_be_unknown_is_no_fault() -> None:
    assert verdict([], Expected("CA1", {"inbound": range(6)}, owed=0, must_exist=False)).faults == []


def data(log: Log, index: int) -> dict[str, Any]:
    found: dict[str, Any] = log[index]["event"]["data"]
    return found


def lose_a_word(log: Log) -> None:
    data(log, 2)["words"].pop(1)
    data(log, 2)["text"] = "n102 n104"


def double_a_word(log: Log) -> None:
    data(log, 2)["words"].append(dict(data(log, 2)["words"][-1]))
    data(log, 2)["text"] += " n104"


def swap_words(log: Log) -> None:
    first, second = data(log, 1)["words"]
    first["word"], second["word"] = second["word"], first["word"]
    data(log, 1)["text"] = "n101 n100"


def hear_another_call(log: Log) -> None:
    data(log, 3)["words"][0]["word"] = data(log, 3)["text"] = "n999"


def shift_a_word(log: Log) -> None:
    data(log, 2)["words"][0]["start_s"] += 0.06


def stretch_a_word(log: Log) -> None:
    data(log, 2)["words"][0]["end_s"] += 0.06


def differ_in_text(log: Log) -> None:
    data(log, 1)["text"] = "n100"


def skip_a_number(log: Log) -> None:
    data(log, 4)["sequence"] = 6


def swap_events(log: Log) -> None:
    log[1], log[2] = log[2], log[1]


def end_twice(log: Log) -> None:
    log.append(copy.deepcopy(log[4]))
    log[5]["id"] = "evt_6"
    data(log, 5)["sequence"] = 6


def end_never(log: Log) -> None:
    log.pop()


def not_begin(log: Log) -> None:
    log.pop(0)


def change_a_body(log: Log) -> None:
    log.append({**log[2], "digest": "another"})


def forge(log: Log) -> None:
    log[2]["verified"] = False


def be_incomplete(log: Log) -> None:
    data(log, 4)["complete"] = False


def tell_another_conversation(log: Log) -> None:
    data(log, 4)["conversation"].pop()


def tell_a_gap(log: Log) -> None:
    ended = log.pop()
    log += [entry(5, "call.gap", track="inbound"), entry(6, "call.ended", **{**ended["event"]["data"], "sequence": 6})]


def deliver_nothing(log: Log) -> None:
    log.clear()


def make_two_calls(log: Log) -> None:
    other = copy.deepcopy(log)
    for each in other:
        each["id"] += "b"
        each["event"]["data"]["call"] = {"id": "call_2", "platform_call_id": "CA1"}
    log += other


@pytest.mark.parametrize(
    "spoil",
    [
        lose_a_word, double_a_word, swap_words, hear_another_call, shift_a_word, stretch_a_word, differ_in_text,
        skip_a_number, swap_events, end_twice, end_never, not_begin, change_a_body, forge, be_incomplete,
        tell_another_conversation, tell_a_gap, deliver_nothing, make_two_calls,
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_found(spoil: Callable[[Log], None]) -> None:
    log = good_log()
    spoil(log)
    assert not verdict(log).is_good


def test_finals_that_are_not_marked_as_recovered_are_found_where_they_must_be() -> None:
    owed = Expected("CA1", {"inbound": range(100, 106)}, owed=6, must_be_recovered=True)
    assert verdict(good_log(), owed).faults == ["CA1 inbound: finals are not marked as recovered"]


def test_a_call_that_nobody_placed_is_found() -> None:
    assert judge([], good_log()).faults == ["CA1: was never placed"]
