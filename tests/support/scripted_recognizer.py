"""
A recogniser in memory: records what it was sent and says what the test scripts.

By default it answers `finalize` with an empty final and `end` with `Finished`. A test changes that with the three
`on_…` functions, or lets a session `say` something at any moment.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from gateway.errors import GatewayError
from gateway.events import Final, Finished, RecognizerEvent, RecognizerRequest
from telephony_codecs.formats import AudioFormat

DEADLINE_S = 60.0


class ScriptedRecognizer:
    """
    One session.

    Attributes:
        profile: under which it was opened.
        request: what it was opened for.
        calls: `send`, `finalize`, `keepalive` and `end`, in the order in which they came.
        audio: all bytes sent.
        sent_at: the loop's time of each piece, and its length in bytes.
        listening: clear it and `send` waits: the engine is behind.
        closed: set when the session was released.
    """

    def __init__(self, owner: "ScriptedRecognizers", profile: str, request: RecognizerRequest) -> None:
        self._owner = owner
        self._queue: asyncio.Queue[RecognizerEvent | GatewayError] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._failure: GatewayError | None = None
        self.profile = profile
        self.request = request
        self.opened_at = asyncio.get_running_loop().time()
        self.calls: list[str] = []
        self.audio = bytearray()
        self.sent_at: list[tuple[float, int]] = []
        self.listening = asyncio.Event()
        self.listening.set()
        self.closed = asyncio.Event()

    def say(self, *events: RecognizerEvent) -> None:
        """Let the session say these now."""
        for event in events:
            self._queue.put_nowait(event)

    def fail(self, error: GatewayError) -> None:
        """Lose the session: every method raises from now on."""
        self._failure = error
        self._queue.put_nowait(error)

    async def until(self, condition: Callable[[], bool], *, within_s: float = DEADLINE_S) -> None:
        """Wait until the condition holds; looked at after each call of the session."""
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(condition)

    async def send(self, audio: bytes) -> None:
        assert audio, "never empty"
        await self.listening.wait()
        if self._failure is None:
            self.audio += audio
            self.sent_at.append((asyncio.get_running_loop().time(), len(audio)))
        await self._called("send", self._owner.on_audio(self, audio))

    async def finalize(self) -> None:
        await self._called("finalize", self._owner.on_finalize(self))

    async def keepalive(self) -> None:
        await self._called("keepalive", ())

    async def end(self) -> None:
        await self._called("end", self._owner.on_end(self))

    async def events(self) -> AsyncIterator[RecognizerEvent]:
        while True:
            event = await self._queue.get()
            if isinstance(event, GatewayError):
                raise event
            yield event
            if isinstance(event, Finished):
                return

    async def _called(self, name: str, answer: Iterable[RecognizerEvent]) -> None:
        if self._failure is not None:
            raise self._failure
        self.calls.append(name)
        self.say(*answer)
        async with self._changed:
            self._changed.notify_all()


class PromptScriptedRecognizer(ScriptedRecognizer):
    """One that can be sent audio without waiting, while `is_clear`; its `calls` have `send_now`."""

    is_clear = True

    def send_now(self, audio: bytes) -> None:
        assert audio, "never empty"
        assert self.is_clear
        self.audio += audio
        self.sent_at.append((asyncio.get_running_loop().time(), len(audio)))
        self.calls.append("send_now")
        self.say(*self._owner.on_audio(self, audio))


class ScriptedRecognizers:
    """
    Opens scripted sessions.

    Args:
        format: in which it wants its audio; None: as it comes.
        session: what it opens.
        on_audio, on_finalize, on_end: what a session says to these.

    Attributes:
        sessions: all that were opened, in order.
        attempts: profile and loop's time of each attempt to open one.
        refusal: raised instead of opening, while set.
        refusals: the same by profile.
        opens: clear it and opening waits.
    """

    def __init__(
        self,
        *,
        format: AudioFormat | None = None,  # noqa: A002 - the seam's own word
        session: type[ScriptedRecognizer] = ScriptedRecognizer,
        on_audio: Callable[[ScriptedRecognizer, bytes], Iterable[RecognizerEvent]] = lambda _session, _audio: (),
        on_finalize: Callable[[ScriptedRecognizer], Iterable[RecognizerEvent]] = (
            lambda _session: (Final(text="", from_finalize=True),)
        ),
        on_end: Callable[[ScriptedRecognizer], Iterable[RecognizerEvent]] = lambda _session: (Finished(),),
    ) -> None:
        self._format = format
        self._session = session
        self._opened = asyncio.Condition()
        self.on_audio = on_audio
        self.on_finalize = on_finalize
        self.on_end = on_end
        self.sessions: list[ScriptedRecognizer] = []
        self.attempts: list[tuple[str, float]] = []
        self.refusal: GatewayError | None = None
        self.refusals: dict[str, GatewayError] = {}
        self.opens = asyncio.Event()
        self.opens.set()

    def audio_format(self, profile: str, source: AudioFormat) -> AudioFormat:
        return self._format or source

    @asynccontextmanager
    async def open(self, profile: str, request: RecognizerRequest) -> AsyncIterator[ScriptedRecognizer]:
        self.attempts.append((profile, asyncio.get_running_loop().time()))
        await self.opens.wait()
        if refusal := self.refusal or self.refusals.get(profile):
            raise refusal
        session = self._session(self, profile, request)
        self.sessions.append(session)
        async with self._opened:
            self._opened.notify_all()
        try:
            yield session
        finally:
            session.closed.set()

    async def session(self, index: int = 0, *, within_s: float = DEADLINE_S) -> ScriptedRecognizer:
        """The session of that number, waiting for it to be opened."""
        async with asyncio.timeout(within_s), self._opened:
            await self._opened.wait_for(lambda: len(self.sessions) > index)
        return self.sessions[index]
