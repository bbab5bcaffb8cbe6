"""
One run: a server alone on its core, calls in on one side, speech service and webhooks on the other.

Every run has new processes and a new data folder, which is removed.
"""

import asyncio
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.bench import machine
from tests.bench.figures import Figures, Latencies, Match, finals_s, loop_block_ms, match, shown_s
from tests.bench.generator import CLOSE_S, CONNECT_S, HANG_UP_S
from tests.bench.growth import Growth, Window, growth
from tests.bench.outcome import Behind, Sent
from tests.bench.programs import Program, ProgramFailed
from tests.bench.scenarios import Scenario
from tests.support.webhook_receiver import SECRET

PRODUCT, SKETCH = "gateway", "sketch"
START_S = 30.0
TOKEN = "token-of-the-benchmark"
_QUIET_S = 0.5
"""Between the server's start and the first look at its memory."""
_BYTES_PER_CALL = 300_000
"""Of audio that a track may hold at most, which the gateway is allowed to do for all calls."""


@dataclass(frozen=True)
class Run:
    """
    What a run came to.

    Args:
        figures: None if it did not come to its end.
        faults: what must not be; empty: it is as it should be.
        growth: what viewers did to each call; empty: there were none.
    """

    figures: Figures | None
    faults: tuple[str, ...]
    growth: tuple[Growth, ...] = ()


@dataclass(frozen=True)
class _Look:
    """What the processes had used at a moment."""

    server_s: float
    generator_s: float
    others_s: float
    busy_s: float
    resident_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Notes:
    """
    What was noted in the course of a run.

    Args:
        begins, ends: the window, with viewers if there are any; monotonic seconds.
        looks: at its begin and at its end.
        resident_before: before the first call, in bytes.
        pages: metrics before the first call and after the last.
        ready_s: the server's start.
        sent, behind: what went in, what came out.
        shown: when each final came to a viewer, by its text.
        complaints: of the programs.
    """

    begins: float
    ends: float
    looks: tuple[_Look, _Look]
    resident_before: int
    pages: tuple[str, str]
    ready_s: float
    sent: Sent
    behind: Behind
    shown: Mapping[str, float]
    complaints: list[str]


async def measure(
    scenario: Scenario, server: str, *, settings: Mapping[str, str] | None = None, ignored_message: int = 0
) -> Run:
    """
    Run one load against the product or the sketch; whatever goes wrong is a fault of the run.

    Args:
        scenario: the load.
        server: `PRODUCT` or `SKETCH`.
        settings: of the product, instead of those of `product_settings`, by the names of their variables.
        ignored_message: one message of audio that the speech service does not hear; 0: it hears all.
    """
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        try:
            return await _measure(scenario, server, Path(name), settings or {}, ignored_message)
        except (ProgramFailed, aiohttp.ClientError, TimeoutError, OSError) as error:
            return Run(None, (f"the run did not come to its end: {str(error) or type(error).__name__}",))


async def _measure(
    scenario: Scenario, server: str, folder: Path, settings: Mapping[str, str], ignored_message: int
) -> Run:
    heard_file, sent_file, shown_file = folder / "heard.json", folder / "sent.json", folder / "shown.json"
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        far = await stack.enter_async_context(_far_side(scenario, heard_file, ignored_message))
        ports = await far.said("far_side_started", START_S)
        subject = await stack.enter_async_context(_server(scenario, server, folder / "data", ports, settings))
        port, ready_s = await ready(subject, server, http)
        metrics = f"http://127.0.0.1:{port}/metrics" if server == PRODUCT else None
        await asyncio.sleep(_QUIET_S)
        page, resident_before = await _page(http, metrics), machine.resident_bytes(subject.pid)
        viewers = None
        if scenario.viewers:
            viewers = await stack.enter_async_context(_viewers(scenario, port, shown_file))
            await viewers.said("viewers_ready", START_S)
        generator = await stack.enter_async_context(_generator(scenario, port, sent_file))
        window = await generator.said("window", START_S + scenario.dialling_s + CONNECT_S)
        begins, ends = window["ends"] - scenario.seconds, window["ends"]
        if viewers is not None:
            await _until(begins - scenario.join_s)
            viewers.tell("watch")
            await viewers.said("viewers_watching", scenario.join_s)
        first = await _look_at(begins, subject, generator, far)
        last = await _look_at(ends, subject, generator, far)
        code = await generator.ended(HANG_UP_S + CLOSE_S + START_S)
        pages = page, await _page(http, metrics)
        if viewers is not None and (await viewers.end() or viewers.errors):
            raise ProgramFailed(f"{viewers} failed: {viewers.errors[-500:]}")
        complaints = await _end(subject, has_deaf_viewer=scenario.has_deaf_viewer) if server == PRODUCT else []
        for program, its_code in ((generator, code), (far, await far.end())):
            if its_code or program.errors:
                raise ProgramFailed(f"{program} ended with code {its_code}: {program.errors[-500:]}")
    notes = _Notes(
        begins=begins,
        ends=ends,
        looks=(first, last),
        resident_before=resident_before,
        pages=pages,
        ready_s=ready_s,
        sent=msgspec.json.decode(sent_file.read_bytes(), type=Sent),
        behind=msgspec.json.decode(heard_file.read_bytes(), type=Behind),
        shown=msgspec.json.decode(shown_file.read_bytes(), type=dict[str, float]) if scenario.viewers else {},
        complaints=complaints,
    )
    matched = match(notes.sent, notes.behind, begins, ends)
    return Run(
        _figures(scenario, server, notes, matched),
        tuple(_faults(scenario, server, notes, matched)),
        _growth(scenario, notes) if scenario.viewers else (),
    )


