"""Whole events: every field with speech, numbers that are cut over finals, and nothing else."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction.memory import Memory, Said
from tests.redaction.finders import body_mask

MASK = body_mask()
CALL = {"id": "call_1", "from": "+14155552671", "metadata": {"text": "4111 1111 1111 1111"}}


def event(type_: str = "transcript.final", **data: Any) -> bytes:
    return msgspec.json.encode({"type": type_, "id": "evt_1", "data": {"call": CALL, "sequence": 1, **data}})


def final(text: str, at_s: float = 0.0, track: str = "inbound", sequence: int = 1, call_id: str = "call_1") -> bytes:
    words = [{"word": word, "start_s": at_s, "end_s": at_s + 1} for word in text.split()]
    data = {"call": {"id": call_id}, "sequence": sequence, "track": track, "text": text, "words": words}
    return msgspec.json.encode({"type": "transcript.final", "data": data | {"start_s": at_s, "end_s": at_s + 1}})


def data_of(body: bytes) -> Any:
    return msgspec.json.decode(body)["data"]


def texts(bodies: list[bytes]) -> list[str]:
    return [data_of(body)["text"] for body in bodies]


def test_a_final_keeps_all_but_the_words_that_are_masked() -> None:
    words = [
        {"word": word, "start_s": at, "end_s": at + 0.5} for at, word in enumerate(["card", "4111", "1111,", "ok"])
    ]
    before = event(text="card 4111 1111, ok", words=words, language="en", start_s=0.0)
    after = data_of(MASK.mask(before))
    assert after["text"] == "card [digits], ok"
    assert [word["word"] for word in after["words"]] == ["card", "[digits]", "[digits],", "ok"]
    assert [(word["start_s"], word["end_s"]) for word in after["words"]] == [(at, at + 0.5) for at in range(4)]
    assert {**after, "text": "", "words": []} == {**data_of(before), "text": "", "words": []}


def test_an_event_with_nothing_to_mask_keeps_its_very_bytes() -> None:
    body = b'{ "type":"transcript.final", "data":{"call":{"id":"a"},"text":"one  moment"} }'
    assert MASK.mask(body) is body


def test_who_called_whom_is_no_speech() -> None:
    assert data_of(MASK.mask(event(text="4111 1111")))["call"] == CALL


@pytest.mark.parametrize("type_", ["transcript.final", "something.new"])
def test_speech_is_masked_whatever_the_event(type_: str) -> None:
    body = event(type_, cue="card", text="4111 1111", more=[{"text": "a@b.com"}], deep={"text": "call 415 555 2671"})
    after = data_of(MASK.mask(body))
    assert (after["text"], after["more"], after["deep"]) == (
        "[digits]",
        [{"text": "[email]"}],
        {"text": "call [phone]"},
    )


def test_keys_are_masked_on_request() -> None:
    body = event("call.dtmf", digit="5", at_s=1.0)
    assert MASK.mask(body) == body
    assert data_of(body_mask(keys=True).mask(body))["digit"] == "[dtmf]"


def test_a_number_that_is_cut_at_pauses_is_masked_to_its_end() -> None:
    said = ["my card is 4111 1111", "1111 11", "11", "thank you", "11 of them"]
    bodies = [final(text, at_s=2.0 * place) for place, text in enumerate(said)]
    assert texts(list(MASK.in_order(bodies))) == [
        "my card is [digits]",
        "[digits]",
        "[digits]",
        "thank you",
        "11 of them",
    ]


def test_words_between_do_not_matter_if_somebody_else_says_them() -> None:
    bodies = [final("it is 4111 1111"), final("uh huh", track="outbound"), final("11 okay", at_s=2.0)]
    assert texts(list(MASK.in_order(bodies)))[2] == "[digits] okay"


@pytest.mark.parametrize(
    "other", [final("11 okay", at_s=30.0), final("11 okay", track="outbound"), final("11 okay", call_id="call_2")]
)
def test_a_number_ends_with_a_long_silence_another_voice_or_another_call(other: bytes) -> None:
    assert texts(list(MASK.in_order([final("it is 4111 1111"), other])))[1] == "11 okay"


def test_a_number_goes_on_from_one_that_is_stored_masked() -> None:
    assert texts(list(MASK.in_order([final("it is [digits]"), final("11 okay", at_s=2.0)])))[1] == "[digits] okay"


def test_only_cues_and_what_begins_with_a_number_need_to_know_what_was_before() -> None:
    assert MASK.needs_memory("transcript.final", final("11 okay"))
    assert not MASK.needs_memory("transcript.final", final("okay 11"))
    assert MASK.needs_memory("assist.cue", event("assist.cue", text="okay"))
    assert not MASK.needs_memory("call.ended", event("call.ended", conversation=[]))


def test_partials_are_masked_eagerly_and_change_nothing_for_the_finals() -> None:
    memory = Memory()
    partial = event("transcript.partial", text="my card is 41", track="inbound", start_s=None)
    assert data_of(MASK.mask(partial, memory))["text"] == "my card is [digits]"
    assert data_of(MASK.mask(final("11 okay"), memory))["text"] == "11 okay"


def test_the_conversation_is_masked_as_its_finals_were() -> None:
    said = [
        ("inbound", "it is 4111 1111"),
        ("outbound", "yes"),
        ("inbound", "11 and that's it"),
        ("inbound", "11 more"),
    ]
    finals = [final(text, at_s=place * 1.5, track=track) for place, (track, text) in enumerate(said)]
    lines = [
        {"track": track, "speaker": "x", "text": text, "start_s": place * 1.5, "end_s": place * 1.5 + 1}
        for place, (track, text) in enumerate(said)
    ]
    after = data_of(MASK.mask(event("call.ended", conversation=lines)))
    assert [line["text"] for line in after["conversation"]] == texts(list(MASK.in_order(finals)))
    assert after["conversation"][2]["text"] == "[digits] and that's it"


def test_words_of_several_voices_are_judged_voice_by_voice() -> None:
    spoken = [("inbound", "four"), ("outbound", "yes"), ("inbound", "one"), ("inbound", "one"), ("inbound", "one")]
    words = [{"word": word, "start_s": 0.0, "end_s": 1.0, "track": track, "speaker": None} for track, word in spoken]
    after = data_of(MASK.mask(event("call.transcript", text="four one one one. Yes.", utterances=[], words=words)))
    assert after["text"] == "[digits]. Yes."
    assert [word["word"] for word in after["words"]] == ["[digits]", "yes", "[digits]", "[digits]", "[digits]"]


@given(st.lists(st.sampled_from(["it is 4111 1111", "11", "four one", "one moment", "[card]", "in 1984"]), max_size=6))
def test_a_call_that_is_masked_already_stays_as_it_is(said: list[str]) -> None:
    once = list(MASK.in_order([final(text, at_s=2.0 * place) for place, text in enumerate(said)]))
    assert list(MASK.in_order(once)) == once


def test_what_is_remembered_is_bounded_and_forgotten_with_the_call() -> None:
    memory = Memory()
    for number in range(10_001):
        memory.note(f"call_{number}", "inbound", Said("4111", 0), digits=4, end_s=1.0)
    assert not memory.knows("call_0")
    MASK.mask(msgspec.json.encode({"type": "call.ended", "data": {"call": {"id": "call_5"}}}), memory)
    assert not memory.knows("call_5")
    assert memory.knows("call_6")


def test_a_number_that_is_counted_out_over_finals_shows_two_digits_at_most() -> None:
    bodies = [final(text, at_s=2.0 * place) for place, text in enumerate(["it's four", "one", "one", "one", "one"])]
    assert texts(list(MASK.in_order(bodies))) == ["it's four", "one", "[digits]", "[digits]", "[digits]"]


@given(st.lists(st.sampled_from(["4111", "1111", "one", "11", "okay", "1984", "then", "4"]), min_size=1, max_size=6))
def test_of_a_number_that_goes_on_no_partial_shows_a_digit_with_which_it_does(words: list[str]) -> None:
    before = final("it is 4111 1111")
    whole = data_of(list(MASK.in_order([before, final(" ".join(words), at_s=2.0)]))[1])["text"]
    if whole.startswith("[digits]"):
        for heard in range(1, len(words) + 1):
            body = event("transcript.partial", text=" ".join(words[:heard]), track="inbound", start_s=None)
            assert data_of(MASK.mask(body))["text"].startswith(("[digits]", "[phone]", "[card]"))
