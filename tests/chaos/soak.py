"""
Thousands of short calls, good and bad, through one `gateway serve`: nothing of them may be left when they are over.

    async def run(seed, *, short) -> {"fault", "shown", "ok", "figures"}

Ten frames on one or two tracks and a goodbye; or no goodbye, no start, an impossible start, half a request; or a
recogniser that refuses, drops the connection or talks nonsense. After a first part (the process has then seen
everything once) and at the end, with the process at rest, its memory, tasks, open files and sockets are compared.
"""

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import web

from tests.support.quick_pulse import Act, QuickPulse
from tests.support.short_calls import KINDS, Caller, Kind, Refused
from tests.support.watched_gateway import Holdings, WatchedGateway
from tests.support.webhook_receiver import Received, Receiver
from tests.support.whole_gateway import posted_to

FULL, SHORT = (1_000, 10_000), (100, 300)
"""Calls before the first look, and altogether."""
GROWTH_MB, GROWTH_SHORT_MB = 5.0, 20.0
"""After a thousand calls the caches (of SQLite, of the allocator) are full; after a hundred they are still filling."""
AT_ONCE = 50
ANSWER_S = 20.0
REST_S = 60.0


@dataclass
class Seen:
    """What the receiver was told of one call."""

    sequences: list[int] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    heard_bytes: int = 0
    is_complete: bool | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, event: dict[str, Any]) -> None:
        data = event["data"]
        self.types.append(event["type"])
        self.sequences.append(data["sequence"])
        if event["type"] == "transcript.final":
            self.heard_bytes += sum(int(word.removeprefix("b")) for word in data["text"].split())
        if event["type"] == "call.ended":
            self.is_complete = data["complete"]
            self.ended.set()

    @property
    def is_orderly(self) -> bool:
        """Gapless from 1, and ended once, last."""
        numbered = self.sequences == list(range(1, len(self.sequences) + 1))
        return numbered and self.types.count("call.ended") == 1 and self.types[-1] == "call.ended"


@dataclass
class Books:
    """What was done, what came of it, and what was wrong with it."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    open: dict[str, tuple[str, Seen]] = field(default_factory=dict)

    async def deliver(self, request: Received) -> web.StreamResponse:
        """Take a webhook; calls whose end is known and right are forgotten."""
        event = request.event
        call_sid = event["data"]["call"]["platform_call_id"]
        kind, seen = self.open.get(call_sid, ("unknown", Seen()))
        if call_sid not in self.open:
            self.faults[f"{event['type']} of a call that is over or never was"] += 1
        seen.note(event)
        if event["type"] == "call.ended":
            self._judge(kind, seen)
            del self.open[call_sid]
        answer = web.Response(status=204)
        answer.force_close()  # so that none is kept, and what is still open can be counted
        return answer

    def _judge(self, kind: str, seen: Seen) -> None:
        if not seen.is_orderly:
            self.faults[f"{kind}: events out of order"] += 1
        sent_bytes = KINDS[kind].heard_bytes
        if sent_bytes is not None and not (seen.is_complete and seen.heard_bytes == sent_bytes):
            self.faults[f"{kind}: not everything was heard"] += 1


class Soak:
    """
    Plays calls against a gateway.

    Args:
        port: of the gateway.
        draw: decides everything that is left to chance.
    """

    def __init__(self, port: int, draw: random.Random, books: Books) -> None:
        self._port = port
        self._draw = draw
        self._books = books
        self._numbers = iter(range(1, 10_000_000))

    async def play(self, calls: int, at_once: int = AT_ONCE) -> None:
        """So many calls, so many at a time."""
        kinds = iter(self._draw.choices(list(KINDS), [each.weight for each in KINDS.values()], k=calls))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(self._work(kinds))

    async def _work(self, kinds: Iterator[str]) -> None:
        for name in kinds:
            await self._play_one(name)

    async def _play_one(self, name: str) -> None:
        kind, number = KINDS[name], next(self._numbers)
        caller = Caller(self._port, f"CA{number:032d}", random.Random(number))
        seen = Seen()
        if kind.has_events:
            self._books.open[caller.call_sid] = (name, seen)
        answer = await self._answer(kind, caller)
        self._books.answers[f"{name}: {answer}"] += 1
        if answer not in kind.answers:
            self._books.faults[f"{name}: answered {answer}"] += 1
        elif kind.has_events:
            await self._end_of(name, seen)

    async def _answer(self, kind: Kind, caller: Caller) -> str:
        try:
            async with asyncio.timeout(ANSWER_S):
                await caller.connect()
                try:
                    return await kind.play(caller)
                finally:
                    caller.writer.close()
        except Refused as refusal:
            return f"refused {refusal}"
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            return type(error).__name__

    async def _end_of(self, name: str, seen: Seen) -> None:
        """A call is over, and its place free for the next, when the receiver was told so."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await seen.ended.wait()
        except TimeoutError:
            self._books.faults[f"{name}: no call.ended"] += 1


