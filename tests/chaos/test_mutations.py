"""Spoiled messages hurt nobody but the guilty; and what spoils them does spoil them, the same way for the same seed."""

import json
import random
import sys

import pytest

from tests.chaos import mutations
from tests.support import vendor_answers
from tests.support.attacks import STREAMS
from tests.support.mutation import Mutator, octets_of
from tests.support.phone import media_message

MEDIA = json.dumps(media_message(1))


@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
async def test_spoiled_messages_hurt_nobody_but_the_guilty() -> None:
    outcome = await mutations.run(1, short=True)
    assert outcome["ok"], outcome


def test_spoiled_answers_of_vendors_give_events_or_their_errors() -> None:
    assert not mutations.spoil_vendors(random.Random(1), 5_000).faults


@pytest.mark.parametrize("kind", vendor_answers.ANSWERS)
def test_the_answers_that_are_spoiled_are_valid(kind: str) -> None:
    """All of them are understood, most of them as an event."""
    protocol = vendor_answers.opened(kind)
    events = []
    for message in vendor_answers.conversation(kind):
        if "rror" not in message and "failed" not in message:
            events += protocol.receive(message)
    assert len(events) >= 2


def test_the_same_seed_spoils_the_same_way() -> None:
    first, second = (spoiled(random.Random(3), 200) for _ in range(2))
    assert first == second


def test_most_messages_are_spoiled_and_in_many_ways() -> None:
    changed = [octets_of(each) for each in spoiled(random.Random(4), 2_000) if each != MEDIA]
    assert len(changed) > 1_900
    assert len(set(changed)) > 1_000


def test_no_spoiled_message_is_much_longer_than_was_said() -> None:
    longest = max(len(octets_of(each)) for each in spoiled(random.Random(5), 5_000, most_bytes=1_000))
    assert longest < 50_000


@pytest.mark.parametrize("target", STREAMS)
def test_a_spoiled_conversation_keeps_the_share_that_was_asked_for(target: str) -> None:
    draw = random.Random(6)
    valid = STREAMS[target][1](draw) * 20
    messages, count = Mutator(draw, 1_000).conversation(valid, 0.5)
    assert count <= len(messages)
    if len(messages) >= len(valid):
        assert 0.3 * len(valid) < count < 0.7 * len(valid)


def spoiled(draw: random.Random, count: int, most_bytes: int = 5_000) -> list[str | bytes]:
    mutator = Mutator(draw, most_bytes)
    return [mutator.spoil(MEDIA) for _ in range(count)]
