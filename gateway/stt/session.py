"""
The recogniser session of one track: chunks of call audio in, segments in call time out.

It owns what every recogniser needs and none brings: audio held from the first frame until the recogniser is there,
conversion to the form it wants, keep-alive, silence when the platform stops sending in mid-utterance, the bounded wait
for the last final, and the mapping of its times to the call's.

One session is one conversation with one recogniser (`_converse`). What happens when that breaks is decided in one
place (`run`): today the rest of the track is reported as untranscribed.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from msgspec import structs

from gateway import telemetry
from gateway.channels import Channel, Overflow
from gateway.errors import GatewayError, PeerError, RecognizerUnavailable, UnavailableError
from gateway.events import (
    Final,
    Finished,
    Hearing,
    Partial,
    RecognizerLost,
    RecognizerRequest,
    Segment,
    SpeechEnded,
    SpeechStarted,
    TrackEvent,
    Untranscribed,
    Word,
)
from gateway.media.timeline import Stretch
from gateway.stt.base import Recognizer, Recognizers
from gateway.stt.clock import SessionClock
from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat

log = structlog.get_logger()

IDLE_S = 1.0
"""No audio for so long, in mid-utterance: the platform suppresses silence, and the recogniser waits for a pause."""
MAX_INSERTED_S = 3.0
"""Silence given to a recogniser to end an utterance; longer than any endpointer waits."""


class TrackSession:
    """
    Transcribes one track.

    Args:
        recognizers: where sessions come from.
        profile: which of them.
        request: the session wanted; `request.format` is the track's own format, not the recogniser's.
        emit: called with each track event, in order; may wait.
        buffer_s: audio held while the recogniser is absent or slow; older audio is then given up and reported.
        drain_s: how long to wait for the last final.
        keepalive_s: silence on the session before a keep-alive.
        chunk_ms: pace of inserted silence.
    """

    def __init__(
        self,
        recognizers: Recognizers,
        profile: str,
        request: RecognizerRequest,
        emit: Callable[[TrackEvent], Awaitable[None]],
        *,
        buffer_s: float,
        drain_s: float,
        keepalive_s: float = 5.0,
        chunk_ms: int = 100,
    ) -> None:
        self._recognizers = recognizers
        self._profile = profile
        self._request = request
        self._emit = emit
        self._drain_s = drain_s
        self._keepalive_s = keepalive_s
        self._chunk_s = chunk_ms / 1000
        self._source = request.format
        self._rate_hz = self._source.rate_hz
        self._audio: Channel[Stretch] = Channel(
            int(buffer_s * self._rate_hz) * self._source.bytes_per_sample,
            Overflow.DROP_OLDEST,
            weight=lambda stretch: len(stretch.payload),
            on_drop=self._note_drop,
        )
        self._clock = SessionClock(self._rate_hz)
        self._dropped: tuple[int, int] | None = None
        self._end_position: int | None = None
        self._committed = 0.0
        self._asked_to_end = False
        self._partial: Partial | None = None
        self._partial_end = 0
        self._first_audio_at: float | None = None
        self._has_result = False

    def feed(self, chunk: Stretch) -> None:
        """Take a chunk of call audio; never waits."""
        if self._end_position is None:
            self._committed = chunk.position / self._rate_hz
        self._end_position = chunk.position + self._source.samples(chunk.payload)
        self._audio.put_nowait(chunk)

    def close(self) -> None:
        """No more audio comes."""
        self._audio.close()

    async def run(self) -> None:
        """Transcribe until the audio was closed and the recogniser has said everything, or has failed."""
        failure = await self._attempt()
        await self._force_partial()
        if failure is None:
            return
        log.warning("stt_lost", track=self._request.track, profile=self._profile, code=failure.code)
        await self._emit(RecognizerLost(at_s=self._end_s, reason=failure.code))
        async for _ in self._audio:
            pass  # nobody hears it; its extent is what counts
        await self._report_missing(failure.code)

    async def _attempt(self) -> GatewayError | None:
        """One session from connect to end. Returns why it failed, None if it said everything."""
        wanted = self._recognizers.audio_format(self._profile, self._source)
        request = structs.replace(self._request, format=wanted)
        try:
            async with self._recognizers.open(self._profile, request) as recognizer:
                return await self._converse(recognizer, wanted)
        except (UnavailableError, PeerError) as error:
            return error

    async def _converse(self, recognizer: Recognizer, wanted: AudioFormat) -> GatewayError | None:
        async with asyncio.TaskGroup() as tasks:
            drained = asyncio.timeout(None)
            sender = tasks.create_task(self._send(recognizer, Converter(self._source, wanted), drained))
            try:
                async with drained:
                    await self._listen(recognizer)
                return None if self._asked_to_end else RecognizerUnavailable("it ended unasked", code="ended_early")
            except TimeoutError:
                return RecognizerUnavailable("the last final did not come in time", code="drain_timeout")
            except (UnavailableError, PeerError) as error:
                return error
            finally:
                sender.cancel()

    async def _send(self, recognizer: Recognizer, converter: Converter, drained: asyncio.Timeout) -> None:
        """Audio as it comes, then the request to end, which starts the clock of the drain."""
        try:
            while (chunk := await self._next_chunk(recognizer, converter)) is not None:
                await self._report_drop()
                await self._send_audio(recognizer, converter.convert(chunk.payload))
                self._clock.sent(chunk.position, self._source.samples(chunk.payload))
            await self._report_drop()
            self._asked_to_end = True
            drained.reschedule(asyncio.get_running_loop().time() + self._drain_s)
            await self._send_audio(recognizer, converter.flush())
            await recognizer.end()
        except (UnavailableError, PeerError):
            return  # the listener meets the same loss and says why

    async def _next_chunk(self, recognizer: Recognizer, converter: Converter) -> Stretch | None:
        """The next chunk of audio; meanwhile the recogniser is kept alive, and given the pause it waits for."""
        idle_s = inserted_s = since_keepalive_s = 0.0
        while True:
            wait_s = self._chunk_s if idle_s >= IDLE_S and self._partial and inserted_s < MAX_INSERTED_S else IDLE_S
            try:
                async with asyncio.timeout(wait_s):
                    return await self._audio.get()
            except TimeoutError:
                idle_s += wait_s
                since_keepalive_s += wait_s
            if wait_s < IDLE_S:
                samples = round(self._chunk_s * self._rate_hz)
                await self._send_audio(recognizer, converter.convert(self._source.silence(samples)))
                self._clock.inserted(samples)
                inserted_s += self._chunk_s
                since_keepalive_s = 0.0
            elif since_keepalive_s >= self._keepalive_s:
                await recognizer.keepalive()
                since_keepalive_s = 0.0

    async def _send_audio(self, recognizer: Recognizer, audio: bytes) -> None:
        if not audio:
            return  # an empty message ends the stream at some vendors
        if self._first_audio_at is None:
            self._first_audio_at = asyncio.get_running_loop().time()
        await recognizer.send(audio)

    async def _listen(self, recognizer: Recognizer) -> None:
        async for event in recognizer.events():
            match event:
                case Partial():
                    self._note_result()
                    self._partial = event if event.text else None
                    self._partial_end = self._clock.position
                    if event.text:
                        await self._emit(Hearing(text=event.text, start_s=self._at(event.start_s)))
                case Final():
                    self._note_result()
                    self._partial = None
                    if event.text:
                        await self._emit(self._segment(event))
                case Finished():
                    return
                case SpeechStarted() | SpeechEnded():
                    pass

    def _segment(self, final: Final) -> Segment:
        words = tuple(
            Word(
                word=word.word,
                start_s=self._clock.call_s(word.start_s),
                end_s=self._clock.call_s(word.end_s),
                confidence=word.confidence,
            )
            for word in final.words
        )
        start_s = self._at(final.start_s)
        if start_s is None:
            start_s = words[0].start_s if words else self._committed
        end_s = self._at(final.end_s)
        if end_s is None:
            end_s = words[-1].end_s if words else self._clock.position / self._rate_hz
        self._committed = max(self._committed, end_s)
        return Segment(
            text=final.text,
            start_s=start_s,
            end_s=max(start_s, end_s),
            words=words,
            language=final.language or self._request.language,
            confidence=final.confidence,
        )

    async def _force_partial(self) -> None:
        """A last partial that never became final is still what was said."""
        partial, self._partial = self._partial, None
        if partial is None:
            return
        start_s = self._at(partial.start_s)
        if start_s is None:
            start_s = self._committed
        end_s = max(start_s, self._partial_end / self._rate_hz)
        self._committed = max(self._committed, end_s)
        await self._emit(
            Segment(text=partial.text, start_s=start_s, end_s=end_s, language=self._request.language, forced=True)
        )

    async def _report_missing(self, reason: str) -> None:
        if self._end_s > self._committed:
            await self._emit(Untranscribed(start_s=self._committed, end_s=self._end_s, reason=reason))

    @property
    def _end_s(self) -> float:
        return (self._end_position or 0) / self._rate_hz

    def _note_drop(self, chunk: Stretch) -> None:
        end = chunk.position + self._source.samples(chunk.payload)
        start = chunk.position if self._dropped is None else self._dropped[0]
        self._dropped = (start, end)
        telemetry.STT_DROPPED_SECONDS.inc((end - chunk.position) / self._rate_hz)

    async def _report_drop(self) -> None:
        if self._dropped is not None:
            start, end = self._dropped
            self._dropped = None
            await self._emit(
                Untranscribed(start_s=start / self._rate_hz, end_s=end / self._rate_hz, reason="recognizer_too_slow")
            )

    def _note_result(self) -> None:
        if not self._has_result and self._first_audio_at is not None:
            self._has_result = True
            seconds = asyncio.get_running_loop().time() - self._first_audio_at
            telemetry.STT_FIRST_RESULT_SECONDS.labels(self._profile).observe(seconds)

    def _at(self, session_s: float | None) -> float | None:
        return None if session_s is None else self._clock.call_s(session_s)
