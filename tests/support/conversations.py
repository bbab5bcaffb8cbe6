"""
Golden conversations: what a platform says and what a dialect makes of it, as data.

`tests/conversations/<dialect>/<case>.jsonl` begins with a header (`fact` proved, `source`, `options` of the dialect's
constructor); then one message per line:

    {"t_ms": 0, "dir": "in", "text": "…"}                   from the platform; `base64` instead of `text` for bytes
    {"t_ms": 0, "dir": "out", "do": "mark", "with": "m1"}   we send: play (base64), mark (a name), clear_playback

`<case>.events.jsonl` beside it holds what must come of it, each with the number of the line that caused it.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.dialects.base import Dialect
from gateway.dialects.twilio import TwilioDialect
from gateway.errors import DialectError
from gateway.events import TelephonyEvent

FOLDER = Path(__file__).parent.parent / "conversations"
DIALECTS: dict[str, Callable[..., Dialect]] = {"twilio": TwilioDialect}

Record = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """One case on disk."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path.parent.name}-{self.path.stem}"

    @property
    def expectations_path(self) -> Path:
        return self.path.with_suffix(".events.jsonl")

    @property
    def expectations(self) -> list[Record]:
        return _read(self.expectations_path)

    @property
    def header(self) -> Record:
        return _read(self.path)[0]

    @property
    def lines(self) -> list[tuple[int, Record]]:
        """The messages with their line numbers in the file."""
        return [(number, line) for number, line in enumerate(_read(self.path), start=1) if number > 1]

    @property
    def incoming(self) -> list[str | bytes]:
        """Only what the platform says."""
        return [_message(line) for _, line in self.lines if line["dir"] == "in"]

    def dialect(self) -> Dialect:
        return DIALECTS[self.path.parent.name](**self.header.get("options", {}))

    def play(self) -> list[Record]:
        """Lead a new dialect through the conversation."""
        dialect = self.dialect()
        return [{"line": number, **record} for number, line in self.lines for record in _step(dialect, line)]


def conversations(dialect: str = "*") -> list[Conversation]:
    """Every case of a dialect, or of all."""
    paths = sorted(FOLDER.glob(f"{dialect}/*.jsonl"))
    return [Conversation(path) for path in paths if not path.name.endswith(".events.jsonl")]


def describe(event: TelephonyEvent) -> Record:
    """An event as JSON; absent values are left out."""
    fields = {name: value for name, value in json.loads(msgspec.json.encode(event)).items() if value is not None}
    return {"event": type(event).__name__, **fields}


def _step(dialect: Dialect, line: Record) -> Iterator[Record]:
    try:
        if line["dir"] == "in":
            yield from [describe(event) for event in dialect.receive(_message(line))]
        else:
            yield from [{"sent": message} for message in _send(dialect, line)]
    except DialectError as error:
        yield {"error": error.code, "close_code": error.close_code}


def _send(dialect: Dialect, line: Record) -> list[str | bytes]:
    match line["do"]:
        case "play":
            return dialect.play(base64.b64decode(line["with"]))
        case "mark":
            return dialect.mark(line["with"])
        case "clear_playback":
            return dialect.clear_playback()
        case unknown:
            raise ValueError(unknown)


def _message(line: Record) -> str | bytes:
    return base64.b64decode(line["base64"]) if "base64" in line else str(line["text"])


def _read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]
