"""
Events with what was said in them masked, whatever their type: every field `text`, `words`, `word`, and a digit that was
pressed. Who called whom (`call`) is no speech, and is left as it is.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec

from gateway.redaction.cues import mask_cue
from gateway.redaction.finder import EAGER, PLAIN, Circumstances, Finder
from gateway.redaction.masking import mask_passage, mask_words
from gateway.redaction.memory import Memory, Said

LOOKED_BACK = 64
"""Events before one that decide how it is masked, where not all can be had: a final may have fifty cues."""
FINAL, CUE = "transcript.final", "assist.cue"
_PARTIAL, _ENDED = "transcript.partial", "call.ended"
_LEFT_ALONE = frozenset({"call", "type", "id", "timestamp"})
_ENCODER = msgspec.json.Encoder()


class _Event(msgspec.Struct):
    type: str
    data: msgspec.Raw


class _Call(msgspec.Struct):
    id: str


class _OfCall(msgspec.Struct):
    call: _Call


class _Final(_OfCall):
    """As much of a final as has to be remembered."""

    text: str
    track: str | None = None
    start_s: float | None = None
    end_s: float | None = None


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
        """Take note of events, in order. Of those that are not needed little is read."""
        for body in bodies:
            event = msgspec.json.decode(body, type=_Event)
            if event.type == FINAL:
                self._remember(msgspec.json.decode(event.data, type=_Final), memory)
            elif event.type == _ENDED:
                memory.forget(msgspec.json.decode(event.data, type=_OfCall).call.id)

    def needs_memory(self, type_: str, body: bytes) -> bool:
        """Whether it depends on what was said before how this event is masked; only finals and cues are looked at."""
        if type_ != FINAL:
            return type_ == CUE
        event = msgspec.json.decode(body, type=_Event)
        return self._finder.may_go_on(msgspec.json.decode(event.data, type=_Final).text)

    def mask_event(self, event: dict[str, Any], memory: Memory | None = None) -> bool:
        """Mask a decoded event in place; whether there was anything to be masked."""
        memory = memory or Memory()
        type_, data = event["type"], event["data"]
        if type_ == FINAL:
            return self._mask_final(data, memory)
        if type_ == CUE:
            return self._mask_cue(data, memory)
        if type_ == _ENDED:
            memory.forget(data["call"]["id"])
        return self._mask(data, EAGER if type_ == _PARTIAL else PLAIN)

    def _mask_final(self, data: dict[str, Any], memory: Memory) -> bool:
        final = msgspec.convert(data, _Final)
        after = memory.digits_before(final.call.id, final.track, final.start_s)
        is_changed = self._mask(data, Circumstances(after))
        # What is masked has the same tail, and is read faster.
        self._note(final, after, self._finder.tail(data["text"], after), memory)
        return is_changed

    def _mask_cue(self, data: dict[str, Any], memory: Memory) -> bool:
        """As its final is masked; where that is not known, like all that may be a piece of something."""
        text = mask_cue(self._finder, data["text"], memory.finals(data["call"]["id"], data.get("track")))
        if text is None:
            return self._mask(data, EAGER)
        is_changed: bool = text != data["text"]
        data["text"] = text
        return is_changed

    def _remember(self, final: _Final, memory: Memory) -> None:
        after = memory.digits_before(final.call.id, final.track, final.start_s)
        self._note(final, after, self._finder.tail(final.text, after), memory)

    def _note(self, final: _Final, after: int, digits: int, memory: Memory) -> None:
        memory.note(final.call.id, final.track, Said(final.text, after), digits=digits, end_s=final.end_s)

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
            track = passage.get("track")
            after = memory.digits_before("", track, passage.get("start_s"))
            is_changed |= self._mask(passage, Circumstances(after))
            if isinstance(text := passage.get("text"), str):
                digits = self._finder.tail(text, after)
                memory.note("", track, Said(text, after), digits=digits, end_s=passage.get("end_s"))
        return is_changed

    def _mask_speech(self, data: dict[str, Any], around: Circumstances) -> bool:
        text, words = data.get("text"), _words(data.get("words"))
        voices = _voices(words)
        if not isinstance(text, str):
            return self._mask_voices(voices)
        spoken = words if len(voices) == 1 else []
        masked = mask_passage(self._finder, text, [each["word"] for each in spoken], around)
        data["text"] = masked.text
        is_changed = _put(spoken, masked.words) or masked.text != text
        return is_changed if spoken else self._mask_voices(voices) or is_changed

    def _mask_voices(self, voices: Collection[list[dict[str, Any]]]) -> bool:
        """Words of several who speak at once: what each of them says goes on over the others' words."""
        masked = [_put(own, mask_words(self._finder, [each["word"] for each in own])) for own in voices]
        return any(masked)


def _words(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list | tuple):
        return []
    return [each for each in value if isinstance(each, dict) and isinstance(each.get("word"), str)]


def _voices(words: Iterable[dict[str, Any]]) -> Collection[list[dict[str, Any]]]:
    """The words of each who speaks."""
    voices: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for word in words:
        voices.setdefault((word.get("track"), word.get("speaker")), []).append(word)
    return voices.values()


def _put(words: list[dict[str, Any]], texts: tuple[str, ...]) -> bool:
    is_changed = False
    for word, text in zip(words, texts, strict=True):
        is_changed |= word["word"] != text
        word["word"] = text
    return is_changed


def sequence_of(body: bytes) -> int:
    """The number of a durable event within its call."""
    return int(msgspec.json.decode(body)["data"]["sequence"])
