"""
Events with what was said in them masked, whatever their type: every field `text`, `words`, `word`, and a digit that was
pressed. Who called whom (`call`) is no speech, and is left as it is.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.redaction.finder import PLAIN, Circumstances, Finder
from gateway.redaction.masking import mask_passage, mask_words

PAUSE_S = 10.0
"""A number does not go on after a longer silence of its speaker."""
LOOKED_BACK = 16
"""Events before one that decide how it is masked, where not all can be had."""
_CALLS = 10_000

_ENCODER = msgspec.json.Encoder()
_FINAL, _ENDED = "transcript.final", "call.ended"
_FRAGMENTS = frozenset({"transcript.partial", "assist.cue"})
"""What they say may be a part of a number that goes on beyond it."""
_LEFT_ALONE = frozenset({"call", "type", "id", "timestamp"})


class _Tail(NamedTuple):
    """With how many digits a track's last final ends, and when that was."""

    digits: int
    end_s: float


class Memory:
    """How the last final of each track of each call ended; of the calls that are silent longest that is forgotten."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, dict[Any, _Tail]] = OrderedDict()

    def knows(self, call_id: str) -> bool:
        """Whether anything of this call was remembered."""
        return call_id in self._calls

    def around(self, call_id: str, data: Mapping[str, Any], *, is_partial: bool) -> Circumstances:
        """What is known of a passage of a call."""
        tail = self._calls.get(call_id, {}).get(data.get("track"))
        start_s = data.get("start_s")
        if tail is None or (isinstance(start_s, int | float) and start_s - tail.end_s > PAUSE_S):
            return Circumstances(is_partial=True) if is_partial else PLAIN
        return Circumstances(after_digits=tail.digits, is_partial=is_partial)

    def note(self, call_id: str, data: Mapping[str, Any], digits: int) -> None:
        """A passage ended with so many digits."""
        tails = self._calls.pop(call_id, {})
        self._calls[call_id] = tails
        end_s = data.get("end_s")
        tails[data.get("track")] = _Tail(digits, end_s if isinstance(end_s, int | float) else 0.0)
        if len(self._calls) > _CALLS:
            self._calls.popitem(last=False)

    def forget(self, call_id: str) -> None:
        """The call is over."""
        self._calls.pop(call_id, None)


class BodyMask:
    """
    Masks events. Without a memory it says the same of the same event always.

    Args:
        finder: what is to be masked.
        keys: whether digits that were pressed are, too.
    """

    def __init__(self, finder: Finder, *, keys: bool) -> None:
        self._finder = finder
        self._keys = keys

    @property
    def finder(self) -> Finder:
        return self._finder

    def mask(self, body: bytes, memory: Memory | None = None) -> bytes:
        """
        The body with tokens in place of what is found; the very same bytes if nothing is.

        Args:
            body: JSON of an event, as it is stored.
            memory: of what was said before; it is kept up to date.
        """
        event = msgspec.json.decode(body)
        return _ENCODER.encode(event) if self.mask_event(event, memory) else body

    def mask_after(self, body: bytes, before: Iterable[bytes]) -> bytes:
        """The same for an event of which those before it are at hand, in order."""
        memory = Memory()
        self.remember(before, memory)
        return self.mask(body, memory)

    def in_order(self, bodies: Iterable[bytes]) -> Iterator[bytes]:
        """All events of a call, from its first one on."""
        memory = Memory()
        for body in bodies:
            yield self.mask(body, memory)

    def remember(self, bodies: Iterable[bytes], memory: Memory) -> None:
        """Take note of events, in order."""
        for body in bodies:
            event = msgspec.json.decode(body)
            if event["type"] == _FINAL:
                self._remember(event["data"], memory)
            elif event["type"] == _ENDED:
                memory.forget(event["data"]["call"]["id"])

    def needs_memory(self, body: bytes) -> bool:
        """Whether it depends on what was said before how this event is masked."""
        event = msgspec.json.decode(body)
        text = event["data"].get("text")
        return event["type"] == _FINAL and isinstance(text, str) and self._finder.may_go_on(text)

    def mask_event(self, event: dict[str, Any], memory: Memory | None = None) -> bool:
        """Mask a decoded event in place; whether there was anything to be masked."""
        memory = memory or Memory()
        type_, data = event["type"], event["data"]
        call_id = data["call"]["id"]
        around = memory.around(call_id, data, is_partial=type_ in _FRAGMENTS)
        is_changed = self._mask(data, around)
        if type_ == _FINAL:  # what is masked has the same tail, and is read faster
            memory.note(call_id, data, self._finder.tail(data["text"], around.after_digits))
        elif type_ == _ENDED:
            memory.forget(call_id)
        return is_changed

    def _remember(self, data: dict[str, Any], memory: Memory) -> None:
        call_id = data["call"]["id"]
        after = memory.around(call_id, data, is_partial=False).after_digits
        memory.note(call_id, data, self._finder.tail(data["text"], after))

    def _mask(self, data: dict[str, Any], around: Circumstances) -> bool:
        is_changed = self._mask_speech(data, around)
        if self._keys and isinstance(data.get("digit"), str) and data["digit"] != "[dtmf]":
            data["digit"] = "[dtmf]"
            is_changed = True
        for name, value in data.items():
            if name in _LEFT_ALONE or name == "words":
                continue
            if isinstance(value, dict):
                is_changed |= self._mask(value, PLAIN)
            elif isinstance(value, list | tuple):
                is_changed |= self._mask_passages([each for each in value if isinstance(each, dict)])
        return is_changed

    def _mask_passages(self, passages: list[dict[str, Any]]) -> bool:
        """Passages that follow each other: of each track, numbers may go on from one to the next."""
        memory, is_changed = Memory(), False
        for passage in passages:
            around = memory.around("", passage, is_partial=False)
            is_changed |= self._mask(passage, around)
            if isinstance(text := passage.get("text"), str):
                memory.note("", passage, self._finder.tail(text, around.after_digits))
        return is_changed

    def _mask_speech(self, data: dict[str, Any], around: Circumstances) -> bool:
        text, words = data.get("text"), _words(data.get("words"))
        if isinstance(text, str):
            spoken = words if _voices(words) <= 1 else []
            masked = mask_passage(self._finder, text, [each["word"] for each in spoken], around)
            data["text"] = masked.text
            is_changed = _put(spoken, masked.words) or masked.text != text
            return is_changed if spoken or not words else self._mask_voices(words) or is_changed
        return self._mask_voices(words) if words else False

    def _mask_voices(self, words: list[dict[str, Any]]) -> bool:
        """Words of several who speak at once: what each of them says goes on over the others' words."""
        voices: dict[Any, list[dict[str, Any]]] = {}
        for word in words:
            voices.setdefault(_voice(word), []).append(word)
        masked = [_put(own, mask_words(self._finder, [each["word"] for each in own])) for own in voices.values()]
        return any(masked)


def _words(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list | tuple):
        return []
    return [each for each in value if isinstance(each, dict) and isinstance(each.get("word"), str)]


def _voice(word: Mapping[str, Any]) -> tuple[Any, Any]:
    return word.get("track"), word.get("speaker")


def _voices(words: list[dict[str, Any]]) -> int:
    return len(set(map(_voice, words)))


def _put(words: list[dict[str, Any]], texts: tuple[str, ...]) -> bool:
    is_changed = False
    for word, text in zip(words, texts, strict=True):
        is_changed |= word["word"] != text
        word["word"] = text
    return is_changed


def sequence_of(body: bytes) -> int:
    """The number of a durable event within its call."""
    return int(msgspec.json.decode(body)["data"]["sequence"])