def _faulty(draw: random.Random) -> Callable[[], Act]:
    acts: tuple[Act, ...] = ("refuse", "busy", "cut", "garble", "hear")
    return lambda: draw.choice(acts)


def _environ(receiver: Receiver, heard: QuickPulse, faulty: QuickPulse) -> dict[str, Any]:
    profiles = {
        "live": heard.profile(),
        "faulty": faulty.profile(fallback=["live"], failover_after_s=0.2, failback_after_s=1),
    }
    return {
        "GATEWAY_STT": {"default": "live", "drain_s": 5, "profiles": profiles},
        "GATEWAY_WEBHOOK": posted_to(receiver, events=["*"]),
        "GATEWAY_LIMITS__ADDRESS_RATE_PER_S": "0",  # all of them come from here
        "GATEWAY_LIMITS__START_TIMEOUT_S": "1",
        "GATEWAY_LIMITS__IDLE_TIMEOUT_S": "1",
        "GATEWAY_SPEECH_API__ENABLED": "false",
        "GATEWAY_API_TOKEN": "sk_soak",
    }


Outcome: TypeAlias = dict[str, Any]


async def run(seed: int, *, short: bool) -> Outcome:
    """Play the calls; `ok` if nothing was left of them, and each had the end that it should have."""
    first, calls = SHORT if short else FULL
    draw, books = random.Random(seed), Books()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        async with QuickPulse() as heard, QuickPulse(_faulty(draw)) as faulty, Receiver() as receiver:

            async def take(request: Received) -> web.StreamResponse:
                receiver.requests.clear()
                return await books.deliver(request)

            receiver.answer = take
            environ = _environ(receiver, heard, faulty)
            async with WatchedGateway(Path(folder), **environ) as gateway:
                port = int((await gateway.base_url()).rpartition(":")[2])
                fresh = await gateway.holdings()
                soak = Soak(port, draw, books)
                # More at once than ever after: an allocator keeps its highest tide, and that is not growth.
                await soak.play(first, 2 * AT_ONCE)
                before = await _look(gateway, books, fresh)
                await soak.play(calls - first)
                after = await _look(gateway, books, fresh)
                books.faults.update(await gateway.complaints_at_the_end())
                return _judged(seed, calls, books, gateway, (fresh, before, after), time.monotonic() - began)


async def _look(gateway: WatchedGateway, books: Books, fresh: Holdings) -> Holdings:
    """What it holds at rest."""
    if not await gateway.at_rest(REST_S):
        books.faults["never came to rest"] += 1
    return await gateway.settled(fresh, REST_S)


def _judged(
    seed: int,
    calls: int,
    books: Books,
    gateway: WatchedGateway,
    looks: tuple[Holdings, Holdings, Holdings],
    took_s: float,
) -> Outcome:
    fresh, before, after = looks
    growth_mb = (after.rss_kb - before.rss_kb) / 1024
    left_tasks, left_files = after.tasks - fresh.tasks, after.kinds - fresh.kinds
    faults = {
        **books.faults,
        **Counter(f"log: {line['event']} {line.get('exception', '')}" for line in gateway.faults),
        **Counter(f"left on disk: {name}" for name in gateway.leftovers()),
        **Counter(f"{kind}: no end" for kind, _ in books.open.values()),
    }
    is_clean = left_tasks <= 0 and not left_files and not faults
    return {
        "fault": f"{calls:,} short calls, good and bad",
        "shown": f"{growth_mb:+.1f} MB from the first tenth on; {left_tasks} tasks and"
        f" {left_files.total()} files or sockets left",
        "ok": growth_mb < (GROWTH_MB if calls == FULL[1] else GROWTH_SHORT_MB) and is_clean,
        "figures": {
            "seed": seed,
            "rss_mb": [round(each.rss_kb / 1024, 1) for each in looks],
            "tasks": [each.tasks for each in looks],
            "open_files": [each.open_files for each in looks],
            "left": {"tasks": left_tasks, "files_and_sockets": dict(left_files)},
            "faults": faults,
            "answers": dict(sorted(books.answers.items())),
            "calls_per_s": round(calls / took_s, 1),
            "took_s": round(took_s, 1),
        },
    }


if __name__ == "__main__":
    import sys

    outcome = asyncio.run(run(int(sys.argv[1]), short="--short" in sys.argv))
    print(json.dumps(outcome, indent=2))
