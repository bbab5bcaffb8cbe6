"""Masking in the store and on the way to each receiver."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import structs

from gateway.config import OutboxSettings, RedactionSettings
from gateway.events import CallEnded, TranscriptFinal, Utterance, Word
from gateway.outbox import Outbox
from gateway.redaction import Redaction
from tests.support import call_events
from tests.support.webhook_receiver import Received, Receiver, status

CARD = "4111 1111 1111 1111"
SECRETS = (b"4111", b"2671", b"smith")


def final(sequence: int, text: str, at_s: float = 1.0) -> TranscriptFinal:
    words = tuple(Word(word=word, start_s=at_s, end_s=at_s + 0.5) for word in text.split())
    made = call_events.final(sequence=sequence, text=text)
    return structs.replace(made, words=words, start_s=at_s, end_s=at_s + 1)


def ended(sequence: int, *said: TranscriptFinal) -> CallEnded:
    lines = [
        Utterance(track=each.track, speaker=each.speaker, text=each.text, start_s=each.start_s, end_s=each.end_s)
        for each in said
    ]
    return structs.replace(call_events.ended(sequence=sequence), conversation=tuple(lines))


def text_of(received: Received) -> str:
    return str(received.event["data"]["text"])


async def test_one_receiver_gets_it_masked_and_the_other_does_not(tmp_path: Path) -> None:
    async with Receiver() as masked, Receiver() as plain, Receiver() as cards:
        webhooks = (masked.settings(redact=True), plain.settings(), cards.settings(redact=["card"]))
        async with Outbox(tmp_path, webhooks, redaction=Redaction(RedactionSettings())) as outbox:
            await outbox.publish(final(1, f"pay {CARD} or call 415 555 2671"))
            (one,), (other,), (third,) = [await each.wait_for(1) for each in (masked, plain, cards)]
    assert text_of(one) == "pay [card] or call [phone]"
    assert text_of(other) == f"pay {CARD} or call 415 555 2671"
    assert text_of(third) == "pay [card] or call 415 555 2671"
    assert not any(secret in one.body for secret in SECRETS)
    for received in (one, other, third):
        received.verify()
    assert one.id == other.id == third.id


async def test_every_attempt_sends_the_same_bytes_also_after_a_restart(tmp_path: Path) -> None:
    settings = OutboxSettings(retry_delays_s=(0.0, 0.0, 0.0), probe_delays_s=(0.0,))
    redaction = Redaction(RedactionSettings())
    async with Receiver(status(503)) as receiver:
        webhooks = (receiver.settings(redact=True),)
        async with Outbox(tmp_path, webhooks, settings, redaction=redaction) as outbox:
            await outbox.publish(final(1, "it is 4111 1111"))
            await outbox.publish(final(2, "11 okay", at_s=3.0))
            await receiver.wait_for(2)
        receiver.answer = status(204)
        sent = len(receiver.requests)
        async with Outbox(tmp_path, webhooks, settings, redaction=Redaction(RedactionSettings())):
            await receiver.wait_for(sent + 2)
    first = {each.body for each in receiver.requests if each.sequence == 1}
    second = {each.body for each in receiver.requests if each.sequence == 2}
    assert [text_of(Received({}, body)) for body in first] == ["it is [digits]"]
    assert [text_of(Received({}, body)) for body in second] == ["[digits] okay"]
    for received in receiver.requests:
        received.verify()


async def test_partials_are_masked_for_the_receiver_that_wants_them_so(tmp_path: Path) -> None:
    async with Receiver() as masked, Receiver() as plain:
        wanted = {"events": ["transcript.partial"]}
        webhooks = (masked.settings(redact=True, **wanted), plain.settings(**wanted))
        async with Outbox(tmp_path, webhooks, redaction=Redaction(RedactionSettings())) as outbox:
            outbox.offer(call_events.partial(text="my card is 41"))
            (one,), (other,) = await masked.wait_for(1), await plain.wait_for(1)
    assert text_of(one) == "my card is [digits]"
    assert text_of(other) == "my card is 41"
    one.verify()


def stored_bytes(folder: Path) -> Iterator[bytes]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


async def test_nothing_of_it_reaches_the_disk_or_a_receiver(tmp_path: Path) -> None:
    said = [
        final(1, f"pay {CARD} please", 1.0),
        final(2, "my number is four one five five five five two six seven one", 4.0),
        final(3, "my card is 4111 1111", 8.0),
        final(4, "4111 11", 9.5),
        final(5, "john dot smith at example dot com", 12.0),
    ]
    redaction = Redaction(RedactionSettings(store=True))
    async with Receiver() as receiver, Outbox(tmp_path, (receiver.settings(),), redaction=redaction) as outbox:
        for event in said:
            await outbox.publish(event)
        await outbox.publish(ended(6, *said))
        requests = await receiver.wait_for(6)
        on_disk = list(stored_bytes(tmp_path))  # with the journal of the store, which is gone after it is closed
    on_disk += stored_bytes(tmp_path)
    secrets = (*SECRETS, b"five five five")
    assert not [secret for secret in secrets if any(secret in each for each in on_disk)]
    assert not [secret for secret in secrets if any(secret in each.body for each in requests)]
    assert [text_of(each) for each in requests[:5]] == [
        "pay [card] please",
        "my number is [phone]",
        "my card is [digits]",
        "[digits]",
        "[email]",
    ]
    assert [line["text"] for line in requests[5].event["data"]["conversation"]] == list(map(text_of, requests[:5]))


async def test_a_number_that_a_restart_cuts_is_masked_to_its_end(tmp_path: Path) -> None:
    redaction = RedactionSettings(store=True)
    async with Outbox(tmp_path, redaction=Redaction(redaction)) as outbox:
        await outbox.publish(final(1, "it is 4111 1111"))
    async with Outbox(tmp_path, redaction=Redaction(redaction)) as outbox:
        stored = await outbox.publish(final(2, "11 okay", at_s=3.0))
    assert msgspec.json.decode(stored.body)["data"]["text"] == "[digits] okay"


async def test_without_settings_nothing_is_masked(tmp_path: Path) -> None:
    async with Outbox(tmp_path, redaction=Redaction(RedactionSettings())) as outbox:
        stored = await outbox.publish(final(1, f"pay {CARD}"))
    assert msgspec.json.decode(stored.body)["data"]["text"] == f"pay {CARD}"
