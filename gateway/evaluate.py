"""
`gateway evaluate`: how well and how fast the speech profiles hear one's own recordings.

Each recording goes the way of a call's track: chunk by chunk, at the pace of speech, through a `TrackSession`, which
converts it to the wanted audio form and hands it to the recogniser. What comes out is compared with the words known.
"""

import asyncio
import re
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import jiwer
import numpy as np

from gateway.config import AUDIO_FORMS, AUDIO_FORMS_OF_KIND, Settings
from gateway.engines.pool import SPHINX, EnginePool
from gateway.errors import ConfigError
from gateway.events import (
    Hearing,
    RecognizerBack,
    RecognizerLost,
    RecognizerRequest,
    Segment,
    TrackEvent,
    Untranscribed,
)
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.recordings import RecordingReader, RecordingRefused
from gateway.stt.base import Recognizer, Recognizers
from gateway.stt.profiles import ProfiledRecognizers
from gateway.stt.session import TrackSession
from telephony_codecs.formats import AudioFormat, Encoding

NORMALISATION = "lower case, punctuation removed, numbers as they are"
_LONGEST_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A recording with its words. `read` returns its audio, 16-bit PCM of `format`, and blocks."""

    name: str
    words: str
    format: AudioFormat
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to recognise: a profile and the audio it is sent."""

    profile: str
    form: AudioFormat


@dataclass(slots=True)
class Heard:
    """
    What became of one sample. Latencies are wall-clock seconds, and None or absent without pacing.

    Attributes:
        audio_s: length of the recording.
        text: all finals, joined.
        took_s: from the first audio sent to the last result.
        first_partial_s: the first partial came so long after its utterance began, by the recogniser's own word times,
            or, where it gives none, after the recording began.
        finals_s: each final came so long after its last word was spoken.
        fault: why not everything was heard.
    """

    sample: Sample
    audio_s: float
    text: str = ""
    took_s: float = 0.0
    first_partial_s: float | None = None
    finals_s: list[float] = field(default_factory=list)
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """
    The result of one variant; None where the pace does not tell.

    Word errors are of all recordings together: wrong, missing and added words by the words that were said. Latencies
    are the median and the 95th percentile. The real-time factor is processing time by length of audio.
    """

    profile: str
    audio: str
    recordings: int
    audio_s: float
    words: int
    word_error_rate: float
    substitutions: int
    deletions: int
    insertions: int
    first_partial_s: float | None
    first_partial_p95_s: float | None
    final_s: float | None
    final_p95_s: float | None
    real_time_factor: float | None
    failed: int


