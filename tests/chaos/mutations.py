"""
A million spoiled messages: over every dialect and every served API of one `gateway serve`, beside well-behaved calls.

    async def run(seed, *, short) -> {"fault", "shown", "ok", "figures"}

What is spoiled, and how, is in `tests.support.mutation` and `tests.support.attacks`; what vendors answer is spoiled
too, in this process, without sockets, and counted apart. To show: no unhandled exception, no memory that grows, no call
ended but the guilty one, and every guilty connection closed with a code or status that the documents name.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from gateway.errors import RecognizerProtocolError, RecognizerUnavailable
from gateway.stt import batch
from tests.support import vendor_answers
from tests.support.attacks import STREAMS, Answers, Attack, StreamAttack
from tests.support.control_group import ControlGroup
from tests.support.mutation import Mutator, octets_of
from tests.support.quick_pulse import QuickPulse
from tests.support.request_attacks import RequestAttack
from tests.support.watched_gateway import Holdings, WatchedGateway
from tests.support.webhook_receiver import Receiver
from tests.support.whole_gateway import posted_to

Outcome: TypeAlias = dict[str, Any]

FULL, SHORT = 1_000_000, 20_000
VENDORS_FULL, VENDORS_SHORT = 200_000, 20_000
GROWTH_MB, GROWTH_IN_THE_SECOND_HALF_MB = 48.0, 16.0
"""
From the first tenth to the end, and from the middle, each at rest. An allocator keeps its highest tide, which some
attackers with large messages at the same time raise for a good while: 53 and 32 bytes for each of a million messages.
What Python itself holds stays the same (tracemalloc: 79.7, 80.0 and 80.1 MB after 12,000, 60,000 and 120,000).
"""
AT_ONCE = 16
REST_S = 60.0
TOKEN = "sk_control"
SHARES: Mapping[str, float] = {
    "twilio": 0.40,
    "get_text": 0.09,
    "live": 0.09,
    "lightning": 0.06,
    "slng": 0.09,
    "slng bridge": 0.06,
    "webhooks": 0.10,
    "recordings": 0.04,
    "pages": 0.04,
    "upgrades": 0.03,
}
"""Of the spoiled messages, by target."""
# docs/operations.md, "Close codes and statuses"; RFC 6455, 7.4.1: 1002, 1007 and 1009 are for broken frames. 503 says
# that there are as many calls as allowed: an attack is faster than the processor that ends its calls.
CLOSE_CODES = frozenset({"1000", "1001", "1002", "1003", "1005", "1007", "1008", "1009"})
STATUSES = frozenset({"101", "200", "204", "303", "503", *map(str, range(400, 432))}) - {"429"}


async def run(seed: int, *, short: bool) -> Outcome:
    """Attack; `ok` if nobody but the guilty felt anything."""
    messages = SHORT if short else FULL
    vendors = spoil_vendors(random.Random(seed), VENDORS_SHORT if short else VENDORS_FULL)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        async with QuickPulse() as heard, Receiver() as receiver:
            environ = _environ(receiver, heard)
            async with WatchedGateway(Path(folder), **environ) as gateway:
                port = int((await gateway.base_url()).rpartition(":")[2])
                control = ControlGroup(port, TOKEN)

                async def take(request: Any) -> Any:
                    receiver.requests.clear()
                    return await control.deliver(request)

                receiver.answer = take
                siege = Siege(seed, port, control)
                fresh = await gateway.holdings()
                looks = [fresh]
                for share in (0.1, 0.4, 0.5):
                    await siege.lay(int(messages * share))
                    looks.append(await _look(gateway, siege))
                took_s = time.monotonic() - began
                looks[-1] = await gateway.settled(fresh, REST_S)
                siege.faults.update(await gateway.complaints_at_the_end())
                return _judged(seed, gateway, siege, vendors, looks, took_s)


def _environ(receiver: Receiver, heard: QuickPulse) -> dict[str, Any]:
    return {
        "GATEWAY_STT": {"default": "live", "drain_s": 5, "profiles": {"live": heard.profile(connect_timeout_s=10)}},
        "GATEWAY_WEBHOOK": posted_to(receiver, events=["call.ended"]),
        "GATEWAY_SPEECH_API": {"profile": "live", "finalize_grace_s": 0.2, "max_sessions": 1000},
        "GATEWAY_API_TOKEN": TOKEN,
        "GATEWAY_LIMITS__ADDRESS_RATE_PER_S": "0",  # all of them come from here
    }


class Siege:
    """
    Attackers and the control group, side by side.

    Args:
        seed: of every attack.
        port: of the gateway.
        control: who must not be hurt.
    """

    def __init__(self, seed: int, port: int, control: ControlGroup) -> None:
        self.answers = Answers()
        self.faults: Counter[str] = Counter()
        self.control = control
        self._draw = random.Random(seed)
        self._attacks: dict[str, Attack] = {
            **{name: StreamAttack(port, TOKEN, name, self.answers) for name in STREAMS},
            **{
                name: RequestAttack(port, TOKEN, name, self.answers)
                for name in ("webhooks", "recordings", "pages", "upgrades")
            },
        }
        self._sent: Counter[str] = Counter()

    async def lay(self, messages: int) -> None:
        """Attack with so many spoiled messages more, each target with its share, while the control group goes on."""
        over = asyncio.Event()
        wanted = Counter({name: self._sent[name] + int(share * messages) + 1 for name, share in SHARES.items()})
        async with asyncio.TaskGroup() as tasks:
            for name in ("a", "b", "c"):
                tasks.create_task(self.control.call_on(f"{name}{messages}", over))
            tasks.create_task(self.control.listen_on(over))
            try:
                await self._attack(self._turns(wanted))
            finally:
                over.set()

    def _turns(self, wanted: Counter[str]) -> Iterator[tuple[str, random.Random]]:
        """Whose turn it is, with a generator of its own: who answers first must not change what is drawn."""
        while left := {name: wanted[name] - self._sent[name] for name in wanted if wanted[name] > self._sent[name]}:
            name = self._draw.choices(list(left), list(left.values()))[0]
            yield name, random.Random(self._draw.getrandbits(64))

    async def _attack(self, turns: Iterator[tuple[str, random.Random]]) -> None:
        async def work() -> None:
            for name, draw in turns:
                try:
                    sent = await self._attacks[name](draw)
                    self._sent[name] += sent  # not in one: what is added to must be read after the wait
                except (ConnectionError, asyncio.IncompleteReadError) as error:
                    self.faults[f"{name}: {type(error).__name__} at the beginning"] += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())


async def _look(gateway: WatchedGateway, siege: Siege) -> Holdings:
    if not await gateway.at_rest(REST_S):
        siege.faults["never came to rest"] += 1
    return await gateway.holdings()


# ── The vendors' answers ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Spoiled:
    """How many answers were spoiled, and what was raised that must not be."""

    messages: int
    faults: Counter[str]


def spoil_vendors(draw: random.Random, messages: int) -> Spoiled:
    """Lead protocols of every kind through spoiled conversations, until so many messages were spoiled."""
    mutator, faults, done = Mutator(draw, 70_000), Counter[str](), 0
    while done < messages:
        kind = draw.choice(list(vendor_answers.ANSWERS))
        said, spoiled = mutator.conversation(vendor_answers.conversation(kind) * 3, 0.8)
        done += spoiled
        _lead(kind, said, faults)
        done += 1
        _read_recorded(mutator, faults)
    return Spoiled(done, faults)


def _lead(kind: str, said: list[str | bytes], faults: Counter[str]) -> None:
    protocol = vendor_answers.opened(kind)
    for each in said:
        try:
            if protocol.is_ready:
                protocol.audio(bytes(160))
            protocol.receive(_as_delivered(each))
        except (RecognizerProtocolError, RecognizerUnavailable):
            continue
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            faults[f"{kind}: {type(error).__name__}"] += 1


def _as_delivered(message: str | bytes) -> str | bytes:
    """Text reaches a protocol as text only if it is UTF-8: the socket sees to that."""
    return octets_of(message).decode("utf-8", "replace") if isinstance(message, str) else message


def _read_recorded(mutator: Mutator, faults: Counter[str]) -> None:
    body = octets_of(mutator.spoil(json.dumps(vendor_answers.RECORDED)))
    try:
        batch.read_answer(body)
    except RecognizerProtocolError:
        pass
    except Exception as error:  # noqa: BLE001 - as above
        faults[f"batch: {type(error).__name__}"] += 1


# ── The judgement ───────────────────────────────────────────────────────────────────────────────────────────────────


def _judged(
    seed: int,
    gateway: WatchedGateway,
    siege: Siege,
    vendors: Spoiled,
    looks: Sequence[Holdings],
    took_s: float,
) -> Outcome:
    fresh, tenth, half, after = looks
    growth_mb, late_growth_mb = ((after.rss_kb - each.rss_kb) / 1024 for each in (tenth, half))
    spoiled = siege.answers.spoiled.total()
    undocumented = {name: count for name, count in siege.answers.counts.items() if not _is_documented(name)}
    faults = {
        **siege.faults,
        **{f"undocumented: {name}": count for name, count in undocumented.items()},
        **{f"control {name}": count for name, count in siege.control.complaints.items()},
        **Counter(_told(line) for line in gateway.faults if not _is_of_the_library(line)),
        **{f"vendor {name}": count for name, count in vendors.faults.items()},
    }
    if siege.control.calls == 0 or siege.control.sessions == 0:
        faults["no control call or session came to its end"] = 1
    if after.tasks > fresh.tasks or after.open_files > fresh.open_files:
        faults[f"left: {after.tasks - fresh.tasks} tasks, {dict(after.kinds - fresh.kinds)}"] = 1
    if left := gateway.leftovers():
        faults[f"left on disk: {left[:3]}"] = len(left)
    return {
        "fault": f"{spoiled:,} spoiled messages and requests, and {vendors.messages:,} answers of vendors",
        "shown": f"{sum(faults.values())} faults; {growth_mb:+.1f} MB from the first tenth on,"
        f" {late_growth_mb:+.1f} MB in the second half; {siege.control.calls} calls and"
        f" {siege.control.sessions} sessions beside them {'hurt' if siege.control.complaints else 'unhurt'},"
        f" the slowest of them over after {siege.control.slowest_s:.0f} s",
        "faults": [f"{count} x {name}" for name, count in faults.items()],
        "ok": not faults and growth_mb < GROWTH_MB and late_growth_mb < GROWTH_IN_THE_SECOND_HALF_MB,
        "figures": {
            "seed": seed,
            "faults": faults,
            "sent": dict(siege.answers.sent),
            "spoiled": dict(siege.answers.spoiled),
            "answers": dict(sorted(siege.answers.counts.items())),
            "sessions_lost": gateway.events["stt_lost"],
            "control": {"calls": siege.control.calls, "sessions": siege.control.sessions},
            "rss_mb": [round(each.rss_kb / 1024, 1) for each in looks],
            "tasks": [each.tasks for each in looks],
            "open_files": [each.open_files for each in looks],
            "log_lines": dict(gateway.events.most_common(20)),
            "took_s": round(took_s, 1),
            "messages_per_s": round(siege.answers.sent.total() / took_s),
        },
    }


def _told(line: Mapping[str, Any]) -> str:
    return f"log: {line['event']} {line.get('exception', '')} {line.get('at', ['?'])[-4:]}"


def _is_of_the_library(line: Mapping[str, Any]) -> bool:
    """aiohttp complains aloud when it throws away the rest of a body that cannot be decoded: nothing of ours failed."""
    return line["event"] == "library_warned" and line.get("raised") == ["RequestPayloadError"]


def _is_documented(answer: str) -> bool:
    target, _, code = answer.rpartition(": ")
    if target in STREAMS:
        return code in CLOSE_CODES or code in ("reset", "refused 503")
    return code in STATUSES or code == "closed unfinished"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(int(sys.argv[1]), short="--short" in sys.argv)), indent=2))
