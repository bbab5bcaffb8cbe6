"""
One conversation with one recogniser: audio in, events out, until it has said everything, is lost, or is replaced.

Everything that outlives it is the track's (`Account`). It runs in one coroutine with one sender beside it, and neither
is left when it returns: what a session says after it was replaced has nobody to hear it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway import telemetry
from gateway.config import SttProfile
from gateway.errors import GatewayError, PeerError, RecognizerUnavailable, UnavailableError
from gateway.events import (
    Final,
    Finished,
    Partial,
    RecognizerEvent,
    SpeechEnded,
    SpeechStarted,
    TrackEvent,
    Untranscribed,
)
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.shared import shared
from gateway.stt.base import PromptRecognizer, Recognizer
from gateway.stt.bell import Bell
from gateway.stt.clock import SessionClock
from gateway.stt.kinds import Traits
from gateway.stt.ledger import Ledger
from gateway.stt.line import Line, Lines
from gateway.stt.liveness import Doubt, Liveness, Verdict
from gateway.stt.pace import CATCH_UP_BURST_S, Pace
from gateway.stt.source import Holes, Missing, Source
from gateway.stt.succession import DRAIN_S, Succession
from telephony_codecs.convert import Converter

IDLE_S = 1.0
"""No audio for so long, in mid-utterance: the platform suppresses silence, and the recogniser waits for a pause."""
MAX_INSERTED_S = 3.0
"""Silence given to a recogniser to end an utterance; longer than any endpointer waits."""
OF_USE_S = 5.0
"""A session that lasted so long was worth opening, also if nobody spoke."""
LEAST_S = 1.0
"""One that was lost sooner is no reason to open the next at once, whatever it said."""
_REVIEW_S = 2.0
_REVIEW_SUCCESSOR_S = 0.1
_LONGEST_DRAIN_S = 60.0
"""A recogniser that goes on talking after the end is listened to so much longer than its drain, at most."""


@dataclass(slots=True, kw_only=True)
class Account:
    """
    What a track keeps from session to session.

    Args:
        track: `inbound` or `outbound`.
        tape, is_archived: its audio in memory, and whether the journal has it, too.
        ledger: what was said.
        emit: the caller's.
        drain_s: how long to wait for the last final.

    Attributes:
        bell: rung when there is something to send, or no more comes.
        on_audio: called when audio has come.
        is_closed: no more comes.
        reached: position up to which any session was sent audio.
        progress_at: when something new was sent or settled.
    """

    track: str
    tape: Tape
    is_archived: bool
    ledger: Ledger
    emit: Callable[[TrackEvent], Awaitable[None]]
    drain_s: float
    bell: Bell = field(default_factory=Bell)
    on_audio: Callable[[], None] = field(init=False)
    doubt: Doubt = field(default_factory=Doubt)
    is_closed: bool = False
    reached: int = 0
    progress_at: float = 0.0
    _lost: Holes = field(default_factory=Holes)
    _owed: deque[TrackEvent] = field(default_factory=deque)
    _telling: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.on_audio = self.bell.ring

    async def tell(self, event: TrackEvent) -> None:
        """Emit an event, and before it what an earlier call was interrupted in; waits its turn."""
        self._owed.append(event)
        await self.settle_debts()

    async def lose(self, start: int, end: int, reason: str) -> None:
        """Say that audio between two positions will never be transcribed, as far as that was not said before."""
        rate_hz = self.tape.format.rate_hz
        for gone in self._lost.audio_between(start, end):
            self._lost.add(gone.start, gone.end)
            telemetry.STT_DROPPED_SECONDS.inc((gone.end - gone.start) / rate_hz)
            await self.tell(Untranscribed(start_s=gone.start / rate_hz, end_s=gone.end / rate_hz, reason=reason))

    async def settle_debts(self) -> None:
        """Emit what is owed: a wait that was cut short must cost no event that is already in the ledger."""
        async with self._telling:
            while self._owed:
                await self.emit(self._owed[0])
                self._owed.popleft()


@dataclass(frozen=True, slots=True)
class Parting:
    """
    How a conversation ended.

    Args:
        error: why it was cut short; None: everything that was sent is settled.
        is_end: no more audio comes, and everything that came is settled.
        successor: a line that is open and goes on; None: there is none.
        reason: why there is one.
        was_of_use: whether the session was worth having been opened.
    """

    error: GatewayError | None
    is_end: bool
    successor: Line | None
    reason: str
    was_of_use: bool


class Conversation:
    """
    Talks to one recogniser.

    Args:
        account: the track's.
        line: open.
        recognizer: at its other end.
        source: audio from where it has to begin.
        clock: of this session, which the ledger knows.
        profile, traits: settings, and what is known of the kind.
        succession: when it gives way to another.
        lines: opens that one.
        next_profile: which that is, given why.
        on_use: called once, when the session proves to be of use; may wait.
    """

    __slots__ = (
        "_account",
        "_asked_at_position",
        "_asked_to_end",
        "_audio_at",
        "_chunk_s",
        "_clock",
        "_converter",
        "_drain_until",
        "_drained",
        "_first_audio_at",
        "_format",
        "_has_result",
        "_inserted_s",
        "_is_in_speech",
        "_is_leaving",
        "_is_of_use",
        "_keepalive_s",
        "_ledger",
        "_line",
        "_lines",
        "_liveness",
        "_loop",
        "_next_profile",
        "_on_use",
        "_opened_at",
        "_pace",
        "_prompt",
        "_reason",
        "_recognizer",
        "_review_at",
        "_sent_at",
        "_source",
        "_succession",
        "_successor",
        "_verdict",
        "_width",
    )

    def __init__(
        self,
        account: Account,
        line: Line,
        recognizer: Recognizer,
        source: Source,
        clock: SessionClock,
        profile: SttProfile,
        traits: Traits,
        succession: Succession,
        lines: Lines,
        next_profile: Callable[[str], str],
        on_use: Callable[[], Awaitable[None]],
    ) -> None:
        self._account = account
        self._ledger = account.ledger
        self._line = line
        self._recognizer = recognizer
        self._prompt = recognizer if isinstance(recognizer, PromptRecognizer) else None
        self._source = source
        self._clock = clock
        self._format = account.tape.format
        self._width = self._format.bytes_per_sample
        self._converter = Converter(self._format, line.form)
        self._chunk_s = shared(profile.chunk_ms / 1000)
        self._keepalive_s = profile.keepalive_s
        self._succession = succession
        self._lines = lines
        self._next_profile = next_profile
        self._on_use = on_use
        self._successor: Line | None = None
        self._reason = ""
        self._liveness = Liveness(
            self._format, patience_s=traits.patience_s, can_ask=traits.answers_finalize, doubt=account.doubt
        )
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._audio_at = self._sent_at = self._review_at = self._loop.time()
        self._pace = None if traits.speed is None else Pace(traits.speed, CATCH_UP_BURST_S, self._opened_at)
        self._inserted_s = 0.0
        self._asked_at_position: int | None = None
        self._is_in_speech = False
        self._is_leaving = False
        self._asked_to_end = False
        self._drained = asyncio.timeout(None)
        self._drain_until = 0.0
        self._verdict: GatewayError | None = None
        self._first_audio_at: float | None = None
        self._has_result = False
        self._is_of_use = False

    async def run(self) -> Parting:
        """Talk until the end."""
        error = await self._converse()
        self._is_of_use |= self._loop.time() - self._opened_at >= OF_USE_S
        was_of_use = self._is_of_use and self._loop.time() - self._opened_at >= LEAST_S
        successor, self._successor = self._successor, None
        if successor is not None and not await self._is_open(successor):
            successor.release()
            successor = None
        is_end = error is None and not self._is_leaving
        return Parting(error, is_end, successor, self._reason, was_of_use)

    async def _converse(self) -> GatewayError | None:
        async with asyncio.TaskGroup() as tasks:
            sender = tasks.create_task(self._send(), name=f"stt-send-{self._account.track}")
            self._account.on_audio = self.follow
            try:
                async with self._drained:
                    await self._listen()
            except TimeoutError:
                return self._verdict or RecognizerUnavailable(
                    "the last final did not come in time", code="drain_timeout"
                )
            except (UnavailableError, PeerError) as error:
                return error
            finally:
                self._account.on_audio = self._account.bell.ring
                sender.cancel()
                self._account.bell.silence()
        if not self._asked_to_end:
            return RecognizerUnavailable("it ended unasked", code="ended_early")
        await self._settle()
        return None

    async def _settle(self) -> None:
        """It has said everything about what it was sent. A partial that it never confirmed is all there will be."""
        if self._ledger.has_pending and self._is_leaving:
            self._ledger.settle_before_pending()
            return  # the next session hears it again
        forced = self._ledger.forced()
        self._ledger.settle(self._source.position)
        if forced is not None:
            await self._account.tell(forced)

    # ── what is sent ────────────────────────────────────────────────────────────────────────────────────────────

    async def _send(self) -> None:
        """Audio as it comes, then the request to end, which starts the clock of the drain."""
        try:
            while not self._is_leaving:
                now = self._loop.time()
                if now >= self._review_at:
                    await self._review(now)
                elif (live := self._source.take()) is not None:
                    await self._send_piece(live, now)
                elif self._source.is_at_edge or (piece := await self._source.next()) is None:
                    if self._account.is_closed:
                        break
                    if (wake_at := self._wakes_at()) > now:
                        await self._account.bell.wait(wake_at)
                    else:
                        await self._keep_company(now)
                elif isinstance(piece, Missing):
                    await self._account.lose(piece.start, piece.end, "not_held")
                else:
                    await self._send_piece(piece, now)
            await self._finish()
        except (UnavailableError, PeerError):
            return  # the listener meets the same loss and says why

    def follow(self) -> None:
        """
        Audio came: send it on the spot, where the sender only waits for it.

        That is so for nearly all audio of a call, and saves waking the sender up.
        """
        account, prompt = self._account, self._prompt
        now = self._loop.time()
        if (
            prompt is None
            or not account.bell.is_awaited
            or not prompt.is_clear
            or (self._pace is not None and not self._pace.allows(self._chunk_s, now))
            or (piece := self._source.take()) is None
        ):
            account.bell.ring()
            return
        audio = self._converter.convert(piece.payload)
        if audio:
            prompt.send_now(audio)
        self._note_sent(piece, len(piece.payload) // self._width, now, has_audio=bool(audio))

    async def _send_piece(self, piece: Stretch, now: float) -> None:
        samples = self._format.samples(piece.payload)
        if self._pace is not None:
            wait_s = self._pace.wait_s(samples / self._format.rate_hz, now)
            if wait_s > 0:
                await asyncio.sleep(wait_s)
        audio = self._converter.convert(piece.payload)
        if audio:  # an empty message ends the stream at some vendors
            await self._recognizer.send(audio)
        self._note_sent(piece, samples, now, has_audio=bool(audio))

    def _note_sent(self, piece: Stretch, samples: int, now: float, *, has_audio: bool) -> None:
        if has_audio and self._first_audio_at is None:
            self._first_audio_at = now
        end = piece.position + samples
        self._clock.sent(piece.position, samples)
        self._liveness.sent(piece.payload, samples)
        self._sent_at = self._audio_at = now
        self._inserted_s = 0.0
        account = self._account
        if account.is_archived:
            account.tape.heard(end)
        if end > account.reached:
            account.reached = end
            account.progress_at = now

    async def _send_more(self, audio: bytes) -> None:
        """Audio that is not the call's."""
        if audio:
            await self._recognizer.send(audio)
        self._sent_at = self._loop.time()

    async def _keep_company(self, now: float) -> None:
        """There is nothing to send: the recogniser is given the pause it waits for, or kept alive."""
        if now >= self._inserts_at():
            samples = round(self._chunk_s * self._format.rate_hz)
            await self._send_more(self._converter.convert(self._format.silence(samples)))
            self._clock.inserted(samples)
            self._inserted_s += self._chunk_s
        else:
            await self._recognizer.keepalive()
            self._sent_at = now

    def _wakes_at(self) -> float:
        """When there is something to do although no audio comes."""
        wakes_at = min(self._sent_at + self._keepalive_s, self._review_at)
        return min(wakes_at, self._inserts_at()) if self._ledger.has_pending else wakes_at

    def _inserts_at(self) -> float:
        if not self._ledger.has_pending or self._inserted_s >= MAX_INSERTED_S:
            return float("inf")
        return self._audio_at + IDLE_S + self._inserted_s

    async def _finish(self) -> None:
        """Ask for the rest. Which is bounded by the time since then, and since the recogniser last said something."""
        self._asked_to_end = True
        now = self._loop.time()
        if self._is_leaving:
            self._drain_until = now + min(DRAIN_S, self._account.drain_s)
        else:
            self._drain_until = now + self._account.drain_s + _LONGEST_DRAIN_S
        self._wait_until(now + self._account.drain_s)
        await self._send_more(self._converter.flush())
        await self._recognizer.end()

    def _wait_until(self, at: float) -> None:
        """How long to listen on."""
        if not self._drained.expired():
            self._drained.reschedule(min(at, self._drain_until))

    # ── what is said ────────────────────────────────────────────────────────────────────────────────────────────

    async def _listen(self) -> None:
        async for event in self._recognizer.events():
            if isinstance(event, Finished):
                return
            if not self._is_of_use:
                await self._be_of_use()
            self._note(event)
            match event:
                case Partial():
                    hearing = self._ledger.partial(event)
                    if hearing is not None:
                        await self._account.tell(hearing)
                case Final():
                    await self._take(event)
                case SpeechStarted():
                    self._is_in_speech = True
                case SpeechEnded():
                    self._is_in_speech = False
            if not self._account.is_archived:
                self._account.tape.heard(self._ledger.resume or 0)

    async def _take(self, final: Final) -> None:
        before = self._ledger.committed
        segment = self._ledger.final(final)
        if final.from_finalize and self._asked_at_position is not None:
            self._ledger.settle(self._asked_at_position)
            self._asked_at_position = None
        if self._ledger.committed != before:
            self._account.progress_at = self._loop.time()
        if segment is not None:
            await self._account.tell(segment)

    async def _be_of_use(self) -> None:
        self._is_of_use = True
        self._lines.worked(self._line.profile)
        await self._on_use()

    def _note(self, event: RecognizerEvent) -> None:
        """The session is alive."""
        now = self._loop.time()
        self._liveness.heard(is_answer=isinstance(event, Final) and event.from_finalize and not event.text)
        if self._asked_to_end:
            self._wait_until(now + self._account.drain_s)
        if not self._has_result and self._first_audio_at is not None and isinstance(event, Partial | Final):
            self._has_result = True
            telemetry.STT_FIRST_RESULT_SECONDS.labels(self._line.profile).observe(now - self._first_audio_at)

    # ── whether it goes on ──────────────────────────────────────────────────────────────────────────────────────

    async def _review(self, now: float) -> None:
        """Now and then: is it alive, and is it to be replaced."""
        match self._liveness.judge(now, has_pending=self._ledger.has_pending):
            case Verdict.ASK:
                self._asked_at_position = self._clock.position
                await self._recognizer.finalize()
            case Verdict.DEAD:
                self._verdict = RecognizerUnavailable("speech went in and nothing came out", code="stt_silent")
                self._drain_until = now
                self._wait_until(now)
            case Verdict.FINE:
                pass
        if not self._is_of_use and now - self._opened_at >= OF_USE_S:
            await self._be_of_use()
        await self._review_succession(now)
        self._review_at = now + (_REVIEW_S if self._successor is None else _REVIEW_SUCCESSOR_S)

    async def _review_succession(self, now: float) -> None:
        is_pause = not self._ledger.has_pending and not self._is_in_speech
        if self._successor is None:
            reason = self._succession.wants(now, is_pause=is_pause)
            if reason is not None:
                self._reason = reason
                profile = self._next_profile(reason)
                self._successor = self._lines.open(profile) if self._lines.may_try(profile, now) else None
                if self._successor is None:
                    self._succession.refused(now)
        elif self._successor.is_settled:
            if await self._is_open(self._successor):
                self._succession.connected(now)
            else:
                self._successor = None
                self._succession.refused(now)
        if self._succession.is_time(now, is_pause=is_pause):
            self._is_leaving = True
            self._ledger.cut(self._clock.position)

    async def _is_open(self, line: Line) -> bool:
        return line.is_settled and await line.opened() is not None
