"""
The recogniser session of one track: chunks of call audio in, segments in call time out, whatever recognisers do.

It owns what every recogniser needs and none brings: audio held from the first frame until a recogniser is there,
connecting again when one is lost, fail-over to other profiles and back, hearing again what nobody has settled, planned
changes before a vendor ends a session, and the bounded wait for the last final. What is settled is in the `Ledger`,
which profile is tried when in the `Chain`, one session is a `Conversation`; here they are only put together.

A pending partial is not taken for a final while a later session may hear that audio again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import structlog

from gateway import telemetry
from gateway.config import SttProfile, SttSettings
from gateway.errors import GatewayError
from gateway.events import RecognizerBack, RecognizerLost, RecognizerRequest, SttState, TrackEvent
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.shared import shared
from gateway.stt.base import Archive, Recognizers
from gateway.stt.chain import Chain
from gateway.stt.clock import SessionClock
from gateway.stt.conversation import Account, Conversation, Parting
from gateway.stt.kinds import TRAITS, Traits
from gateway.stt.ledger import Ledger
from gateway.stt.line import Line, Lines
from gateway.stt.outages import Outages
from gateway.stt.source import Holes, Source
from gateway.stt.succession import Reason, Succession

log = structlog.get_logger()

UNKNOWN = SttProfile(kind="local")
"""Settings of a profile that is not among the configured ones: opening it says so."""


class Unheard(msgspec.Struct, frozen=True):
    """Audio from `position` on, in samples, has no transcript yet, but the archive has it; `reason`: the last loss."""

    position: int
    reason: str


class TrackSession:
    """
    Transcribes one track.

    Args:
        recognizers: where sessions come from.
        stt: settings; profiles are looked up here.
        profile: the first choice; its `fallback` follow.
        request: the session wanted; `request.format` is the track's own format, not the recogniser's.
        tape: the track's audio in memory; made with `is_archived` if there is an archive. This session appends to it.
        emit: called with each track event, in order; may wait.
        archive: the track's audio on disk.
        heard: position up to which everything is committed already; None: nothing is.
        is_recovery: all audio is in the archive and none will come; every segment is a recovered one.
        outages: what all sessions of the process know of recognisers that are down.
        soon: calls a function now, or when the same is done for other sessions (`Arrivals.soon`).
        draw: numbers from 0 to 1.
    """

    def __init__(
        self,
        recognizers: Recognizers,
        stt: SttSettings,
        profile: str,
        request: RecognizerRequest,
        tape: Tape,
        emit: Callable[[TrackEvent], Awaitable[None]],
        *,
        archive: Archive | None = None,
        heard: int | None = None,
        is_recovery: bool = False,
        outages: Outages | None = None,
        soon: Callable[[Callable[[], None]], None] = lambda call: call(),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._recognizers = recognizers
        self._stt = stt
        self._request = request
        self._tape = tape
        self._archive = archive
        self._is_recovery = is_recovery
        self._outages = outages or Outages(draw)
        self._soon = soon
        self._draw = draw
        self._names = (profile, *self._settings(profile).fallback)
        self._rate_hz = request.format.rate_hz
        self._holes = Holes()
        self._ledger = Ledger(self._rate_hz, request.language, heard=heard, is_recovery=is_recovery)
        self._account = Account(
            track=request.track,
            tape=tape,
            is_archived=archive is not None,
            ledger=self._ledger,
            emit=emit,
            drain_s=stt.drain_s,
            is_closed=is_recovery,
        )
        self._closed = asyncio.Event()
        self._closed_at = 0.0
        self._lost_at: float | None = None
        self._is_connected = False
        self._last_code = "not_heard"
        self._recovered_until = 0

    def feed(self, chunk: Stretch) -> None:
        """Take a chunk of call audio; never waits."""
        tape = self._tape
        if chunk.position != tape.end:
            self._holes.add(tape.end or 0, chunk.position)
            self._ledger.begin(chunk.position)
        tape.append(chunk)
        self._soon(self._account.on_audio)

    def close(self) -> None:
        """No more audio comes."""
        if not self._closed.is_set():
            self._closed.set()
            self._closed_at = asyncio.get_running_loop().time()
            self._account.is_closed = True
            self._account.bell.ring()

    @property
    def committed(self) -> int | None:
        """Position up to which everything is settled, in samples; None before any audio."""
        return self._ledger.committed

    @property
    def state(self) -> SttState:
        """Whether somebody hears the track now."""
        if self._lost_at is not None:
            return SttState.DEGRADED
        return SttState.LIVE if self._is_connected else SttState.CONNECTING

    async def run(self) -> Unheard | None:
        """
        Transcribe until the audio was closed and everything was said.

        Returns:
            None: everything that came was transcribed, or reported as lost. With an archive, where no recogniser could
            be had in time after the end: from where on nothing is known.
        """
        if self._is_recovery:
            self._ledger.begin(0)
            self.close()
        async with asyncio.TaskGroup() as tasks:
            lines = Lines(self._recognizers, self._request, self._outages, tasks)
            try:
                return await self._transcribe(lines)
            finally:
                lines.release()

    async def _transcribe(self, lines: Lines) -> Unheard | None:
        loop = asyncio.get_running_loop()
        links = [(name, self._settings(name).failover_after_s, self._kind(name) == "local") for name in self._names]
        chain = Chain(links, self._draw, loop.time())
        line: Line | None = None
        while True:
            await self._account.settle_debts()
            if line is None and (self._is_done or (line := await self._connect(chain, lines)) is None):
                return await self._give_up()
            parting = await self._converse(line, chain, lines)
            line.release()
            if parting.is_end:
                await self._back(line.profile)
                await self._account.settle_debts()
                return None
            if parting.error is not None:
                self._recovered_until = self._tape.end or 0
                if parting.successor is None:
                    await self._lost(line.profile, parting, chain, lines)
            line = parting.successor
            if line is not None:
                self._note_switch(chain.current, line.profile, parting.reason)
                telemetry.STT_RECONNECTS.labels(line.profile, parting.reason).inc()
                chain.took(line.profile)

    # ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self, chain: Chain, lines: Lines) -> Line | None:
        """A line that is open; None: there is no time left to get one."""
        loop = asyncio.get_running_loop()
        while True:
            before = chain.current
            attempt = chain.plan(loop.time(), lines.wait_s)
            if chain.current != before:
                self._note_switch(before, chain.current, "failover")
            if self._gives_up_before(attempt.at):
                return None
            if attempt.at > loop.time():
                await self._wait(attempt.at)
                continue
            line = lines.open(attempt.profile, attempt.patience_s)
            if await line.opened() is not None:
                if self._lost_at is not None:
                    self._recovered_until = self._tape.end or 0
                return line
            assert line.error is not None
            chain.failed(line.error, loop.time())
            await self._note_loss(attempt.profile, line.error)

    async def _wait(self, until: float) -> None:
        """Wait, but not for longer than it takes to see that no more audio comes."""
        if self._closed.is_set():
            await asyncio.sleep(until - asyncio.get_running_loop().time())
            return
        try:
            async with asyncio.timeout_at(until):
                await self._closed.wait()
        except TimeoutError:
            pass  # as planned

    def _gives_up_before(self, at: float) -> bool:
        """Whether an attempt at that time is too late: the audio is over, and nothing has moved for `drain_s`."""
        if not self._closed.is_set():
            return False
        if self._is_done:
            return True
        return at >= max(self._closed_at, self._account.progress_at) + self._stt.drain_s

    @property
    def _is_done(self) -> bool:
        """Whether no more audio comes and none is unheard."""
        if not self._closed.is_set() or self._is_recovery:
            return False
        end = self._tape.end
        return end is None or (self._ledger.committed is not None and self._ledger.committed >= end)

    # ── one session ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _converse(self, line: Line, chain: Chain, lines: Lines) -> Parting:
        """Let the recogniser hear the track from where nothing is settled."""
        recognizer = await line.opened()
        assert recognizer is not None, "only open lines are talked on"
        self._is_connected = True
        settings = self._settings(line.profile)
        traits = self._traits(line.profile)
        clock = SessionClock(self._rate_hz)
        start = self._ledger.open(
            line.profile,
            clock,
            has_word_times=traits.has_word_times,
            recovered_until=self._recovered_until,
            edge=self._tape.end or 0,
        )
        self._holes.forget(start)
        source = Source(
            self._tape,
            self._archive,
            None if self._is_recovery else self._holes,
            start,
            shared(self._rate_hz * settings.chunk_ms // 1000),
            shorten_before=self._recovered_until,
        )
        succession = Succession(
            asyncio.get_running_loop().time(),
            settings.max_session_s or traits.max_session_s,
            None if chain.is_first else self._settings(chain.first).failback_after_s,
        )
        conversation = Conversation(
            self._account,
            line,
            recognizer,
            source,
            clock,
            settings,
            traits,
            succession,
            lines,
            lambda reason: chain.first if reason is Reason.FAILBACK else line.profile,
            partial(self._back, line.profile),
        )
        return await conversation.run()

    # ── losses ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _lost(self, profile: str, parting: Parting, chain: Chain, lines: Lines) -> None:
        """A session broke."""
        assert parting.error is not None
        if not parting.was_of_use:
            lines.failed(profile, parting.error)
        chain.lost(parting.error, asyncio.get_running_loop().time(), was_of_use=parting.was_of_use)
        await self._note_loss(profile, parting.error)

    async def _note_loss(self, profile: str, error: GatewayError) -> None:
        """Say once per outage that nobody hears the track."""
        self._last_code = error.code
        if self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()
            log.warning("stt_lost", track=self._request.track, profile=profile, code=error.code)
            await self._account.tell(RecognizerLost(provider=profile, at_s=self._at_s, reason=error.code))

    async def _back(self, profile: str) -> None:
        """A session is of use: say so, if it was said that nobody hears the track."""
        if self._lost_at is None:
            return
        away_s = asyncio.get_running_loop().time() - self._lost_at
        self._lost_at = None
        telemetry.STT_RECONNECTS.labels(profile, "lost").inc()
        log.info("stt_recovered", track=self._request.track, profile=profile, away_s=round(away_s, 3))
        await self._account.tell(RecognizerBack(provider=profile, at_s=self._at_s))

    def _note_switch(self, before: str, now: str, reason: str) -> None:
        log.info("stt_switched", track=self._request.track, profile=before, to=now, reason=reason)

    async def _give_up(self) -> Unheard | None:
        """No recogniser will hear the rest: what is left of it, or what is lost of it."""
        if self._is_done:
            return None
        if self._archive is not None:
            return Unheard(self._ledger.committed or 0, self._last_code)
        forced = self._ledger.forced()
        if forced is not None:
            await self._account.tell(forced)
        for span in self._holes.audio_between(self._ledger.committed or 0, self._tape.end or 0):
            await self._account.lose(span.start, span.end, self._last_code)
        return None

    @property
    def _at_s(self) -> float:
        end = self._ledger.committed if self._tape.end is None else self._tape.end
        return (end or 0) / self._rate_hz

    def _settings(self, profile: str) -> SttProfile:
        return self._stt.profiles.get(profile, UNKNOWN)

    def _kind(self, profile: str) -> str | None:
        found = self._stt.profiles.get(profile)
        return None if found is None else found.kind

    def _traits(self, profile: str) -> Traits:
        return TRAITS.get(self._kind(profile) or "local", TRAITS["local"])