def normalise(text: str) -> str:
    """
    A text as it is compared: lower case, letters, digits and apostrophes inside words, single spaces.

    Numbers stay as they are written: "20" and "twenty" differ.
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    return " ".join(re.sub(r"(?<!\w)'|'(?!\w)|[^\w\s']|_", " ", text).split())


def read_samples(folder: Path, limit: int | None = None) -> list[Sample]:
    """
    The recordings of a folder, `x.wav` with its words in `x.txt`, by name. Channels are mixed.

    Raises:
        ConfigError: none there, or one that cannot be read, lacks its text, or has no words; all faults at once.
    """
    samples, faults = [], []
    for path in sorted(folder.glob("*.wav"))[:limit]:
        try:
            samples.append(_read_sample(path))
        except (RecordingRefused, OSError, ValueError) as error:
            faults.append(f"{path}: {error}")
    if faults:
        raise ConfigError(faults)
    if not samples:
        raise ConfigError([f"{folder}: no recordings there (x.wav with its words in x.txt)"])
    return samples


def variants(settings: Settings, profiles: Sequence[str], forms: Sequence[str]) -> list[Variant]:
    """
    Every profile with every audio form; by default the profile of calls, and the form that its settings name.

    Raises:
        ConfigError: unknown, or a profile that cannot take that audio.
    """
    chosen: list[Variant] = []
    faults: list[str] = []
    for name in profiles or (settings.stt.default,):
        profile = settings.stt.profiles.get(name)
        if profile is None:
            faults.append(f"--profile {name}: not defined; known are {', '.join(settings.stt.profiles)}")
            continue
        if profile.is_batch:
            faults.append(f"--profile {name}: takes whole recordings, not live audio")
            continue
        possible = AUDIO_FORMS_OF_KIND.get(profile.kind, AUDIO_FORMS)
        for form in forms or (profile.audio,):
            if form in possible:
                chosen.append(Variant(name, AudioFormat.parse(form)))
            else:
                faults.append(f"--audio {form}: profile {name} takes {', '.join(possible)}")
    if faults:
        raise ConfigError(faults)
    return chosen


async def evaluate(
    settings: Settings,
    samples: Sequence[Sample],
    chosen: Sequence[Variant],
    *,
    speed: float,
    on_heard: Callable[[Variant, Heard], None] = lambda _variant, _heard: None,
    engine: str = SPHINX,
) -> list[Figures]:
    """
    Recognise every sample in every variant, one after the other.

    Args:
        settings: profiles, engine and time-outs.
        samples: what to recognise.
        chosen: how.
        speed: times real time; 0: as fast as the recogniser takes it.
        on_heard: called after each sample.
        engine: `module:factory` of the embedded recogniser.

    Raises:
        RecognizerUnavailable: a profile cannot be reached at all.
    """
    async with EnginePool(settings.engine, engine=engine) as engines:
        recognizers = ProfiledRecognizers(settings.stt.profiles, engines.open)
        return [await _evaluate(settings, recognizers, samples, each, speed, on_heard) for each in chosen]


async def _evaluate(
    settings: Settings,
    recognizers: Recognizers,
    samples: Sequence[Sample],
    variant: Variant,
    speed: float,
    on_heard: Callable[[Variant, Heard], None],
) -> Figures:
    # Says at once what is wrong with a profile, and keeps the start of the first engine out of the figures.
    async with recognizers.open(variant.profile, RecognizerRequest(format=variant.form)):
        pass
    heard = []
    for sample in samples:
        audio = await asyncio.to_thread(sample.read)
        heard.append(await hear(settings, recognizers, sample, audio, variant, speed))
        on_heard(variant, heard[-1])
    return figures(variant, heard, speed)


async def hear(
    settings: Settings, recognizers: Recognizers, sample: Sample, audio: bytes, variant: Variant, speed: float
) -> Heard:
    """Send one sample, whose audio this is, through a track's session and note what comes, and when."""
    profile = settings.stt.profiles[variant.profile]
    audio_s = sample.format.samples(audio) / sample.format.rate_hz
    listener = _Listener(Heard(sample, audio_s), speed)
    session = TrackSession(
        _InForm(recognizers, variant.form),
        # This profile is judged, not those that would take over for it.
        settings.stt.model_copy(
            update={
                "drain_s": settings.stt.drain_s + (0 if speed else audio_s),
                "profiles": {variant.profile: profile.model_copy(update={"fallback": ()})},
            }
        ),
        variant.profile,
        RecognizerRequest(format=sample.format, language=profile.language, call_id="evaluate", track="inbound"),
        Tape(sample.format, len(audio)),  # without pacing all of it is there at once
        listener.receive,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(session.run(), name="stt")
        await _play(audio, sample.format, session, profile.chunk_ms, speed)
    return listener.finish()


def figures(variant: Variant, heard: Sequence[Heard], speed: float) -> Figures:
    """What the samples of one variant come to."""
    errors = jiwer.process_words(
        [normalise(each.sample.words) for each in heard], [normalise(each.text) for each in heard]
    )
    first_partials_s = [each.first_partial_s for each in heard if each.first_partial_s is not None]
    finals_s = [latency_s for each in heard for latency_s in each.finals_s]
    audio_s = sum(each.audio_s for each in heard)
    return Figures(
        profile=variant.profile,
        audio=str(variant.form),
        recordings=len(heard),
        audio_s=audio_s,
        words=errors.hits + errors.substitutions + errors.deletions,
        word_error_rate=errors.wer,
        substitutions=errors.substitutions,
        deletions=errors.deletions,
        insertions=errors.insertions,
        first_partial_s=_percentile(first_partials_s, 50),
        first_partial_p95_s=_percentile(first_partials_s, 95),
        final_s=_percentile(finals_s, 50),
        final_p95_s=_percentile(finals_s, 95),
        real_time_factor=None if speed else sum(each.took_s for each in heard) / audio_s,
        failed=sum(each.fault is not None for each in heard),
    )


class _Listener:
    """Takes a track's events and notes when they came."""

    def __init__(self, heard: Heard, speed: float) -> None:
        self._heard = heard
        self._speed = speed
        self._began = self._last = asyncio.get_running_loop().time()
        self._texts: list[str] = []
        self._first_partial_at: float | None = None

    async def receive(self, event: TrackEvent) -> None:
        self._last = asyncio.get_running_loop().time()
        match event:
            case Hearing():
                if self._first_partial_at is None:
                    self._first_partial_at = self._last
            case Segment():
                self._note(event)
            case Untranscribed() | RecognizerLost():
                self._heard.fault = self._heard.fault or event.reason
            case RecognizerBack():
                pass

    def finish(self) -> Heard:
        self._heard.text = " ".join(self._texts)
        self._heard.took_s = self._last - self._began
        return self._heard

    def _note(self, segment: Segment) -> None:
        if self._speed:
            if not self._texts and self._first_partial_at is not None:
                self._heard.first_partial_s = self._since(segment.start_s, self._first_partial_at)
            if not segment.forced:  # it ended because nothing more came
                self._heard.finals_s.append(self._since(segment.end_s, self._last))
        self._texts.append(segment.text)

    def _since(self, call_s: float, at: float) -> float:
        """Wall-clock seconds from when that moment of the recording was played."""
        return at - (self._began + call_s / self._speed)


class _InForm:
    """Recognisers that are sent one form of audio, whatever their profile says."""

    def __init__(self, recognizers: Recognizers, form: AudioFormat) -> None:
        self._recognizers = recognizers
        self._form = form

    def audio_format(self, _profile: str, _source: AudioFormat) -> AudioFormat:
        return self._form

    def open(self, profile: str, request: RecognizerRequest) -> AbstractAsyncContextManager[Recognizer]:
        return self._recognizers.open(profile, request)


async def _play(audio: bytes, form: AudioFormat, session: TrackSession, chunk_ms: int, speed: float) -> None:
    """Feed the session chunk by chunk, each when its last sample would have been spoken."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    chunk_samples = form.rate_hz * chunk_ms // 1000
    chunk_bytes = chunk_samples * form.bytes_per_sample
    for number, at in enumerate(range(0, len(audio), chunk_bytes)):
        chunk = Stretch(number * chunk_samples, audio[at : at + chunk_bytes])
        if speed:
            end_s = (chunk.position + form.samples(chunk.payload)) / form.rate_hz
            await asyncio.sleep(max(0.0, began + end_s / speed - loop.time()))
        session.feed(chunk)
    session.close()


def _read_sample(path: Path) -> Sample:
    words = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
    if not normalise(words):
        raise ValueError(f"no words in {path.with_suffix('.txt').name}")
    with RecordingReader(path, max_s=_LONGEST_S) as recording:
        form = AudioFormat(Encoding.LINEAR16, recording.rate_hz)
    return Sample(path.stem, words, form, lambda: _read_audio(path))


def _read_audio(path: Path) -> bytes:
    with RecordingReader(path, max_s=_LONGEST_S) as recording:
        return b"".join(iter(recording.read, b""))


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
