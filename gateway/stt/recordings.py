"""
Whole recordings through any profile: handed to a batch service as they are, or played to a recogniser of live audio as
fast as it takes them.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.config import BatchSettings, SttProfile
from gateway.errors import GatewayError, PeerError, RecognizerUnavailable, UnavailableError
from gateway.events import (
    Final,
    Finished,
    RecognizerRequest,
    RecordingRequest,
    RecordingTranscript,
    SpokenUtterance,
    SpokenWord,
    Track,
)
from gateway.recordings import RecordingReader, RecordingRefused, write_wav
from gateway.stt.base import Recognizer, Recognizers
from gateway.stt.batch_client import BatchClient
from gateway.stt.parts import cut, join_parts, join_tracks
from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat, Encoding

STALL_S = 60.0
"""A recogniser that says nothing for so long after the last audio, or takes none, is lost."""
LONGEST_PART_S = 590.0
"""Batch services take ten minutes at a time (docs.smallest.ai, Waves, "Transcribe (pre-recorded)", read 2026-08)."""
SEARCH_S = 30.0
"""How far before that a pause is looked for."""
_PARTS_AT_ONCE = 2
_PIECE_MS = 200


class ProfiledRecordings:
    """
    The `RecordingRecognizer` that the settings describe. Decoding is done in threads.

    Args:
        profiles: by name.
        recognizers: opens sessions of those that take live audio.
        settings: bounds.
        client: of those that take recordings.
    """

    def __init__(
        self,
        profiles: Mapping[str, SttProfile],
        recognizers: Recognizers,
        settings: BatchSettings,
        client: BatchClient | None = None,
    ) -> None:
        self._profiles = profiles
        self._recognizers = recognizers
        self._settings = settings
        self._client = client or BatchClient()

    async def transcribe(
        self,
        profile: str,
        recording: Path,
        request: RecordingRequest,
        *,
        on_progress: Callable[[float], None] = lambda _heard_s: None,
    ) -> RecordingTranscript:
        """See `gateway.stt.base.RecordingRecognizer`."""
        found = self._profiles.get(profile)
        if found is None:
            raise RecognizerUnavailable("no such speech profile", code="unknown_profile", retryable=False)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                if found.is_batch:
                    return await self._hand_over(found, recording, request)
                return await self._play(profile, recording, request, on_progress)
        except TimeoutError:
            raise RecognizerUnavailable("the recording was not recognised in time", code="stt_timeout") from None

    async def _hand_over(self, profile: SttProfile, recording: Path, request: RecordingRequest) -> RecordingTranscript:
        places = asyncio.Semaphore(_PARTS_AT_ONCE)

        async def transcribe(part: _Part) -> RecordingTranscript:
            async with places:
                return await self._client.transcribe(profile, part.path, request)

        # A thread that still writes when this is cancelled may keep the folder from going quietly.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            parts = await asyncio.to_thread(self._split, recording, request, Path(folder))
            with _first_error():
                async with asyncio.TaskGroup() as tasks:
                    running = [(part, tasks.create_task(transcribe(part))) for part in parts]
        tracks = dict.fromkeys(part.track for part in parts)
        return join_tracks(
            [
                join_parts([(part.start_s, task.result()) for part, task in running if part.track is track], track)
                for track in tracks
            ]
        )

    def _split(self, recording: Path, request: RecordingRequest, folder: Path) -> list["_Part"]:
        """In a thread: channels and parts that are to be heard alone, as WAV; the file itself if that will do."""
        whole = [_Part(None, 0.0, recording)]
        try:
            reader = self._open(recording, request.headerless)
        except RecordingRefused as error:
            if error.code != "not_audio" or request.headerless is not None:
                raise
            return whole  # the service knows containers that are not known here
        with reader:
            is_apart = request.apart and reader.channels == len(Track)
            if not is_apart and request.headerless is None and reader.announced_s <= LONGEST_PART_S:
                return whole
        tracks: tuple[Track | None, ...] = tuple(Track) if is_apart else (None,)
        return [part for track in tracks for part in self._write_parts(recording, request, track, folder)]

    def _write_parts(
        self, recording: Path, request: RecordingRequest, track: Track | None, folder: Path
    ) -> Iterator["_Part"]:
        with self._open(recording, request.headerless) as reader:
            blocks = iter(partial(reader.read, _channel(track)), b"")
            samples = 0
            for audio in cut(blocks, reader.rate_hz, longest_s=LONGEST_PART_S, search_s=SEARCH_S):
                path = folder / f"{track}-{samples}.wav"
                write_wav(path, 1, reader.rate_hz, [audio])
                yield _Part(track, samples / reader.rate_hz, path)
                samples += len(audio) // 2

    # ── Recognisers of live audio ───────────────────────────────────────────────────────────────────────────────

    async def _play(
        self, profile: str, recording: Path, request: RecordingRequest, on_progress: Callable[[float], None]
    ) -> RecordingTranscript:
        with await asyncio.to_thread(self._open, recording, request.headerless) as reader:
            channels = reader.channels
        tracks: tuple[Track | None, ...] = (None,)
        if request.apart and channels > 1:
            if channels != len(Track):
                raise RecordingRefused("more than two channels cannot be heard apart", code="too_many_channels")
            tracks = tuple(Track)
        heard = [_Heard(track) for track in tracks]
        with _first_error():
            async with asyncio.TaskGroup() as tasks:
                for each in heard:
                    tasks.create_task(self._hear(profile, recording, request, each, on_progress))
        return _joined(heard, request)

    async def _hear(
        self,
        profile: str,
        recording: Path,
        request: RecordingRequest,
        heard: "_Heard",
        on_progress: Callable[[float], None],
    ) -> None:
        """One session: a channel, or the mix of all."""
        with await asyncio.to_thread(self._open, recording, request.headerless) as reader:
            source = AudioFormat(Encoding.LINEAR16, reader.rate_hz)
            wanted = self._recognizers.audio_format(profile, source)
            asked = RecognizerRequest(format=wanted, language=request.language, track=heard.track or "")
            async with self._recognizers.open(profile, asked) as recognizer, asyncio.TaskGroup() as tasks:
                converter = Converter(source, wanted)
                feeding = tasks.create_task(self._feed(recognizer, reader, converter, wanted, heard, on_progress))
                try:
                    await _listen(recognizer, heard)
                except (UnavailableError, PeerError) as error:
                    heard.failure = heard.failure or error
                finally:
                    feeding.cancel()
        if heard.failure is not None:
            raise heard.failure

    async def _feed(
        self,
        recognizer: Recognizer,
        reader: RecordingReader,
        converter: Converter,
        wanted: AudioFormat,
        heard: "_Heard",
        on_progress: Callable[[float], None],
    ) -> None:
        def convert_next() -> bytes | None:
            block = reader.read(heard.channel)
            return converter.convert(block) if block else None

        piece_bytes = wanted.rate_hz * _PIECE_MS // 1000 * wanted.bytes_per_sample
        try:
            while (audio := await asyncio.to_thread(convert_next)) is not None:
                await _send(recognizer, audio, piece_bytes)
                heard.until_s = reader.position_s
                on_progress(heard.until_s)
            await _send(recognizer, converter.flush(), piece_bytes)
            heard.has_ended = True
            heard.expect_more()
            await recognizer.end()
        except RecordingRefused as error:
            heard.failure = error
            heard.patience.reschedule(0)
        except (UnavailableError, PeerError):
            return  # the listener meets the same loss and says why

    def _open(self, recording: Path, headerless: AudioFormat | None) -> RecordingReader:
        return RecordingReader(recording, headerless=headerless, max_s=self._settings.max_minutes * 60)


@dataclass(frozen=True, slots=True)
class _Part:
    """A file with what a track holds from `start_s` on; no track: the mix of all."""

    track: Track | None
    start_s: float
    path: Path


class _Heard:
    """What one session has said so far."""

    def __init__(self, track: Track | None) -> None:
        self.track = track
        self.channel = _channel(track)
        self.until_s = 0.0
        self.language: str | None = None
        self.words: list[SpokenWord] = []
        self.utterances: list[SpokenUtterance] = []
        self.patience = asyncio.timeout(None)
        self.has_ended = False
        self.failure: GatewayError | None = None

    def expect_more(self) -> None:
        """After the last audio, each answer gives the recogniser `STALL_S` for the next."""
        if self.has_ended:
            self.patience.reschedule(asyncio.get_running_loop().time() + STALL_S)

    def add(self, final: Final) -> None:
        """Take a final; without times it lies between the one before and the audio sent."""
        if not final.text:
            return
        before_s = self.utterances[-1].end_s if self.utterances else 0.0
        start_s = _first(final.start_s, final.words[0].start_s if final.words else None, before_s)
        end_s = max(start_s, _first(final.end_s, final.words[-1].end_s if final.words else None, self.until_s))
        self.language = self.language or final.language
        self.utterances.append(SpokenUtterance(text=final.text, start_s=start_s, end_s=end_s, track=self.track))
        self.words += [
            SpokenWord(
                word=word.word, start_s=word.start_s, end_s=word.end_s, confidence=word.confidence, track=self.track
            )
            for word in final.words
        ]


async def _listen(recognizer: Recognizer, heard: _Heard) -> None:
    try:
        async with heard.patience:
            async for event in recognizer.events():
                heard.expect_more()
                if isinstance(event, Final):
                    heard.add(event)
                elif isinstance(event, Finished):
                    if not heard.has_ended:
                        raise RecognizerUnavailable("the recogniser ended unasked", code="ended_early")
                    return
            raise RecognizerUnavailable("the recogniser stopped without having finished", code="ended_early")
    except TimeoutError:
        raise RecognizerUnavailable("the recogniser makes no progress", code="recognizer_stalled") from None


async def _send(recognizer: Recognizer, audio: bytes, piece_bytes: int) -> None:
    for at in range(0, len(audio), piece_bytes):
        await recognizer.send(audio[at : at + piece_bytes])


def _joined(heard: list[_Heard], request: RecordingRequest) -> RecordingTranscript:
    """One transcript of all sessions, in the order in which things were said."""
    utterances = sorted((each for one in heard for each in one.utterances), key=lambda each: each.start_s)
    words = sorted((each for one in heard for each in one.words), key=lambda each: each.start_s)
    return RecordingTranscript(
        text=" ".join(each.text for each in utterances),
        words=tuple(words) if request.word_times else (),
        utterances=tuple(utterances),
        language=next((one.language for one in heard if one.language), request.language),
        duration_s=max(one.until_s for one in heard),
    )


def _channel(track: Track | None) -> int | None:
    return None if track is None else list(Track).index(track)


def _first(*times_s: float | None) -> float:
    return next(time_s for time_s in times_s if time_s is not None)


@contextmanager
def _first_error() -> Iterator[None]:
    """Raise the first foreseen error of a task group by itself; bugs stay as they are."""
    try:
        yield
    except ExceptionGroup as group:
        foreseen, bugs = group.split(GatewayError)
        while isinstance(foreseen, ExceptionGroup):
            foreseen = foreseen.exceptions[0]  # type: ignore[assignment] # down to a leaf
        if bugs is not None or foreseen is None:
            raise
        raise foreseen from None
