"""
The disk is full in the middle of calls, and has room again later.

Meanwhile the calls go on: the speech service gets their audio, readiness is false and says why, the log says it, and
no journal is damaged. Afterwards everything that was said is delivered. In the long run the gateway is then killed on a
full disk: what had reached the disk before it was full must not be lost.
"""

import asyncio
import tempfile
from pathlib import Path

from gateway.journal.format import Scanner
from tests.chaos.full_disk import Disk, small_disk
from tests.chaos.judge import Expected, Verdict, judge
from tests.chaos.outcome import Outcome
from tests.chaos.phones import Placed
from tests.chaos.supervisor import Life, Stage, eventually, staged

NOTICED_S = 5.0
LIVE_SHARE = 0.8
"""Of the audio spoken on a full disk, what at least must have reached the speech service by then."""
DELIVERED_S = 60.0
GRACE_S = 1.0


async def run(seed: int, *, short: bool = False, mount: bool = True) -> Outcome:
    """Four calls of a minute, the disk full for 20 s of it; short: two of 9 s, 3 s of it. Two tracks each."""
    calls, seconds, full_s = (2, 9, 3.0) if short else (4, 60, 20.0)
    with (
        tempfile.TemporaryDirectory(prefix="gateway-chaos-disk-") as folder,
        small_disk(Path(folder), mount=mount) as disk,
    ):
        async with staged(seed, data_dir=disk.folder / "data") as stage:
            verdict = await _in_mid_call(stage, disk, calls, seconds, full_s)
            if not short:
                verdict.merge(await _killed(stage, disk, calls))
            name = disk.name
    figures = verdict.figures
    return Outcome(
        fault=f"disk full for {full_s:.0f} s in {calls} calls ({name})",
        shown=f"{figures['live_share']:.0%} of the audio went on to the STT meanwhile; not ready after"
        f" {figures['noticed_s']:.1f} s, ready {figures['ready_s']:.1f} s after there was room;"
        f" {figures['words_lost']:.0f} of {figures['words_owed']:.0f} words lost,"
        f" {figures['damaged_bytes']:.0f} bytes of journals damaged",
        ok=verdict.is_good,
        figures=figures,
        faults=tuple(verdict.faults),
    )


async def _in_mid_call(stage: Stage, disk: Disk, calls: int, seconds: int, full_s: float) -> Verdict:
    notes = Verdict()
    async with stage.life() as life:
        async with asyncio.TaskGroup() as tasks:
            talking = [tasks.create_task(_talk(stage, life, seconds)) for _ in range(calls)]
            await asyncio.sleep(seconds / 4)
            await _fill_and_free(stage, disk, life, calls, full_s, notes)
        if not await stage.until_ended(calls, DELIVERED_S):
            notes.fault(f"not everything was delivered {DELIVERED_S:.0f} s after the calls")
        logged = {line["event"] for line in life.process.log}
        if missing := {"journal_write_failed", "journal_write_recovered"} - logged:
            notes.fault(f"the log does not say {', '.join(sorted(missing))}")
    verdict = judge([_owed(each.result(), seconds, complete=True) for each in talking], stage.deliveries())
    verdict.merge(notes)
    if left := stage.leftovers():
        verdict.fault(f"{len(left)} journal files are left")
    for fault in stage.faults:
        verdict.fault(fault)
    return verdict


async def _fill_and_free(stage: Stage, disk: Disk, life: Life, calls: int, full_s: float, notes: Verdict) -> None:
    pid = life.process.process.pid
    clock = asyncio.get_running_loop().time
    heard_s, began = (await stage.stt.tell("state"))["audio_s"], clock()
    async with asyncio.TaskGroup() as tasks:
        filling = tasks.create_task(disk.fill(pid))
        noticed_s = await eventually(lambda: _is_unready(stage, life), NOTICED_S)
        await asyncio.sleep(max(0.0, began + full_s - clock()))
        status, reasons = await stage.ready(life)
        live_s = (await stage.stt.tell("state"))["audio_s"] - heard_s
        notes.add("damaged_bytes", _damaged_bytes(stage))
        filling.cancel()
        disk.free(pid)
    share = live_s / (2 * calls * (clock() - began))
    ready_s = await eventually(lambda: _is_ready(stage, life), 3 * NOTICED_S)
    notes.figures |= {"noticed_s": noticed_s or -1.0, "live_share": share, "ready_s": ready_s or -1.0}
    if noticed_s is None or status != 503 or not reasons:
        notes.fault(f"readiness on a full disk: {status} {reasons}")
    if ready_s is None:
        notes.fault("not ready again although there is room")
    if share < LIVE_SHARE:
        notes.fault(f"only {share:.0%} of the audio went on to the speech service")
    notes.add("damaged_bytes", _damaged_bytes(stage))
    if notes.figures["damaged_bytes"]:
        notes.fault("a journal is damaged")


async def _killed(stage: Stage, disk: Disk, calls: int) -> Verdict:
    """SIGKILL while the disk is full; then there is room, and a new start."""
    already = len(stage.phones.placed)
    clock = asyncio.get_running_loop().time
    async with stage.life() as life, asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            tasks.create_task(_talk(stage, life, 60))
        await asyncio.sleep(6.0)
        full_at = clock()
        filling = tasks.create_task(disk.fill(life.process.process.pid))
        await asyncio.sleep(3.0)
        await life.kill()
        filling.cancel()
        disk.free(life.process.process.pid)
    async with stage.life() as life:
        ended = await stage.until_ended(already + calls, DELIVERED_S)
    placed = stage.phones.placed[already:]
    mine = {each.plan.call_sid for each in placed}
    deliveries = [e for e in stage.deliveries() if e["event"]["data"]["call"]["platform_call_id"] in mine]
    verdict = judge([_owed(each, each.words_sent_by(full_at - GRACE_S)) for each in placed], deliveries)
    if not ended:
        verdict.fault("calls of a gateway that was killed on a full disk were not ended")
    return verdict


async def _talk(stage: Stage, life: Life, seconds: int) -> Placed:
    return await stage.phones.place(life.stream_url, stage.phones.plan(seconds))


async def _is_unready(stage: Stage, life: Life) -> bool:
    return (await stage.ready(life))[0] == 503


async def _is_ready(stage: Stage, life: Life) -> bool:
    return (await stage.ready(life))[0] == 200


def _owed(placed: Placed, seconds: int, *, complete: bool = False) -> Expected:
    values = {track: placed.plan.values(track) for track in placed.plan.first}
    return Expected(placed.plan.call_sid, values, owed=seconds, must_be_complete=complete)


def _damaged_bytes(stage: Stage) -> int:
    """In the journals of live calls; a record that is just being written counts as none."""
    damaged = 0
    for name in stage.leftovers():
        try:
            data = (stage.data_dir / "journal" / name).read_bytes()
        except FileNotFoundError:
            continue  # its call has ended
        scanner = Scanner()
        scanner.feed(data)
        damaged += scanner.damaged_bytes
    return damaged
