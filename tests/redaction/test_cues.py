"""A cue shows what its masked finals show there, wherever it is masked."""

import sqlite3
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.assist.finder import CueFinder
from gateway.assist.rules import parse
from gateway.config import RedactionSettings
from gateway.events import AssistCue, Segment, Track, TranscriptFinal
from gateway.live.redacted import show_masked
from gateway.outbox import Outbox, payload
from gateway.outbox.schema import FILE_NAME
from gateway.redaction import BodyMask, Redaction
from gateway.redaction.memory import Memory
from tests.redaction.finders import ALL, body_mask
from tests.support import call_events
from tests.support.webhook_receiver import Receiver

AT = datetime(2026, 11, 20, tzinfo=UTC)
RULES = parse(
    rb"""
[[rule]]
name = "phrase"
phrase = ["card is", "four one", "okay then"]
cooldown_s = 0
[[rule]]
name = "is"
phrase = "is four"
cooldown_s = 0
[[rule]]
name = "near"
words = ["my", "thanks"]
within = 20
cooldown_s = 0
[[rule]]
name = "figures"
pattern = '\d+(?: \d+)?'
cooldown_s = 0
"""
)
"""Rules whose matches begin and end within numbers."""


def events_of(said: Sequence[str]) -> list[TranscriptFinal | AssistCue]:
    """The finals of one track and their cues, in order and numbered after a call's start."""
    cues, events = CueFinder(lambda: RULES), list[TranscriptFinal | AssistCue]()
    for place, text in enumerate(said):
        at_s = place * 2.0
        events.append(structs.replace(call_events.final(text=text), words=(), start_s=at_s, end_s=at_s + 1))
        for cue in cues.hear(Track.INBOUND, Segment(provider="p", text=text, start_s=at_s, end_s=at_s + 1)):
            events.append(call_events.cue(cue.name, cue.text, start_s=cue.start_s, end_s=cue.end_s))
    return [structs.replace(event, sequence=number) for number, event in enumerate(events, start=2)]


def bodies_of(said: Sequence[str]) -> list[bytes]:
    return [payload.encode(event, f"evt_{event.sequence}", AT) for event in events_of(said)]


def texts(bodies: Sequence[bytes], type_: str) -> list[str]:
    decoded = [msgspec.json.decode(body) for body in bodies]
    return [event["data"]["text"] for event in decoded if event["type"] == type_]


def after_all(mask: BodyMask, bodies: Sequence[bytes]) -> list[bytes]:
    """Each of them masked by itself, with what was before at hand."""
    return [mask.mask_after(body, bodies[:place]) for place, body in enumerate(bodies)]


@pytest.mark.parametrize(
    ("kinds", "said", "shown"),
    [
        (ALL, ["my card is four one one one, okay then"], ["card is", "is [digits]", "[digits]", "okay then"]),
        (
            ALL,
            ["my card", "is 4111 1111 1111 1111 thanks"],
            ["card is", "[card]", "[card]", "my card is [card] thanks"],
        ),
        (["card"], ["my card is 4111 1111 1111 1111"], ["card is", "[card]", "[card]"]),
        (["card"], ["my card is 4111 1111 1111 1112"], ["card is", "4111 1111", "1111 1112"]),
        (ALL, ["it is 41", "11 okay then"], ["41", "[digits]", "okay then"]),
        (ALL, ["look at page 41 okay then"], ["41", "okay then"]),
        (ALL, ["it is four", "one one one"], ["is four", "four [digits]"]),
    ],
)
def test_a_cue_shows_what_its_masked_finals_show(kinds: Collection[str], said: list[str], shown: list[str]) -> None:
    mask, bodies = body_mask(kinds), bodies_of(said)
    assert texts(list(mask.in_order(bodies)), "assist.cue") == shown
    assert texts(after_all(mask, bodies), "assist.cue") == shown


PIECES = ["my", "card", "is", "four one one one", "4111 1111", "41", "11", "1234", "one, two", "okay", "then", "thanks"]


@given(
    st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4, unique=True), min_size=1, max_size=4),
    st.sampled_from([ALL, ("card",), ("phone", "digits")]),
    st.booleans(),
)
def test_a_cue_is_a_piece_of_its_masked_finals(
    said: list[list[str]], kinds: tuple[str, ...], has_pattern: bool
) -> None:
    mask = body_mask(kinds, order=r"is \S+|11.{1,9}then") if has_pattern else body_mask(kinds)
    bodies = bodies_of([" ".join(pieces) for pieces in said])
    for masked in (list(mask.in_order(bodies)), after_all(mask, bodies)):
        joined = " ".join(texts(masked, "transcript.final"))
        words = " ".join(text for pieces in said for text in pieces).split()
        if len(words) == len(set(words)):  # else a cue is masked if it is in one of its places
            assert [cue for cue in texts(masked, "assist.cue") if cue not in joined] == []


def test_the_same_words_are_masked_if_they_are_in_one_place() -> None:
    bodies = bodies_of(["is four by four, my pin is four one one"])
    assert texts(list(body_mask().in_order(bodies)), "assist.cue") == ["is [digits]", "is [digits]", "[digits]"]


@pytest.mark.parametrize(
    ("said", "shown"), [("4111", "[digits]"), ("card 41", "card [digits]"), ("11 please", "[digits] please")]
)
def test_a_cue_whose_final_is_not_known_may_be_a_piece_of_a_number(said: str, shown: str) -> None:
    body = payload.encode(call_events.cue("card", said), "evt_1", AT)
    assert texts([body_mask().mask(body, Memory())], "assist.cue") == [shown]


SAID = ["my card", "is 4111 1111 1111 1111 thanks"]
SHOWN = ["card is", "[card]", "[card]", "my card is [card] thanks"]


async def test_receivers_the_store_and_viewers_show_the_same(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        hook = receiver.settings(redact=["card"])
        async with Outbox(tmp_path / "sent", (hook,), redaction=Redaction(RedactionSettings())) as outbox:
            await outbox.publish(call_events.started())
            for event in events_of(SAID):
                await outbox.publish(event)
            requests = await receiver.wait_for(len(events_of(SAID)) + 1)
            viewed = sqlite3.connect(tmp_path / "sent" / FILE_NAME)
            show_masked(viewed, body_mask(["card"]))
            seen = [body for (body,) in viewed.execute("SELECT body FROM events ORDER BY sequence")]
            viewed.close()
    assert texts([each.body for each in requests], "assist.cue") == SHOWN
    assert texts(seen, "assist.cue") == SHOWN


async def test_a_cue_of_a_call_that_a_restart_cut_is_masked_as_its_finals_were(tmp_path: Path) -> None:
    redaction = RedactionSettings(store=True, kinds=("card",))
    events = [call_events.started(), *events_of(SAID)]
    async with Outbox(tmp_path, redaction=Redaction(redaction)) as outbox:
        for event in events[:2]:
            await outbox.publish(event)
    async with Outbox(tmp_path, redaction=Redaction(redaction)) as outbox:
        stored = [await outbox.publish(event) for event in events[2:]]
    assert texts([each.body for each in stored], "assist.cue") == SHOWN
