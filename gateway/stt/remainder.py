"""What is left of a track, transcribed as a recording."""

import asyncio
import tempfile
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from gateway.errors import GatewayError
from gateway.events import (
    RecognizerRequest,
    RecordingRequest,
    RecordingTranscript,
    Segment,
    SpokenUtterance,
    TrackEvent,
    Word,
)
from gateway.stt.base import Archive, RecordingRecognizer
from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat, Encoding

log = structlog.get_logger()

_SILENCE_SAMPLES = 1 << 18


async def transcribe_remainder(
    recordings: RecordingRecognizer,
    profile: str,
    request: RecognizerRequest,
    archive: Archive,
    position: int,
    folder: Path,
    emit: Callable[[TrackEvent], Awaitable[None]],
) -> int | None:
    """
    Transcribe a track's archived audio from a position to its end.

    Args:
        recordings, profile: who hears it.
        request: the track's format and the wanted language.
        archive: the track's.
        position: samples.
        folder: for the recording meanwhile.
        emit: called with each segment, in order.

    Returns:
        None once all of it is told, else the position from which on nothing is.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="remainder_") as work:
        wav = Path(work) / "track.wav"
        if not await _write(wav, archive, position, request.format):
            return None
        try:
            wanted = RecordingRequest(language=request.language, word_times=True)
            transcript = await recordings.transcribe(profile, wav, wanted)
        except GatewayError as error:
            log.warning("stt_lost", track=request.track, profile=profile, code=error.code)
            return position
    for segment in _segments(transcript, profile, position / request.format.rate_hz):
        await emit(segment)
    return None


async def _write(target: Path, archive: Archive, position: int, audio_format: AudioFormat) -> bool:
    """Make a WAV file of the audio, with silence where there is none; false if there is nothing at all."""
    converter = Converter(audio_format, AudioFormat(Encoding.LINEAR16, audio_format.rate_hz))
    has_audio = False
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio_format.rate_hz)
        while stretches := await archive.read(position):
            has_audio = True
            for stretch in stretches:
                for missing in range(position, stretch.position, _SILENCE_SAMPLES):
                    samples = min(_SILENCE_SAMPLES, stretch.position - missing)
                    await asyncio.to_thread(file.writeframesraw, bytes(2 * samples))
                await asyncio.to_thread(file.writeframesraw, converter.convert(stretch.payload))
                position = stretch.position + audio_format.samples(stretch.payload)
    return has_audio


def _segments(transcript: RecordingTranscript, profile: str, offset_s: float) -> list[Segment]:
    """One segment per utterance; one for all where the recogniser tells none apart."""
    whole = SpokenUtterance(
        text=transcript.text,
        start_s=transcript.words[0].start_s if transcript.words else 0.0,
        end_s=transcript.words[-1].end_s if transcript.words else transcript.duration_s or 0.0,
    )
    return [
        Segment(
            provider=profile,
            text=utterance.text,
            start_s=offset_s + utterance.start_s,
            end_s=offset_s + utterance.end_s,
            words=tuple(
                Word(
                    word=word.word,
                    start_s=offset_s + word.start_s,
                    end_s=offset_s + word.end_s,
                    confidence=word.confidence,
                )
                for word in transcript.words
                if utterance.start_s <= (word.start_s + word.end_s) / 2 < utterance.end_s
            ),
            language=transcript.language,
            recovered=True,
        )
        for utterance in transcript.utterances or (whole,)
        if utterance.text
    ]
