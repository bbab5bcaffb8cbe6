"""Whole recordings through any profile: one seam, two ways."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from gateway.config import BatchSettings, SttProfile
from gateway.errors import RecognizerUnavailable
from gateway.events import Final, Finished, RecordingRequest, RecordingTranscript, Track, Word
from gateway.recordings import RecordingRefused
from gateway.stt import recordings as module
from gateway.stt.recordings import ProfiledRecordings
from telephony_codecs.formats import AudioFormat
from tests.support.batch_server import Answer, batch_server
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers

LEFT = np.full(20_000, 1000, "<i2")
RIGHT = np.full(20_000, -2000, "<i2")
PROFILES = {"local": SttProfile(kind="local")}


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    path = tmp_path / "call.flac"
    soundfile.write(path, np.stack([LEFT, RIGHT], axis=1), 8000)
    return path


def says(*finals: Final) -> ScriptedRecognizers:
    return ScriptedRecognizers(on_end=lambda _session: (*finals, Finished()))


async def play(
    recognizers: ScriptedRecognizers, path: Path, profile: str = "local", **wanted: Any
) -> RecordingTranscript:
    settings = BatchSettings(timeout_s=5, max_minutes=1)
    recordings = ProfiledRecordings(PROFILES, recognizers, settings)
    return await recordings.transcribe(profile, path, RecordingRequest(**wanted))


async def test_a_live_recogniser_hears_all_of_it_and_its_finals_become_the_transcript(stereo: Path) -> None:
    word = Word(word="hello", start_s=0.1, end_s=0.4, confidence=0.9)
    recognizers = says(
        Final(text="hello", start_s=0.1, end_s=0.4, words=(word,), language="en"), Final(text="bye", start_s=1, end_s=2)
    )
    transcript = await play(recognizers, stereo, word_times=True)
    (session,) = recognizers.sessions
    assert np.array_equal(np.frombuffer(session.audio, "<i2"), (LEFT + RIGHT) // 2)
    assert transcript.text == "hello bye"
    assert [(each.text, each.start_s, each.track) for each in transcript.utterances] == [
        ("hello", 0.1, None),
        ("bye", 1, None),
    ]
    assert [(each.word, each.start_s, each.confidence) for each in transcript.words] == [("hello", 0.1, 0.9)]
    assert (transcript.duration_s, transcript.language) == (2.5, "en")


async def test_words_are_left_out_unless_wanted(stereo: Path) -> None:
    recognizers = says(Final(text="hello", words=(Word(word="hello", start_s=0, end_s=1),)))
    assert (await play(recognizers, stereo)).words == ()


async def test_channels_heard_apart_are_tracks_in_the_order_in_which_things_were_said(stereo: Path) -> None:
    def on_end(session: ScriptedRecognizer) -> tuple[Final, ...]:
        at_s = {"inbound": 1.0, "outbound": 0.5}[session.request.track]
        return (Final(text=session.request.track, start_s=at_s, end_s=at_s + 0.2), Finished())  # type: ignore[return-value] # events

    recognizers = ScriptedRecognizers(on_end=on_end)
    transcript = await play(recognizers, stereo, apart=True)
    heard = {session.request.track: np.frombuffer(session.audio, "<i2")[0] for session in recognizers.sessions}
    assert heard == {"inbound": 1000, "outbound": -2000}
    assert [each.track for each in transcript.utterances] == [Track.OUTBOUND, Track.INBOUND]
    assert transcript.text == "outbound inbound"


async def test_finals_without_times_lie_between_the_one_before_and_the_end(stereo: Path) -> None:
    transcript = await play(says(Final(text="one", start_s=0, end_s=1), Final(text="two")), stereo)
    assert [(each.start_s, each.end_s) for each in transcript.utterances] == [(0, 1), (1, 2.5)]


async def test_the_audio_is_converted_to_what_the_profile_wants(stereo: Path) -> None:
    recognizers = ScriptedRecognizers(format=AudioFormat.parse("mulaw-8000"))
    transcript = await play(recognizers, stereo)
    assert (len(recognizers.sessions[0].audio), transcript.text) == (20_000, "")


async def test_a_session_that_is_lost_is_unavailable(stereo: Path) -> None:
    recognizers = ScriptedRecognizers(
        on_audio=lambda session, _audio: session.fail(RecognizerUnavailable("gone", code="stt_gone")) or ()
    )
    with pytest.raises(RecognizerUnavailable) as caught:
        await play(recognizers, stereo, apart=True)
    assert caught.value.code == "stt_gone"


async def test_an_early_end_is_unavailable(stereo: Path) -> None:
    recognizers = ScriptedRecognizers(on_audio=lambda _session, _audio: (Finished(),))
    with pytest.raises(RecognizerUnavailable) as caught:
        await play(recognizers, stereo)
    assert caught.value.code == "ended_early"


async def test_a_recogniser_that_falls_silent_is_given_up(stereo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.05)
    with pytest.raises(RecognizerUnavailable) as caught:
        await play(ScriptedRecognizers(on_end=lambda _session: ()), stereo)
    assert caught.value.code == "recognizer_stalled"


async def test_the_time_for_a_recording_is_bounded(stereo: Path) -> None:
    recordings = ProfiledRecordings(
        PROFILES, ScriptedRecognizers(on_end=lambda _session: ()), BatchSettings(timeout_s=0.1)
    )
    with pytest.raises(RecognizerUnavailable) as caught:
        await recordings.transcribe("local", stereo, RecordingRequest())
    assert caught.value.code == "stt_timeout"


async def test_what_is_no_recording_opens_no_session(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"not audio" * 100)
    with pytest.raises(RecordingRefused):
        await play(recognizers := ScriptedRecognizers(), path)
    assert recognizers.sessions == []


async def test_a_recording_that_turns_out_too_long_is_refused_and_its_session_released(tmp_path: Path) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(b"\xff" * 8000 * 61)
    with pytest.raises(RecordingRefused) as caught:
        await play(ScriptedRecognizers(), path, headerless=AudioFormat.parse("mulaw-8000"))
    assert caught.value.code == "too_long"


async def test_a_profile_that_does_not_exist_is_unavailable(stereo: Path) -> None:
    with pytest.raises(RecognizerUnavailable) as caught:
        await play(ScriptedRecognizers(), stereo, profile="nowhere")
    assert caught.value.code == "unknown_profile"


# ── Batch profiles ──────────────────────────────────────────────────────────────────────────────────────────────────


async def post(path: Path, *answers: Answer, **wanted: Any) -> tuple[RecordingTranscript, list[bytes]]:
    async with batch_server(*answers) as server:
        profiles = {"batch": SttProfile(kind="pulse-batch", url=server.url)}
        recordings = ProfiledRecordings(profiles, ScriptedRecognizers(), BatchSettings())
        transcript = await recordings.transcribe("batch", path, RecordingRequest(**wanted))
    return transcript, [request.body for request in server.requests]


async def test_a_batch_profile_is_handed_the_file_itself(stereo: Path) -> None:
    transcript, (body,) = await post(stereo)
    assert (transcript.text, body[:4]) == ("Call me back.", b"fLaC")


async def test_a_container_that_is_not_known_here_is_the_services_to_judge(tmp_path: Path) -> None:
    content = b"\0\0\0\x20ftypM4A " + b"\0" * 100
    (tmp_path / "x.m4a").write_bytes(content)
    transcript, bodies = await post(tmp_path / "x.m4a", apart=True)
    assert (transcript.text, bodies) == ("Call me back.", [content])


async def test_audio_without_a_container_is_given_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff" * 800)
    _, (body,) = await post(path, headerless=AudioFormat.parse("mulaw-8000"))
    assert (body[:4], len(body)) == (b"RIFF", 44 + 1600)


async def test_channels_apart_are_sent_apart_and_put_together_by_time(stereo: Path) -> None:
    later = {"transcription": "b", "utterances": [{"text": "b", "start": 2, "end": 3}], "metadata": {"duration": 2.5}}
    transcript, bodies = await post(stereo, Answer(), Answer(body=later), apart=True)
    assert sorted(np.frombuffer(body[44:], "<i2")[0] for body in bodies) == [-2000, 1000]
    assert transcript.text == "Call me back. b"
    assert {each.track for each in transcript.utterances} == set(Track)
    assert transcript.duration_s == 2.5


async def test_a_long_recording_goes_in_parts_whose_times_are_the_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_PART_S", 1.0)
    monkeypatch.setattr(module, "SEARCH_S", 0.5)
    monkeypatch.setattr(module, "_PARTS_AT_ONCE", 1)
    audio = np.full(12_000, 3000, "<i2")
    audio[5000:7400] = 0
    path = tmp_path / "x.flac"
    soundfile.write(path, audio, 8000)
    transcript, bodies = await post(path, word_times=True)
    seam_s = (len(bodies[0]) - 44) / 2 / 8000
    assert 5000 / 8000 < seam_s < 7400 / 8000
    assert b"".join(body[44:] for body in bodies) == audio.tobytes()
    assert transcript.text == "Call me back. Call me back."
    assert [word.start_s for word in transcript.words] == pytest.approx(
        [0.1, 0.4, 0.6, seam_s + 0.1, seam_s + 0.4, seam_s + 0.6]
    )
    assert [each.speaker for each in transcript.utterances] == [0, 1]
    assert transcript.duration_s == pytest.approx(seam_s + 1.2)
