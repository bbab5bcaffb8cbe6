"""
A receiver is away for an hour, and then back: what it gets afterwards, and what another one notices of it meanwhile.

In virtual time: the real outbox on a real SQLite file, its two clients replaced by receivers made of timers. Jobs on
the store's thread run at once and take `JOB_S` of virtual time each, one after the other, so that what endpoints share
is part of the picture. The same calls are played three times: with the fault, without it, and without the receiver.
"""

import asyncio
import random
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from gateway.outbox import Outbox
from gateway.outbox.client import Attempt
from gateway.outbox.endpoint import Endpoint
from gateway.outbox.schedule import Outcome
from gateway.outbox.sender import Poster
from tests.support import call_events
from tests.support.virtual_time import VirtualTimeLoop
from tests.support.webhook_receiver import settings_for

T = TypeVar("T")

JOB_S = 0.001
"""The slowest in a hundred commits of the outbox (2026-11-21, two shared cores, ext4; the median is 0.4 ms)."""
ANSWER_S = 0.05
"""Median of a healthy receiver's time to answer."""
DOWN_FROM_S = 300.0
DOWN_FOR_S = 3600.0
AFTERWARDS_S = 300.0
CATCH_UP_DEADLINE_S = 900.0
UNIX_S = 1_800_000_000.0
Failure: TypeAlias = tuple[Outcome, float]
REFUSES: Failure = (Outcome.UNREACHABLE, 0.001)
HANGS: Failure = (Outcome.TIMED_OUT, 15.0)
THROTTLES: Failure = (Outcome.THROTTLED, 0.01)
HEALTHY, FAILING = "http://healthy.example/", "http://failing.example/"


class StoreThreadLoop(VirtualTimeLoop):
    """Virtual time in which jobs of executors take time, too: `JOB_S` each, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._busy_until_s = 0.0

    def run_in_executor(  # type: ignore[override] # the base class promises any awaitable, which is less
        self, _executor: Executor | None, job: Callable[..., T], *arguments: Any
    ) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self.create_future()
        self._busy_until_s = max(self._busy_until_s, self.time()) + JOB_S
        try:
            self.call_at(self._busy_until_s, _settle, future, job(*arguments), None)
        except Exception as error:  # noqa: BLE001 - a job's error is its caller's, as with a real executor
            self.call_at(self._busy_until_s, _settle, future, None, error)
        return future


def _settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


@dataclass(slots=True)
class Receiver:
    """
    One receiver, made of timers.

    Args:
        seed: of its answering times.
        fails_with: how an attempt ends while it is away: the outcome, after so many seconds; None: it never is.
    """

    seed: int
    fails_with: Failure | None = None
    attempts_while_away: int = 0
    under_way: int = 0
    most_under_way: int = 0
    bodies: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    accepted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    arrived_at: dict[tuple[str, int], float] = field(default_factory=dict)

    async def post(self, event_id: str, body: bytes) -> Attempt:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._answer(event_id, body)
        finally:
            self.under_way -= 1

    async def _answer(self, event_id: str, body: bytes) -> Attempt:
        now = asyncio.get_running_loop().time()
        data = msgspec.json.decode(body)["data"]
        call_id, sequence = data["call"]["id"], data["sequence"]
        self.bodies[event_id].add(body)
        if self.fails_with is not None and DOWN_FROM_S <= now < DOWN_FROM_S + DOWN_FOR_S:
            outcome, after_s = self.fails_with
            self.attempts_while_away += 1
            await asyncio.sleep(after_s)  # virtual
            return Attempt(outcome)
        self.arrived_at.setdefault((call_id, sequence), now)
        draw = random.Random(f"{self.seed} {call_id} {sequence}")
        await asyncio.sleep(draw.lognormvariate(0.0, 0.5) * ANSWER_S)  # virtual
        self.accepted[call_id].append(sequence)
        return Attempt(Outcome.DELIVERED, 200)

    def is_in_order(self, sent: dict[str, int]) -> bool:
        """Whether every event of every call was accepted once and in order; `sent`: how many each call had."""
        return self.accepted == {call_id: list(range(1, count + 1)) for call_id, count in sent.items()}


@dataclass(slots=True)
class Played:
    """One run: what was published when, what the receivers saw, and how it ended."""

    healthy: Receiver
    failing: Receiver
    published_at: dict[tuple[str, int], float] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    caught_up_s: float | None = None
    dead: int = 0
    most_tasks: int = 0

    def delays_s(self, from_s: float = 0.0, to_s: float = float("inf")) -> list[float]:
        """From an event to its arrival at the healthy receiver, for events of a span of time."""
        return sorted(self.healthy.arrived_at[key] - at for key, at in self.published_at.items() if from_s <= at < to_s)


def p99_ms(delays_s: list[float]) -> float | None:
    """The 99th percentile (nearest rank) of sorted delays, in milliseconds; None of none."""
    return round(1000 * delays_s[min(len(delays_s) - 1, int(len(delays_s) * 0.99))], 2) if delays_s else None


def receiver_down(
    *,
    seed: int,
    calls: int = 64,
    gap_s: float = 60.0,
    fails_with: Failure | None = REFUSES,
    is_alone: bool = False,
) -> Played:
    """
    Play it once, in virtual time of its own; not to be called where a loop runs.

    Args:
        seed: of everything that is random.
        calls: calls at once.
        gap_s: mean time between two events of a call.
        fails_with: see `Receiver`.
        is_alone: configure only the receiver that is always well.
    """
    with asyncio.Runner(loop_factory=StoreThreadLoop) as runner:
        return runner.run(_play(seed, calls, gap_s, fails_with, is_alone=is_alone))


async def _play(seed: int, calls: int, gap_s: float, fails_with: Failure | None, *, is_alone: bool) -> Played:
    loop = asyncio.get_running_loop()
    played = Played(healthy=Receiver(seed), failing=Receiver(seed + 1, fails_with))
    entropy, jitter = random.Random(seed), random.Random(seed)

    @asynccontextmanager
    async def open_client(endpoint: Endpoint) -> AsyncIterator[Poster]:
        yield played.healthy if endpoint.settings.url == HEALTHY else played.failing

    with tempfile.TemporaryDirectory(dir=_fast_folder()) as folder:
        webhooks = tuple(settings_for(url) for url in ((HEALTHY,) if is_alone else (HEALTHY, FAILING)))
        async with Outbox(
            Path(folder),
            webhooks,
            clock=lambda: UNIX_S + loop.time(),
            entropy=entropy.randbytes,
            draw=jitter.random,
            open_client=open_client,
        ) as outbox:
            async with asyncio.TaskGroup() as tasks:
                for number in range(calls):
                    draw = random.Random(f"{seed} {number}")
                    tasks.create_task(_call(outbox, played, f"call_{number:02d}", draw, gap_s))
            await _catch_up(outbox, played)
            played.dead = outbox.dead()
    return played


async def _call(outbox: Outbox, played: Played, call_id: str, draw: random.Random, gap_s: float) -> None:
    loop = asyncio.get_running_loop()
    sequence = 0
    while loop.time() < DOWN_FROM_S + DOWN_FOR_S + AFTERWARDS_S:
        await asyncio.sleep(draw.expovariate(1 / gap_s))  # virtual
        sequence += 1
        played.published_at[call_id, sequence] = loop.time()
        played.most_tasks = max(played.most_tasks, len(asyncio.all_tasks()))
        await outbox.publish(call_events.final(call_id, sequence))
    played.sent[call_id] = sequence


async def _catch_up(outbox: Outbox, played: Played) -> None:
    """Wait until everything is delivered; note how long after the receiver was back the backlog had arrived."""
    await outbox.drain(CATCH_UP_DEADLINE_S)
    back_s = DOWN_FROM_S + DOWN_FOR_S
    arrivals = [at for key, at in played.failing.arrived_at.items() if DOWN_FROM_S <= played.published_at[key] < back_s]
    if arrivals and not outbox.pending():
        played.caught_up_s = max(arrivals) - back_s


def _fast_folder() -> str | None:
    """Memory, where there is some: the time that flushes take is virtual here."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a temporary folder is made in it