def _figures(scenario: Scenario, server: str, notes: _Notes, matched: Match) -> Figures:
    told, _ = finals_s(notes.behind, notes.begins, notes.ends)
    seen, _ = shown_s(notes.behind.said, notes.shown, notes.begins, notes.ends)
    shown = Latencies.of(seen)
    added, beyond, final = Latencies.of(matched.added_s), Latencies.of(matched.beyond_s), Latencies.of(told)
    first, connect, late = Latencies.of(matched.first_s), Latencies.of(notes.sent.connect_s), notes.sent.late_s
    seconds = notes.ends - notes.begins
    before, after = notes.looks
    server_s, generator_s = after.server_s - before.server_s, after.generator_s - before.generator_s
    foreign_s = after.busy_s - before.busy_s - server_s - generator_s - (after.others_s - before.others_s)
    return Figures(
        frames_lost=max(matched.frames_lost, matched.pulses_lost),
        first_frames_lost=matched.first_frames_lost,
        cpu=server_s * 1000 / (seconds * scenario.calls * scenario.tracks),
        added_p50=added.p50,
        added_p99=added.p99,
        added_max=added.max,
        beyond_p50=beyond.p50,
        beyond_p99=beyond.p99,
        beyond_max=beyond.max,
        first_p50=first.p50,
        first_max=first.max,
        connect_p99=connect.p99,
        connect_max=connect.max,
        memory_per_call=(after.resident_bytes - notes.resident_before) / scenario.calls / 1000,
        memory_before=notes.resident_before / 1000,
        block=loop_block_ms(*notes.pages) if server == PRODUCT else None,
        final_p50=final.p50,
        final_p99=final.p99,
        final_max=final.max,
        shown_p50=shown.p50,
        shown_p99=shown.p99,
        shown_max=shown.max,
        generator_cpu=100 * generator_s / seconds,
        generator_late_p99=Latencies.of(late).p99,
        foreign_cpu=100 * max(0.0, foreign_s) / seconds,
        ready=notes.ready_s * 1000,
    )


def _growth(scenario: Scenario, notes: _Notes) -> tuple[Growth, ...]:
    """Each call in its last window beside the one before the viewers came, and that beside the one before it."""
    came = notes.begins - scenario.join_s
    control, alone = (Window(came - back * scenario.seconds, came - (back - 1) * scenario.seconds) for back in (2, 1))
    return growth(notes.sent, notes.behind, control, alone, Window(notes.begins, notes.ends))


def _faults(scenario: Scenario, server: str, notes: _Notes, matched: Match) -> list[str]:
    """What must not be."""
    behind = notes.behind
    counts = {
        "frames were lost": matched.frames_lost,
        "frames came twice, or were never sent": matched.frames_extra,
        "pulses were not heard where they belong": matched.pulses_lost,
    }
    if server == PRODUCT:
        _, untold = finals_s(behind, notes.begins, notes.ends)
        counts |= {
            "events of calls came out of their order": behind.disordered,
            "calls ended although not all of them was heard": behind.incomplete,
            "gaps were told of": behind.events.get("call.gap", 0),
            "finals did not come to the receiver": untold,
            "calls did not come to their call.ended": scenario.calls - behind.events.get("call.ended", 0),
        }
    if scenario.viewers:
        counts["finals were not shown to the viewer"] = shown_s(behind.said, notes.shown, notes.begins, notes.ends)[1]
    return [
        *(f"{count} {what}" for what, count in counts.items() if count),
        *notes.complaints,
        *notes.sent.faults,
        *matched.faults,
    ]


# ── The programs ─────────────────────────────────────────────────────────────────────────────────────────────────


def _far_side(scenario: Scenario, results: Path, ignored_message: int) -> Program:
    arguments = ["--audio", scenario.audio, "--results", str(results)]
    arguments += ["--finals-every", str(scenario.finals_every_s), "--ignore-message", str(ignored_message)]
    arguments += ["--chunks"] if scenario.viewers else []
    return Program("-m", "tests.bench.far_side", *arguments, core=machine.OTHERS)


def _generator(scenario: Scenario, port: int, results: Path) -> Program:
    given = {
        "port": port,
        "calls": scenario.calls,
        "tracks": scenario.tracks,
        "ramp": scenario.dialling_s,
        "settle": scenario.settle_s,
        "seconds": scenario.total_s,
        "results": results,
    }
    arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    arguments += ["--chunks"] if scenario.viewers else []
    return Program("-m", "tests.bench.generator", *arguments, core=machine.OTHERS)


