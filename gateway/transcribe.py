"""
`gateway transcribe`: recordings in, transcripts out, through any profile.

Each source fails or succeeds alone. A stereo recording is a call: its left channel is the caller, its right one the
agent, each heard alone and put together in the order in which things were said.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gateway.config import Settings
from gateway.engines.pool import SPHINX, EnginePool
from gateway.errors import ConfigError, GatewayError, UnavailableError
from gateway.events import RecognizerRequest, RecordingRequest, RecordingTranscript
from gateway.fetch import fetch
from gateway.recordings import RecordingReader
from gateway.stt.base import Recognizer, RecordingRecognizer
from gateway.stt.profiles import LocalOpener, ProfiledRecognizers
from gateway.stt.recordings import ProfiledRecordings
from gateway.transcript.export import SUFFIXES, WRITERS, to_json
from gateway.transcript.recorded import passages_of

DONE, NOT_GOOD, NOT_THERE = 0, 1, 3
_URL_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Job:
    """What `gateway transcribe` was asked for. `output`: a folder; None: standard output."""

    sources: tuple[str, ...]
    profile: str
    style: str
    language: str | None
    output: Path | None
    at_once: int


async def run(settings: Settings, job: Job, *, engine: str = SPHINX) -> int:
    """
    Transcribe every source; returns the exit code.

    Raises:
        ConfigError: a file is not there, the profile is not defined, or outputs would mix.
    """
    targets = _check(settings, job)
    async with _recordings(settings, job.profile, engine) as recordings:
        with _progress() as progress:
            work = _Work(settings, job, recordings, progress)
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(work.transcribe(source)) for source in job.sources]
    code = DONE
    for source, task in zip(job.sources, running, strict=True):
        outcome = task.result()
        if isinstance(outcome, RecordingTranscript):
            _write(outcome, source, job, targets[source])
            continue
        click.echo(f"gateway: {_shown(source)}: {outcome}", err=True)
        code = max(code, NOT_THERE if isinstance(outcome, UnavailableError) else NOT_GOOD)
    return code


def _check(settings: Settings, job: Job) -> dict[str, Path | None]:
    """Where each transcript goes, if all of this can work."""
    faults = [f"{source}: no such file" for source in job.sources if not _is_url(source) and not Path(source).is_file()]
    if job.profile not in settings.stt.profiles:
        known = ", ".join(sorted(settings.stt.profiles))
        faults.append(f"the profile {job.profile!r} is not defined; there are {known}")
    if job.output is None and len(job.sources) > 1 and job.style != "text":
        faults.append(f"several transcripts as {job.style} need --output DIR")
    if faults:
        raise ConfigError(faults)
    names = [PurePosixPath(_shown(source)).stem for source in job.sources]
    targets: dict[str, Path | None] = {}
    for source, name in zip(job.sources, names, strict=True):
        whole = name if names.count(name) == 1 else PurePosixPath(_shown(source)).name
        targets[source] = job.output / (whole + SUFFIXES[job.style]) if job.output else None
    placed = [target for target in targets.values() if target is not None]
    if len(set(placed)) < len(placed):
        raise ConfigError(["two transcripts would have the same file name"])
    return targets


@asynccontextmanager
async def _recordings(settings: Settings, profile: str, engine: str) -> AsyncIterator[RecordingRecognizer]:
    """The recogniser of recordings; the embedded engine runs only if it is wanted."""
    async with AsyncExitStack() as stack:
        if settings.stt.profiles[profile].kind == "local":
            pool = await stack.enter_async_context(EnginePool(settings.engine, engine=engine))
            local: LocalOpener = pool.open
        else:
            local = _no_engine
        recognizers = ProfiledRecognizers(settings.stt.profiles, local)
        yield ProfiledRecordings(settings.stt.profiles, recognizers, settings.batch)


@asynccontextmanager
async def _no_engine(_request: RecognizerRequest) -> AsyncIterator[Recognizer]:
    raise AssertionError("only one profile is used, and it is not local")
    yield


class _Work:
    """Transcribes sources, so many at once."""

    def __init__(self, settings: Settings, job: Job, recordings: RecordingRecognizer, progress: Progress) -> None:
        self._settings = settings
        self._job = job
        self._recordings = recordings
        self._progress = progress
        self._places = asyncio.Semaphore(job.at_once)

    async def transcribe(self, source: str) -> RecordingTranscript | GatewayError:
        """The transcript, or why there is none."""
        shown = self._progress.add_task(PurePosixPath(_shown(source)).name, total=None)
        async with self._places:
            try:
                with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
                    path = await self._local(source, Path(folder))
                    return await self._hear(path, shown)
            except GatewayError as error:
                return error
            finally:
                self._progress.remove_task(shown)

    async def _local(self, source: str, folder: Path) -> Path:
        if not _is_url(source):
            return Path(source)
        path = folder / "recording"
        batch = self._settings.batch
        await fetch(
            source,
            path,
            max_bytes=batch.max_mb << 20,
            timeout_s=batch.fetch_timeout_s,
            allow_private=batch.fetch_private,
        )
        return path

    async def _hear(self, path: Path, shown: TaskID) -> RecordingTranscript:
        if not self._settings.stt.profiles[self._job.profile].is_batch:
            self._progress.update(shown, total=await asyncio.to_thread(_announced_s, path, self._settings))
        wanted = RecordingRequest(language=self._job.language, word_times=True, apart=True, diarize=True)
        on_progress: Callable[[float], None] = lambda heard_s: self._progress.update(shown, completed=heard_s)  # noqa: E731
        return await self._recordings.transcribe(self._job.profile, path, wanted, on_progress=on_progress)


def _announced_s(path: Path, settings: Settings) -> float:
    with RecordingReader(path, max_s=settings.batch.max_minutes * 60) as reader:
        return reader.announced_s


def _write(transcript: RecordingTranscript, source: str, job: Job, target: Path | None) -> None:
    passages = passages_of(transcript)
    if job.style == "json":
        text = to_json(
            passages,
            source=_shown(source),
            profile=job.profile,
            language=transcript.language,
            duration_s=None if transcript.duration_s is None else round(transcript.duration_s, 3),
            text=transcript.text,
        )
    else:
        text = WRITERS[job.style](passages)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return
    if len(job.sources) > 1:
        click.echo(f"== {_shown(source)}")
    click.echo(text, nl=False)


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} s"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _is_url(source: str) -> bool:
    return source.lower().startswith(_URL_SCHEMES)


def _shown(source: str) -> str:
    """A source without what may be a token: of a URL only host and path."""
    if not _is_url(source):
        return source
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.hostname}{unquote(parts.path)}"
