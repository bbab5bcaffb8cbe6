"""What may be set, and what is refused before the gateway starts."""

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config import RedactionSettings, Settings
from gateway.patterns import LONGEST, Pattern
from gateway.redaction import Redaction
from tests.support.webhook_receiver import settings_for


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"patterns": {"order": "("}}, "order: is not a pattern"),
        ({"patterns": {"order": "(?=x)y"}}, "is not a pattern"),
        ({"patterns": {"order": "(a)\\1"}}, "is not a pattern"),
        ({"patterns": {"order": "x*"}}, "matches when nothing is said"),
        ({"patterns": {"order": "x" * (LONGEST + 1)}}, "longer than 1000 characters"),
        ({"patterns": {"card": "x"}}, "is no name of a pattern"),
        ({"patterns": {"Order 1": "x"}}, "is no name of a pattern"),
        ({"kinds": ["names"]}, "kinds"),
        ({"languages": ["xx"]}, "languages"),
        ({"languages": []}, "languages"),
        ({"region": "XX"}, "is no country"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault.replace("(", r"\(")):
        RedactionSettings(**changes)


def test_a_receiver_cannot_ask_for_what_is_not_there() -> None:
    hook = settings_for("http://127.0.0.1/hook", redact=["card", "order"])
    assert Settings(webhook=hook, redaction=RedactionSettings(patterns={"order": "ORD"})).webhook.redact
    with pytest.raises(ValidationError, match="no kind and no pattern: order"):
        Settings(webhook=hook)


def test_case_counts_for_nothing_in_expressions() -> None:
    assert list(Pattern("ord-[0-9]+").spans("an ORD-12 and é ord-3")) == [(3, 9), (16, 21)]


def test_masks_are_made_where_they_are_asked_for_only() -> None:
    nothing = Redaction(RedactionSettings())
    assert (nothing.store, nothing.viewers, nothing.recording) == (None, None, None)
    assert nothing.of_endpoint(settings_for("http://127.0.0.1/hook")) is None
    stored = Redaction(RedactionSettings(store=True))
    assert stored.store is stored.viewers
    assert stored.recording is None
