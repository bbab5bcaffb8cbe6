"""A track's session under test in virtual time, with everything that it emits, and an archive in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from gateway.config import SttProfile, SttSettings
from gateway.events import RecognizerRequest, Segment, TrackEvent
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.stt.base import Recognizers
from gateway.stt.outages import Outages
from gateway.stt.session import TrackSession, Unheard
from telephony_codecs.formats import AudioFormat
from tests.support import virtual_time
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers

MULAW = AudioFormat.parse("mulaw-8000")
CHUNK = 800
"""Samples, and bytes, of 100 ms."""
DRAIN_S = 10.0

E = TypeVar("E")


class MemoryArchive:
    """What a journal would have: everything that a tape was given, once it was written; `is_failing` gives nothing."""

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.reads: list[int] = []

    def write(self, tape: Tape) -> None:
        """What the journal does twice a second."""
        for stretch in tape.unwritten():
            if not self.stretches or stretch.position > self.stretches[-1].position:
                self.stretches.append(stretch)
            tape.wrote(stretch.position + tape.format.samples(stretch.payload))

    async def read(self, position: int) -> Sequence[Stretch]:
        self.reads.append(position)
        found = [each for each in self.stretches if each.position + len(each.payload) > position][:50]
        if found and found[0].position < position:
            skipped = position - found[0].position
            found[0] = Stretch(position, found[0].payload[skipped:])
        return found


def settings(*profiles: str, kind: Any = "local", **of_first: Any) -> SttSettings:
    """Profiles by these names, the first with all others as its fall-backs."""
    first, *others = profiles or ("test",)
    made = {name: SttProfile(kind=kind, url="wss://h/p" if kind != "local" else None) for name in others}
    chosen = SttProfile(kind=kind, url="wss://h/p" if kind != "local" else None, fallback=tuple(others), **of_first)
    return SttSettings(drain_s=DRAIN_S, profiles={first: chosen, **made})


class Track:
    """
    A session under test.

    Args:
        recognizers: where its sessions come from.
        stt: settings; its first profile but `local` is used.
        buffer_s: audio that memory may hold.
        archive: makes it an archived one.
        options: of the session.
    """

    def __init__(
        self,
        recognizers: Recognizers,
        *,
        stt: SttSettings | None = None,
        buffer_s: float = 30.0,
        archive: MemoryArchive | None = None,
        **options: Any,
    ) -> None:
        stt = stt or settings("test")
        name = next(name for name in stt.profiles if name != "local")
        self.events: list[TrackEvent] = []
        self.position = 0
        self.archive = archive
        self.tape = Tape(MULAW, round(buffer_s * MULAW.rate_hz), is_archived=archive is not None)
        self.result: Unheard | None = None
        self.session = TrackSession(
            recognizers,
            stt,
            name,
            RecognizerRequest(format=MULAW, language="en", track="inbound"),
            self.tape,
            self._emit,
            archive=archive,
            **{"draw": lambda: 0.5, "outages": Outages(lambda: 0.5), **options},
        )

    async def _emit(self, event: TrackEvent) -> None:
        self.events.append(event)

    def speak(self, chunks: int = 1, payload: bytes | None = None) -> None:
        """Chunks of 100 ms, by default each of one value that counts up."""
        for _ in range(chunks):
            self.session.feed(Stretch(self.position, payload or bytes([self.position // CHUNK % 255]) * CHUNK))
            self.position += CHUNK
            if self.archive is not None and self.position // CHUNK % 5 == 0:
                self.archive.write(self.tape)

    async def talk(self, seconds: float, payload: bytes | None = None) -> None:
        """The same at the pace of speech."""
        for _ in range(round(seconds * 10)):
            await pass_time(0.1)
            self.speak(1, payload)

    def close(self) -> None:
        """The call is over."""
        if self.archive is not None:
            self.archive.write(self.tape)
        self.session.close()

    async def run(self) -> None:
        """Run the session to its end."""
        self.result = await self.session.run()

    def of(self, kind: type[E]) -> list[E]:
        """Events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def texts(self) -> list[str]:
        """What was said."""
        return [segment.text for segment in self.of(Segment)]


async def pass_time(seconds: float) -> None:
    """Let virtual time go by."""
    loop = asyncio.get_running_loop()
    passed = asyncio.Event()
    loop.call_later(seconds, passed.set)
    await passed.wait()


def play(
    recognizers: ScriptedRecognizers,
    story: Callable[[Track, ScriptedRecognizer], Awaitable[None]],
    *,
    within_s: float = 100_000.0,
    **options: Any,
) -> Track:
    """Run a session in virtual time while the story is told, from its first recogniser on, then hang up."""

    async def tell(track: Track) -> None:
        await story(track, await recognizers.session())

    return play_all(recognizers, tell, within_s=within_s, **options)


def play_all(
    recognizers: Recognizers,
    story: Callable[[Track], Awaitable[None]],
    *,
    within_s: float = 100_000.0,
    **options: Any,
) -> Track:
    """The same, also where no recogniser can be had."""

    async def main() -> Track:
        track = Track(recognizers, **options)
        async with asyncio.timeout(within_s), asyncio.TaskGroup() as tasks:
            tasks.create_task(track.run())
            await story(track)
            track.close()
        return track

    return virtual_time.run(main())
