"""
The rules of agent assist: a file's text → rules that can be looked for, or every fault in it. Pure.

    [[rule]]
    name = "cancel"
    words = ["cancel", "account"]
    within = 6
    track = "inbound"
    note = "Offer the loyalty discount first."
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from gateway.assist.words import words_of
from gateway.errors import ConfigError
from gateway.events import Track
from gateway.patterns import Pattern, engine

MAX_FILE_BYTES = 1 << 20
MAX_RULES = 500
MAX_ALTERNATIVES = 100
MAX_WORDS = 50
"""Of a phrase, and the widest `within`: about 20 s of speech."""
PATTERN_REACH = 20
"""Words of earlier finals in which a pattern's match may begin."""
DEFAULT_COOLDOWN_S = 30.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")

Words: TypeAlias = tuple[str, ...]
"""Words as they are compared, one after the other."""
_Text = Annotated[str, Field(max_length=500)]
_Texts = Annotated[tuple[_Text, ...], Field(min_length=1, max_length=MAX_ALTERNATIVES)]


@dataclass(frozen=True, slots=True)
class Phrases:
    """Any of these was said."""

    alternatives: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """All of `every` and, unless that is empty, one of `some` were said in any order, in `within` words altogether."""

    every: tuple[Words, ...]
    some: tuple[Words, ...]
    within: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    What to listen for, and what to tell the agent.

    Args:
        track: None: both.
        cooldown_s: call time; so long before and after a cue of this rule there is no other in the call.
        languages: in lower case, `en` for all of English; empty: any.
    """

    name: str
    wanted: Phrases | Near | Pattern
    track: Track | None = None
    cooldown_s: float = DEFAULT_COOLDOWN_S
    note: str | None = None
    languages: tuple[str, ...] = ()

    def applies(self, track: Track, language: str | None) -> bool:
        """Whether it is for what this track says in this language; a language that is unknown forbids nothing."""
        if self.track is not None and self.track is not track:
            return False
        if not self.languages or language is None:
            return True
        spoken = language.lower().replace("_", "-")
        return any(spoken == each or spoken.startswith(f"{each}-") for each in self.languages)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """
    Rules in their order, and where to find those that may have been said.

    Attributes:
        phrases: by their last word: number of the rule, and the phrase.
        near: numbers of `Near` rules, by the last words of all that they look for.
        patterns: numbers of rules, with their patterns.
        reach: so many words that were said before may belong to what is said next.
    """

    rules: tuple[Rule, ...] = ()
    phrases: Mapping[str, list[tuple[int, Words]]] = field(init=False)
    near: Mapping[str, list[int]] = field(init=False)
    patterns: tuple[tuple[int, Pattern], ...] = field(init=False)
    reach: int = field(init=False)

    def __post_init__(self) -> None:
        phrases: dict[str, list[tuple[int, Words]]] = {}
        near: dict[str, list[int]] = {}
        patterns: list[tuple[int, Pattern]] = []
        reach = 1
        for number, rule in enumerate(self.rules):
            match rule.wanted:
                case Phrases(alternatives):
                    reach = max(reach, *map(len, alternatives))
                    for phrase in alternatives:
                        phrases.setdefault(phrase[-1], []).append((number, phrase))
                case Near(every, some, within):
                    reach = max(reach, within)
                    for last in {entry[-1] for entry in (*every, *some)}:
                        near.setdefault(last, []).append(number)
                case Pattern() as pattern:
                    reach = max(reach, PATTERN_REACH + 1)
                    patterns.append((number, pattern))
        object.__setattr__(self, "phrases", phrases)
        object.__setattr__(self, "near", near)
        object.__setattr__(self, "patterns", tuple(patterns))
        object.__setattr__(self, "reach", reach - 1)


def parse(content: bytes) -> RuleBook:
    """
    Read what a file of rules holds.

    Raises:
        ConfigError: with every fault, one line each: which rule, and what is wrong.
    """
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError([f"larger than {MAX_FILE_BYTES >> 20} MiB"])
    try:
        tree = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"not TOML: {error}"]) from None
    entries = tree.pop("rule", [])
    faults = [f"{name}: not known; a file of rules has [[rule]] tables only" for name in tree]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError([*faults, "rule: each rule begins with [[rule]]"])
    if len(entries) > MAX_RULES:
        raise ConfigError([*faults, f"{len(entries)} rules are too many; at most {MAX_RULES}"])
    if why := _lacking(entries):
        raise ConfigError([*faults, why])
    rules: list[Rule] = []
    for number, entry in enumerate(entries, start=1):
        try:
            rules.append(_Entry(**entry).rule())
        except ValidationError as error:
            title = _title(number, entry)
            faults += [f"{title}: {_fault(each)}" for each in error.errors(include_url=False, include_input=False)]
    faults += _repeated(entry.get("name") for entry in entries)
    if faults:
        raise ConfigError(faults)
    return RuleBook(tuple(rules))


class _Entry(BaseModel):
    """A rule as it is written."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, strict=True, arbitrary_types_allowed=True
    )

    name: str
    phrase: _Texts | None = None
    pattern: Pattern | None = None
    words: _Texts | None = None
    any_of: _Texts | None = None
    within: int | None = Field(None, ge=1, le=MAX_WORDS)
    track: Literal["inbound", "outbound", "any"] = "any"
    cooldown_s: float = Field(DEFAULT_COOLDOWN_S, ge=0, le=86_400)
    note: _Text | None = None
    languages: _Texts | None = None

    @field_validator("phrase", "words", "any_of", "languages", mode="before")
    @classmethod
    def _listed(cls, value: Any, field: ValidationInfo) -> Any:
        if isinstance(value, str) and field.field_name == "phrase":
            return (value,)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("1 to 64 of the letters a to z, digits and - _ . are a name")
        return value

    @field_validator("phrase", "words", "any_of")
    @classmethod
    def _can_be_said(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in value or ():
            if not words_of(text):
                raise ValueError(f"{text!r} has no word")
            if len(words_of(text)) > MAX_WORDS:
                raise ValueError(f"{text[:20]!r}… has more than {MAX_WORDS} words")
        return value

    @field_validator("pattern", mode="before")
    @classmethod
    def _compiled(cls, value: object) -> Pattern:
        if not isinstance(value, str):
            raise ValueError("Input should be a valid string")  # noqa: TRY004 - pydantic collects these alone
        return Pattern(value, whole_words=True)

    @field_validator("languages")
    @classmethod
    def _are_languages(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for language in value or ():
            if not _LANGUAGE.fullmatch(language):
                raise ValueError(f"{language!r} is not a language code such as en or pt-BR")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in ("phrase", "pattern", "words") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of phrase, pattern and words{', not ' + ' and '.join(given) if given else ''}")
        if self.words is None:
            if self.within is not None or self.any_of is not None:
                raise ValueError("within and any_of belong to words")
            return self
        if self.within is None:
            raise ValueError("words needs within: in how many words all of them are said")
        every = _all(self.words)
        if len(set(every)) < len(every):
            raise ValueError("words names a word twice")
        shortest = sum(map(len, every)) + min(map(len, _all(self.any_of)), default=0)
        if self.within < shortest:
            raise ValueError(f"within is {self.within}, but what is looked for has {shortest} words")
        return self

    def rule(self) -> Rule:
        wanted: Phrases | Near | Pattern
        if self.pattern is not None:
            wanted = self.pattern
        elif self.words is not None:
            assert self.within is not None
            wanted = Near(_all(self.words), _all(self.any_of), self.within)
        else:
            wanted = Phrases(_all(self.phrase))
        return Rule(
            name=self.name,
            wanted=wanted,
            track=None if self.track == "any" else Track(self.track),
            cooldown_s=self.cooldown_s,
            note=self.note or None,
            languages=tuple(each.lower().replace("_", "-") for each in self.languages or ()),
        )


def _all(texts: Iterable[str] | None) -> tuple[Words, ...]:
    return tuple(words_of(text) for text in texts or ())


def _lacking(entries: Iterable[Mapping[str, Any]]) -> str | None:
    """What these rules need and is not there: said once, not of each rule."""
    if any("pattern" in entry for entry in entries):
        try:
            engine()
        except ValueError as error:
            return f"pattern: {error}"
    return None


def _title(number: int, entry: Mapping[str, Any]) -> str:
    name = entry.get("name")
    return f"rule {number} ({name[:64]})" if isinstance(name, str) and name else f"rule {number}"


def _fault(item: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        meant = get_close_matches(path, _Entry.model_fields, n=1)
        return f"{path}: there is no such field" + "".join(f"; did you mean {name}?" for name in meant)
    text = str(item["msg"]).removeprefix("Value error, ").replace("valid tuple", "list").replace("Tuple", "List")
    return f"{path}: {text}" if path else text


def _repeated(names: Iterable[object]) -> list[str]:
    seen: dict[object, int] = {}
    for name in names:
        if isinstance(name, str):
            seen[name] = seen.get(name, 0) + 1
    return [f"{count} rules have the name {str(name)[:64]!r}" for name, count in seen.items() if count > 1]