def _viewers(scenario: Scenario, port: int, results: Path) -> Program:
    arguments = ["--port", str(port), "--token", TOKEN, "--viewers", str(scenario.viewers), "--results", str(results)]
    arguments += ["--deaf"] if scenario.has_deaf_viewer else []
    return Program("-m", "tests.bench.viewers", *arguments, core=machine.OTHERS)


def _server(
    scenario: Scenario, server: str, data_dir: Path, ports: Mapping[str, Any], settings: Mapping[str, str]
) -> Program:
    sink = f"ws://127.0.0.1:{ports['speech_port']}"
    if server == SKETCH:
        arguments = ["-m", "tests.bench.sketch", "--sink", sink, "--audio", scenario.audio]
        return Program(*arguments, core=machine.SERVER)
    environ = product_settings(scenario, data_dir, sink, f"http://127.0.0.1:{ports['hook_port']}/hook")
    return Program("-m", "gateway", "serve", core=machine.SERVER, environ={**environ, **settings})


def product_settings(scenario: Scenario, data_dir: Path, sink: str, hook: str) -> dict[str, Any]:
    """The gateway's environment: everything on, and no limit that one phone platform's address would meet."""
    profile = {"kind": "pulse", "url": f"{sink}/{{metadata.bench}}-{{track}}", "audio": scenario.audio}
    tracks = scenario.calls * scenario.tracks
    return {
        "GATEWAY_PORT": "0",
        "GATEWAY_DATA_DIR": str(data_dir),
        "GATEWAY_API_TOKEN": TOKEN,  # one of its own would be told on standard error
        "GATEWAY_LOG__FORMAT": "json",
        "GATEWAY_STT__DEFAULT": "bench",
        "GATEWAY_STT__PROFILES": {"bench": profile},
        "GATEWAY_WEBHOOK__URL": hook,
        "GATEWAY_WEBHOOK__SECRET": SECRET,
        "GATEWAY_WEBHOOK__ALLOW_PRIVATE": "true",
        "GATEWAY_LIMITS__MAX_CALLS": str(max(500, scenario.calls)),
        "GATEWAY_LIMITS__MAX_CONNECTIONS": str(max(5000, 2 * scenario.calls)),
        "GATEWAY_LIMITS__MAX_CONNECTIONS_PER_ADDRESS": "0",
        "GATEWAY_LIMITS__ADDRESS_RATE_PER_S": "0",
        "GATEWAY_LIMITS__BUFFER_MB": str(max(256, tracks * _BYTES_PER_CALL // 2**20)),
    }


async def ready(subject: Program, server: str, http: aiohttp.ClientSession) -> tuple[int, float]:
    """The port, and how long it took to be ready."""
    started = await subject.said("gateway_started" if server == PRODUCT else "sketch_started", START_S)
    port: int = started["port"]
    if server == PRODUCT:
        async with asyncio.timeout(START_S):
            while not await _is_ready(http, port):  # noqa: ASYNC110 - another process, within the deadline
                await asyncio.sleep(0.002)
    return port, time.monotonic() - subject.started_at


async def _is_ready(http: aiohttp.ClientSession, port: int) -> bool:
    async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
        return answer.status == 200


async def _page(http: aiohttp.ClientSession, url: str | None) -> str:
    if url is None:
        return ""
    async with http.get(url) as answer:
        return await answer.text()


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def _look_at(moment: float, subject: Program, generator: Program, far: Program) -> _Look:
    """What everybody had used at a moment; monotonic seconds."""
    await _until(moment)
    us = time.process_time()
    return _Look(
        server_s=machine.cpu_s(subject.pid),
        generator_s=machine.cpu_s(generator.pid),
        others_s=machine.cpu_s(far.pid) + us,
        busy_s=machine.busy_s(),
        resident_bytes=machine.resident_bytes(subject.pid),
    )


async def _end(subject: Program, *, has_deaf_viewer: bool) -> list[str]:
    """Shut the gateway down; what it had to complain of, all the time, but for the one viewer that it is to drop."""
    code = await subject.end(by_signal=True)
    faults = [f"the gateway ended with code {code}"] if code else []
    bad = [line for line in subject.lines if line.get("level") not in ("debug", "info")]
    if has_deaf_viewer:
        dropped = [line for line in bad if line.get("event") == "feed_viewer_dropped"]
        faults += [] if len(dropped) == 1 else [f"{len(dropped)} viewers were dropped instead of the one"]
        bad = [line for line in bad if line not in dropped]
    counts: dict[str, int] = {}
    for line in bad:
        said = " ".join(str(line[key]) for key in ("level", "event", "code", "reason", "raised") if key in line)
        counts[said] = counts.get(said, 0) + 1
    faults += [f"log: {said} ({count} times)" for said, count in counts.items()]
    if subject.errors:
        faults.append(f"standard error: {subject.errors[-500:]}")
    return faults