def judge(played: Played, well: Played, alone: Played) -> dict[str, Any]:
    """The figures of a run beside those without the fault (`well`) and without the receiver that failed (`alone`)."""
    back_s = DOWN_FROM_S + DOWN_FOR_S
    return {
        "calls": len(played.sent),
        "events": len(played.published_at),
        "p99_ms": p99_ms(played.delays_s()),
        "p99_well_ms": p99_ms(well.delays_s()),
        "p99_alone_ms": p99_ms(alone.delays_s()),
        "p99_catching_up_ms": p99_ms(played.delays_s(back_s, back_s + (played.caught_up_s or 60.0))),
        "caught_up_s": None if played.caught_up_s is None else round(played.caught_up_s, 1),
        "attempts_while_away": played.failing.attempts_while_away,
        "dead": played.dead,
        "in_order": played.healthy.is_in_order(played.sent) and played.failing.is_in_order(played.sent),
        "ids_with_two_bodies": sum(
            len(bodies) > 1 for receiver in (played.healthy, played.failing) for bodies in receiver.bodies.values()
        ),
        "most_under_way": played.failing.most_under_way,
        "most_tasks": played.most_tasks,
    }


def is_good(figures: dict[str, Any]) -> bool:
    """
    Whether the figures are those to be reached.

    The fault may add a fifth to the other receiver's delays; that there are two receivers, one job of the store, too.
    """
    return bool(
        figures["in_order"]
        and figures["ids_with_two_bodies"] == 0
        and figures["dead"] == 0
        and figures["caught_up_s"] is not None
        and figures["p99_ms"] <= 1.2 * figures["p99_well_ms"]
        and figures["p99_ms"] <= 1.2 * figures["p99_alone_ms"] + 1000 * JOB_S
    )


def compare(seed: int, gap_s: float, fails_with: Failure = REFUSES) -> dict[str, Any]:
    """Play it with the fault and without it; the figures."""
    return judge(receiver_down(seed=seed, gap_s=gap_s, fails_with=fails_with), *_without_fault(seed, gap_s))


@cache
def _without_fault(seed: int, gap_s: float) -> tuple[Played, Played]:
    return (
        receiver_down(seed=seed, gap_s=gap_s, fails_with=None),
        receiver_down(seed=seed, gap_s=gap_s, is_alone=True),
    )


async def run(seed: int, *, short: bool = False) -> dict[str, Any]:
    """
    The scenario for `scripts/chaos`.

    Args:
        seed: of everything that is random.
        short: fewer events.
    """

    figures = await asyncio.to_thread(compare, seed, 120.0 if short else 20.0)
    return {
        "fault": "receiver down 1 h (virtual time), then up",
        "shown": (
            f"{figures['events']} events of {figures['calls']} calls: all delivered in order: {figures['in_order']}, "
            f"backlog {figures['caught_up_s']} s after it was back; the other endpoint's p99 delay "
            f"{figures['p99_ms']} ms, {figures['p99_well_ms']} ms without the fault, "
            f"{figures['p99_alone_ms']} ms without the other receiver"
        ),
        "ok": is_good(figures),
        "figures": figures,
    }
