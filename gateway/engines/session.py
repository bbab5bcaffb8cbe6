"""The gateway's end of one engine session: what `stt.base.Recognizer` asks for, over a worker process."""

import asyncio
from collections.abc import AsyncIterator, Callable

from gateway.channels import Channel
from gateway.engines import wire
from gateway.errors import RecognizerUnavailable
from gateway.events import Finished, Partial, RecognizerEvent, RecognizerRequest

# Audio on its way to the engine. Beyond it `send` waits, so the engine sets the pace of whoever sends faster.
_AHEAD_S = 10
# A worker that takes no audio for so long hangs.
_STALLED_S = 30.0
# Events that nobody has fetched yet: then partials are given up, later `send` waits.
_PARTIALS_WAITING = 64
_EVENTS_WAITING = 1000


class Session:
    """
    One recognition session.

    `unheard_bytes` is audio that was sent and that the engine has not dealt with. `is_live`: somebody speaks while it
    is heard; `is_kept`: its audio is that of a call, which keeps it until it was heard, here or later.

    Args:
        number: its name on the wire.
        request: what it was opened with.
        post: hands a message to the worker process.
        on_stall: called when the worker hangs.
    """

    def __init__(
        self,
        number: int,
        request: RecognizerRequest,
        post: Callable[[wire.Request], None],
        on_stall: Callable[[], None],
    ) -> None:
        self.number = number
        self._request = request
        self._post_to_worker = post
        self._on_stall = on_stall
        second_bytes = request.format.rate_hz * request.format.bytes_per_sample
        self._piece_bytes = self._second_bytes = second_bytes
        self._ahead_bytes = _AHEAD_S * second_bytes
        self.unheard_bytes = 0
        # Recordings have neither a call nor a track, clients of the speech APIs have no track.
        self.is_live = bool(request.call_id)
        self.is_kept = bool(request.call_id and request.track)
        self._busy_since = 0.0  # from when on there was always something unheard
        self._heard_since_bytes = 0
        self._clock = asyncio.get_running_loop().time
        self._events: Channel[RecognizerEvent] = Channel(_EVENTS_WAITING)
        self._changed = asyncio.Event()  # something happened that a wait may have waited for
        self._is_open = False
        self._error: RecognizerUnavailable | None = None

    async def open(self) -> None:
        """Ask the worker for an engine and wait until it has one."""
        self._post(wire.Open(self.number, self._request))
        while not self._is_open:
            await self._change()

    async def send(self, audio: bytes) -> None:
        for start in range(0, len(audio), self._piece_bytes):
            piece = audio[start : start + self._piece_bytes]
            while self.unheard_bytes + len(piece) > self._ahead_bytes:
                await self._progress()
            while len(self._events) >= _EVENTS_WAITING:
                await self._change()
            self._post(wire.Audio(self.number, piece))
            if not self.unheard_bytes:
                self._busy_since, self._heard_since_bytes = self._clock(), 0
            self.unheard_bytes += len(piece)

    async def finalize(self) -> None:
        self._post(wire.Finalize(self.number))

    async def keepalive(self) -> None:
        """Nothing to do: an engine of ours does not mind silence."""

    async def end(self) -> None:
        self._post(wire.End(self.number))

    async def events(self) -> AsyncIterator[RecognizerEvent]:
        async for event in self._events:
            self._changed.set()
            yield event
        if self._error is not None:
            raise self._error

    @property
    def is_lost(self) -> bool:
        """Whether it ended with an error."""
        return self._error is not None

    @property
    def behind_s(self) -> float:
        """
        How far the engine is behind real time: what it has heard less since it last had heard everything.

        For live audio that is the age of the oldest sample not heard, including what still waits to be sent; 0 for a
        recording that it hears faster than it was spoken.
        """
        if not self.unheard_bytes or self.is_lost:
            return 0.0
        return max(0.0, self._clock() - self._busy_since - self._heard_since_bytes / self._second_bytes)

    def shed(self) -> None:
        """End the session, because the worker cannot hear it in time beside the others."""
        self._post(wire.Close(self.number))
        self.fail(RecognizerUnavailable("the engine is behind", code="engine_overloaded"))

    def close(self) -> None:
        """Let the worker forget the session."""
        if self._error is None:
            self._post(wire.Close(self.number))
        self._events.close()

    def take(self, reply: wire.Reply) -> None:
        """What the worker said about this session; what it says after the loss is of no interest."""
        if self._error is not None:
            return
        match reply:
            case wire.Opened():
                self._is_open = True
            case wire.Said(heard_bytes=heard_bytes):
                self.unheard_bytes -= heard_bytes
                self._heard_since_bytes += heard_bytes
                for event in reply.events():
                    self._add(event)
            case wire.Failed(error=error, refused=True):
                text = f"the engine cannot hear {self._request.format} ({error})"
                self.fail(RecognizerUnavailable(text, code="engine_refused", retryable=False))
            case wire.Failed(error=error):
                self.fail(RecognizerUnavailable(f"the engine failed ({error})", code="engine_failed"))
        self._changed.set()

    def fail(self, error: RecognizerUnavailable) -> None:
        """The session is lost: every call from now on raises this, `events` after what was said before."""
        if self._error is None and not self._events.is_closed:
            self._error = error
            self._events.close()
            self._changed.set()

    def _add(self, event: RecognizerEvent) -> None:
        if isinstance(event, Partial) and len(self._events) >= _PARTIALS_WAITING:
            return
        self._events.put_nowait(event)
        if isinstance(event, Finished):
            self._events.close()

    def _post(self, request: wire.Request) -> None:
        if self._error is not None:
            raise self._error
        self._post_to_worker(request)

    async def _progress(self) -> None:
        """Wait for a change that has to come soon."""
        try:
            async with asyncio.timeout(_STALLED_S):
                await self._change()
        except TimeoutError:
            self._on_stall()
            raise RecognizerUnavailable("the engine hears nothing", code="engine_stalled") from None

    async def _change(self) -> None:
        if self._error is not None:
            raise self._error
        self._changed.clear()
        await self._changed.wait()
        if self._error is not None:
            raise self._error
