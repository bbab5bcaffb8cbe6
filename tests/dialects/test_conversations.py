"""Every golden conversation yields exactly the events, errors and messages that are written beside it."""

import pytest

from gateway.dialects.base import Dialect
from gateway.errors import DialectError
from tests.support.conversations import Conversation, conversations


@pytest.mark.parametrize("conversation", conversations(), ids=str)
def test_conversation_yields_what_is_expected(conversation: Conversation) -> None:
    assert conversation.play() == conversation.expectations, conversation.header["fact"]


@pytest.mark.parametrize("conversation", conversations(), ids=str)
def test_conversation_yields_the_same_when_messages_arrive_as_bytes(conversation: Conversation) -> None:
    """aiohttp may be told not to decode text messages; that must make no difference."""
    as_text, as_bytes = conversation.dialect(), conversation.dialect()
    for message in conversation.incoming:
        octets = message if isinstance(message, bytes) else message.encode()
        assert _outcome(as_bytes, octets) == _outcome(as_text, message)


def _outcome(dialect: Dialect, message: str | bytes) -> object:
    try:
        return dialect.receive(message)
    except DialectError as error:
        return error.code, error.close_code
