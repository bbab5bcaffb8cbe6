"""Calls for the journal: headers, tapes, and audio that says where it belongs."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.config import JournalSettings
from gateway.events import CallInfo, Track, TrackSummary
from gateway.journal import CallHeader, CallJournal, Journal, KeptCall, StreamEnd
from gateway.journal.archive import TrackArchive
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from telephony_codecs.formats import AudioFormat

MULAW = AudioFormat.parse("mulaw-8000")
CHUNK = 800
DEADLINE_S = 60.0
NEVER_S = 3600.0
"""Between two looks of a journal that is to write only when it is told to."""


def header(call_id: str = "call_1", *, started_at: float = 0.0, audio: str = "mulaw-8000") -> CallHeader:
    return CallHeader(
        call=CallInfo(
            id=call_id,
            platform="twilio",
            platform_call_id="CA1",
            stream_id="MZ1",
            account_id=None,
            from_number="+15550100",
            to_number=None,
            metadata={"tenant": "acme"},
        ),
        tracks=(Track.INBOUND, Track.OUTBOUND),
        format=audio,
        profile="pulse",
        language="en",
        speakers={Track.INBOUND: "caller", Track.OUTBOUND: "agent"},
        started_at=started_at,
    )


def stream_end(ended_at: float = 1_800_000_100.0) -> StreamEnd:
    summary = TrackSummary(track=Track.INBOUND, audio_s=1.0, lost_s=0.0, untranscribed_s=0.0, finals=0)
    return StreamEnd(
        outcome="completed",
        reason="stopped",
        duration_s=1.0,
        tracks=(summary,),
        ended_at=ended_at,
        heard={Track.INBOUND: 800},
    )


def sound(position: int, samples: int = CHUNK) -> bytes:
    """Every sample tells its position, within 251."""
    return bytes((position + number) % 251 for number in range(samples))


def chunk(position: int, samples: int = CHUNK) -> Stretch:
    return Stretch(position, sound(position, samples))


class Line:
    """A live call with two tracks."""

    def __init__(
        self, journal: Journal, call_id: str = "call_1", *, capacity_bytes: int = 80_000, started_at: float = 0.0
    ) -> None:
        self.tapes = {track: Tape(MULAW, capacity_bytes, is_archived=True) for track in Track}
        self.call: CallJournal = journal.begin(header(call_id, started_at=started_at), self.tapes)
        self.fed: dict[Track, list[Stretch]] = {track: [] for track in Track}

    def feed(self, chunks: int = 1, *, track: Track = Track.INBOUND, pause: int = 0) -> None:
        """Say something; nobody hears it live, as far as memory is concerned it has been heard."""
        for _ in range(chunks):
            tape = self.tapes[track]
            said = chunk((tape.end or 0) + pause)
            tape.append(said)
            self.fed[track].append(said)
            tape.heard(tape.end or 0)

    @property
    def unwritten(self) -> int:
        """Chunks that only memory holds."""
        return sum(len(tape.unwritten()) for tape in self.tapes.values())


async def heard(archive: TrackArchive, position: int = 0) -> list[Stretch]:
    """Everything that an archive has from a position on."""
    found: list[Stretch] = []
    while stretches := await archive.read(position):
        found += stretches
        position = found[-1].position + len(found[-1].payload)
    return found


def joined(stretches: Iterable[Stretch]) -> list[tuple[int, bytes]]:
    """Stretches that follow on as one."""
    runs: list[tuple[int, bytes]] = []
    for each in stretches:
        if runs and runs[-1][0] + len(runs[-1][1]) == each.position:
            runs[-1] = (runs[-1][0], runs[-1][1] + each.payload)
        else:
            runs.append((each.position, each.payload))
    return runs


async def until(condition: Callable[[], bool]) -> None:
    """Return once it is true; the journal's own ticks make it so."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            turned = loop.create_future()
            loop.call_later(0.002, turned.set_result, None)
            await turned


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def put(folder: Path, content: dict[str, bytes]) -> None:
    """Lay files into a folder."""
    folder.mkdir(exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)


async def kept_in(folder: Path) -> dict[str, dict[Track, list[tuple[int, bytes]]]]:
    """What the next process would find: the audio of each call and track."""
    async with Journal(folder, JournalSettings()) as journal:
        return {call.header.call.id: await audio_of(call) for call in journal.kept()}


async def audio_of(call: KeptCall) -> dict[Track, list[tuple[int, bytes]]]:
    return {track: runs for track in Track if (runs := joined(await heard(call.archive(track))))}
