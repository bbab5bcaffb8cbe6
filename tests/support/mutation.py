"""
Valid messages, spoiled: valid → mutate → cut, every choice drawn from one generator.

Fields are removed, doubled, of another type, huge, negative, not a number or deeply nested; octets are changed, lost or
cut off, so that JSON breaks, base64 breaks and UTF-8 breaks; text comes as binary and binary as text; messages are
doubled, lost and moved.
"""

import functools
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Message: TypeAlias = str | bytes

_RAW = "\x01raw\x01"
_DEEP = 2_000
# What no encoder writes, as it stands in the text.
_RAW_VALUES = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "+1", "1.", ".5", "0x10", "-0", "9" * 400, "1e-400"),
    *("[" * _DEEP + "]" * _DEEP, '{"a":' * _DEEP + "1" + "}" * _DEEP, '"\\ud800"', '"\\u0000"', "nul", "'x'", "[1,]"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, -0.0, 1e300, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**40),
    *(
        "",
        "0",
        "-1",
        "1.0",
        "1e3",
        "null",
        "true",
        "NaN",
        "inf",
        " ",
        "\x00",
        "\x7f",
        "\U0001f600",
        "\u202e",
        "*",
        "==",
    ),
    *("inbound", "outbound_track", "start", "media", "stop", "audio/x-L16", "en", "linear16", "/////w==", "/////w"),
    *([], [None], ["inbound", []], [[[[]]]], {}, {"event": "start"}, {"type": "init"}, {"": {"": ""}}),
)
_OCTETS = (
    *(b"", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b'"', b"\\", b"\\ud800"),
    *(b"{", b"}", b"[", b"]", b",", b":", b"9", b"-", b"\n", b"\r\n", b"%", b"&", b"=", b";", b" "),
)
_LONG = ("x", "\u00e9", "\\", "A", "=", "\x00")


def octets_of(message: Message) -> bytes:
    """As it goes over the wire: what came of octets becomes them again, and half a surrogate pair stays half a pair."""
    if isinstance(message, bytes):
        return message
    try:
        return message.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return message.encode("utf-8", "surrogatepass")


class Mutator:
    """
    Spoils messages.

    Args:
        draw: decides.
        most_bytes: about the length of the longest text that it makes.
    """

    def __init__(self, draw: random.Random, most_bytes: int) -> None:
        self._draw = draw
        self._most_bytes = most_bytes
        self._ways: tuple[Callable[[Message], Message], ...] = (
            *[self._other_field] * 6,
            *[self._without_field] * 3,
            *[self._doubled_key] * 2,
            *[self._other_octets] * 5,
            *[self._cut] * 2,
            self._swapped_type,
            self._swapped_type,
            self._arbitrary,
        )

    def spoil(self, message: Message) -> Message:
        """The message, changed in one to three ways; now and then it comes out as it was."""
        for _ in range(1 + (self._draw.random() < 0.2) + (self._draw.random() < 0.05)):
            message = self._draw.choice(self._ways)(message)
        return message

    def conversation(self, valid: Sequence[Message], share: float) -> tuple[list[Message], int]:
        """The conversation with about this share of its messages spoiled, lost, doubled or moved; and how many are."""
        messages: list[Message] = []
        spoiled = 0
        for message in valid:
            if self._draw.random() >= share:
                messages.append(message)
                continue
            spoiled += 1
            match self._draw.randrange(20):
                case 0:  # doubled
                    messages += [message, message]
                case 1:  # moved
                    messages.insert(self._draw.randrange(len(messages) + 1), message)
                case _:
                    messages.append(self.spoil(message))
        if self._draw.random() < 0.1:
            del messages[self._draw.randrange(len(messages)) + 1 :]
        return messages, min(spoiled, len(messages))

    def value(self) -> Any:
        """One that does not belong."""
        roll = self._draw.random()
        if roll < 0.01:
            return self._draw.choice(_LONG) * self._draw.randrange(self._most_bytes)
        return self._draw.choice(_VALUES)

    def octets(self, message: bytes) -> bytes:
        """With some octets changed, put in or taken out."""
        for _ in range(self._draw.choice((1, 1, 1, 2, 5))):
            at = self._draw.randrange(len(message) + 1)
            message = message[:at] + self._draw.choice(_OCTETS) + message[at + self._draw.randrange(3) :]
        return message

    # ── Ways: each takes any message ────────────────────────────────────────────────────────────────────────────

    def _other_field(self, message: Message) -> Message:
        if (found := self._place(message)) is None:
            return self._other_octets(message)
        tree, parent, key = found
        if self._draw.random() < 0.3:
            parent[key] = _RAW
            return json.dumps(tree).replace(json.dumps(_RAW), self._draw.choice(_RAW_VALUES))
        parent[key] = self.value()
        return json.dumps(tree, ensure_ascii=self._draw.random() < 0.5)

    def _without_field(self, message: Message) -> Message:
        if (found := self._place(message)) is None:
            return self._cut(message)
        tree, parent, key = found
        del parent[key]
        return json.dumps(tree)

    def _doubled_key(self, message: Message) -> Message:
        if (found := self._place(message)) is None or not isinstance(found[2], str):
            return self._other_octets(message)
        tree, _parent, key = found
        doubled = json.dumps(key)
        text = json.dumps(tree)
        return text.replace(f"{doubled}:", f"{doubled}: {json.dumps(self.value())}, {doubled}:", 1)

    def _other_octets(self, message: Message) -> Message:
        changed = self.octets(octets_of(message))
        if isinstance(message, bytes):
            return changed
        return changed.decode(errors="surrogateescape")

    def _cut(self, message: Message) -> Message:
        return message[: self._draw.randrange(len(message) + 1)]

    def _swapped_type(self, message: Message) -> Message:
        if isinstance(message, bytes):
            return message.decode(errors="surrogateescape")
        return octets_of(message)

    def _arbitrary(self, _message: Message) -> Message:
        octets = self._draw.randbytes(self._draw.randrange(64))
        if self._draw.random() < 0.02:
            octets *= self._draw.randrange(1 + self._most_bytes // 64)
        return octets if self._draw.random() < 0.5 else octets.decode(errors="surrogateescape")

    def _place(self, message: Message) -> tuple[Any, Any, Any] | None:
        """A fresh tree of the message, and the parent and the key of one of its fields at any depth."""
        if isinstance(message, bytes) or not (places := _places(message)):
            return None
        *path, key = self._draw.choice(places)
        tree = json.loads(message)
        return tree, functools.reduce(lambda node, step: node[step], path, tree), key


@functools.lru_cache(2048)
def _places(text: str) -> tuple[tuple[Any, ...], ...]:
    try:
        return tuple(_paths(json.loads(text), (), 0))
    except (ValueError, RecursionError):
        return ()


def _paths(node: Any, prefix: tuple[Any, ...], depth: int) -> list[tuple[Any, ...]]:
    pairs = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    found = [(*prefix, key) for key, _ in pairs]
    if depth < 8:
        for key, child in pairs:
            found += _paths(child, (*prefix, key), depth + 1)
    return found
