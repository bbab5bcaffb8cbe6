"""`gateway evaluate`: what is compared, what is measured, and what is shown."""

import csv
import io
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from rich.console import Console

from gateway import config_sources, evaluation_report
from gateway.config import Settings
from gateway.errors import ConfigError, RecognizerUnavailable
from gateway.evaluate import (
    NORMALISATION,
    Figures,
    Heard,
    Sample,
    Variant,
    evaluate,
    figures,
    hear,
    normalise,
    read_samples,
    variants,
)
from gateway.events import Final, Partial, RecognizerEvent, Word
from telephony_codecs.formats import AudioFormat
from tests.support import virtual_time
from tests.support.scripted_recognizer import ScriptedRecognizer, ScriptedRecognizers
from tests.support.wav_file import wav

ENGINE = "tests.support.engines:CountingEngines"
NARROW, WIDE, PHONE = map(AudioFormat.parse, ("linear16-8000", "linear16-16000", "mulaw-8000"))
LOCAL = Variant("local", NARROW)


def settings(**flags: object) -> Settings:
    return config_sources.load(environ={}, flags=flags)


def sample(words: str = "hello there") -> Sample:
    """Two seconds of silence that are said to hold these words."""
    return Sample("x", words, NARROW, lambda: bytes(32000))


def play(recognizers: ScriptedRecognizers, *, variant: Variant = LOCAL, speed: float = 1.0) -> Heard:
    """What two seconds come to, in virtual time."""
    return virtual_time.run(hear(settings(), recognizers, sample(), sample().read(), variant, speed))


def timed() -> ScriptedRecognizers:
    """Says a partial at 0.5 s of audio, and at 1.5 s a final whose words lie between 0.25 and 1.0 s."""
    words = (Word(word="hello", start_s=0.25, end_s=0.5), Word(word="there", start_s=0.5, end_s=1.0))
    script: dict[int, RecognizerEvent] = {
        8000: Partial(text="hello"),
        12000: Partial(text="hello there"),
        24000: Final(text="hello there", words=words),
    }

    def on_audio(session: ScriptedRecognizer, audio: bytes) -> Iterable[RecognizerEvent]:
        heard = range(len(session.audio) - len(audio) + 1, len(session.audio) + 1)
        return [event for at, event in script.items() if at in heard]

    return ScriptedRecognizers(on_audio=on_audio)


# ── what is compared ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("Hello, THERE!", "hello there"),
        ("I'd  like\nit", "i'd like it"),
        ("I\u2019d say \u2018no\u2019", "i'd say no"),
        ("'tis 'quoted'", "tis quoted"),
        ("twenty-one, 21", "twenty one 21"),
        ("Übergröße_1", "übergröße 1"),
        ("…", ""),
    ],
)
def test_texts_are_compared_without_case_and_punctuation(text: str, normalised: str) -> None:
    assert normalise(text) == normalised


def test_word_errors_are_counted_over_all_recordings_together() -> None:
    result = figures(
        LOCAL,
        [Heard(sample("one two three four"), 2.0, "One two tree four."), Heard(sample("five"), 2.0, "five and six")],
        1,
    )
    assert (result.words, result.substitutions, result.deletions, result.insertions) == (5, 1, 0, 2)
    assert result.word_error_rate == pytest.approx(3 / 5)


def test_a_recording_of_which_nothing_was_heard_is_all_missing() -> None:
    result = figures(LOCAL, [Heard(sample("one two"), 2.0, "")], 1)
    assert (result.word_error_rate, result.deletions) == (1.0, 2)


# ── what is measured ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_partial_counts_from_the_beginning_of_its_first_word() -> None:
    assert play(timed()).first_partial_s == pytest.approx(0.5 - 0.25)


def test_a_final_counts_from_the_end_of_its_last_word() -> None:
    assert play(timed()).finals_s == [pytest.approx(1.5 - 1.0)]


def test_at_double_speed_latencies_are_still_wall_clock_seconds() -> None:
    heard = play(timed(), speed=2)
    assert (heard.first_partial_s, heard.finals_s) == (pytest.approx(0.125), [pytest.approx(0.25)])


def test_without_pacing_there_are_no_latencies() -> None:
    heard = play(timed(), speed=0)
    assert (heard.text, heard.first_partial_s, heard.finals_s) == ("hello there", None, [])


def test_a_partial_that_never_became_final_is_heard_but_has_no_final_latency() -> None:
    heard = play(ScriptedRecognizers(on_audio=lambda _session, _audio: [Partial(text="hello there")]))
    assert (heard.text, heard.finals_s) == ("hello there", [])


@pytest.mark.parametrize(("form", "sent_bytes"), [(NARROW, 32000), (WIDE, 64000), (PHONE, 16000)])
def test_the_recogniser_is_sent_the_audio_form_asked_for(form: AudioFormat, sent_bytes: int) -> None:
    play(recognizers := ScriptedRecognizers(), variant=Variant("local", form))
    assert recognizers.sessions[0].request.format == form
    assert len(recognizers.sessions[0].audio) == sent_bytes


def test_a_recogniser_that_goes_away_is_a_fault_and_what_it_said_counts() -> None:
    recognizers = ScriptedRecognizers()

    def on_audio(session: ScriptedRecognizer, _audio: bytes) -> Iterable[RecognizerEvent]:
        if len(session.calls) == 5:
            session.fail(RecognizerUnavailable("gone", code="gone"))
        return [Final(text="hello")] if len(session.calls) == 1 else []

    recognizers.on_audio = on_audio
    heard = play(recognizers)
    assert (heard.text, heard.fault) == ("hello", "gone")
    assert figures(LOCAL, [heard], 1).failed == 1


def test_latencies_of_all_recordings_become_median_and_95th_percentile() -> None:
    heard = [Heard(sample(), 2.0, "hello there", 2.0, at / 100, [at / 10]) for at in range(101)]
    result = figures(LOCAL, heard, 1)
    assert (result.first_partial_s, result.first_partial_p95_s) == (0.5, pytest.approx(0.95))
    assert (result.final_s, result.final_p95_s) == (5.0, pytest.approx(9.5))
    assert result.real_time_factor is None


def test_the_real_time_factor_is_time_taken_by_length_of_audio() -> None:
    heard = [Heard(sample(), 2.0, "", 0.4), Heard(sample(), 6.0, "", 1.2)]
    assert figures(LOCAL, heard, 0).real_time_factor == pytest.approx(0.2)


async def test_every_variant_is_measured_with_the_engine_of_the_settings() -> None:
    """The engine of this test says how many bytes it heard."""
    chosen = [Variant("local", NARROW), Variant("local", PHONE)]
    rows = await evaluate(settings(engine={"workers": 1}), [sample("32000")], chosen, speed=0, engine=ENGINE)
    assert [(row.audio, row.word_error_rate) for row in rows] == [("linear16-8000", 0.0), ("mulaw-8000", 1.0)]


async def test_a_profile_that_cannot_be_reached_is_told_before_anything_is_played() -> None:
    nobody = {"kind": "pulse", "url": "ws://127.0.0.1:9/", "connect_timeout_s": 5}
    heard: list[Heard] = []
    with pytest.raises(RecognizerUnavailable):
        await evaluate(
            settings(stt={"profiles": {"nobody": nobody}}, engine={"workers": 1}),
            [sample()],
            [Variant("nobody", PHONE)],
            speed=1,
            on_heard=lambda _variant, each: heard.append(each),
            engine=ENGINE,
        )
    assert heard == []


# ── what is given ────────────────────────────────────────────────────────────────────────────────────────────────


def write(folder: Path, name: str, words: str | None) -> None:
    (folder / f"{name}.wav").write_bytes(wav(bytes(3200), rate_hz=16000))
    if words is not None:
        (folder / f"{name}.txt").write_text(words)


def test_recordings_are_read_by_name_at_their_own_rate(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write(tmp_path, name, f"the word {name}")
    first, second = read_samples(tmp_path, limit=2)
    assert (first.name, first.words, first.format, first.read()) == ("a", "the word a", WIDE, bytes(3200))
    assert second.name == "b"


def test_every_unusable_recording_is_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, "good", "words")
    write(tmp_path, "no-text", None)
    write(tmp_path, "no-words", " … ")
    (tmp_path / "no-audio.wav").write_text("this is not audio at all")
    (tmp_path / "no-audio.txt").write_text("words")
    with pytest.raises(ConfigError) as refused:
        read_samples(tmp_path)
    assert [Path(fault.partition(":")[0]).stem for fault in refused.value.faults] == ["no-audio", "no-text", "no-words"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recordings"):
        read_samples(tmp_path)


def test_the_default_is_the_profile_of_calls_and_the_audio_of_its_settings() -> None:
    assert variants(settings(), (), ()) == [Variant("local", PHONE)]


def test_every_profile_is_combined_with_every_audio_form() -> None:
    chosen = variants(
        settings(stt={"profiles": {"far": {"kind": "pulse", "url": "ws://127.0.0.1/"}}}),
        ("local", "far"),
        ("mulaw-8000", "linear16-16000"),
    )
    assert chosen == [Variant(name, form) for name in ("local", "far") for form in (PHONE, WIDE)]


@pytest.mark.parametrize(
    ("profile", "form", "fault"),
    [
        ("nosuch", "mulaw-8000", "--profile nosuch: not defined"),
        ("local", "opus-48000", "--audio opus-48000"),
        ("vosk", "mulaw-8000", "--audio mulaw-8000"),
        ("batch", "mulaw-8000", "--profile batch: takes whole recordings"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(profile: str, form: str, fault: str) -> None:
    profiles = {
        "vosk": {"kind": "vosk", "url": "ws://127.0.0.1/", "audio": "linear16-8000"},
        "batch": {"kind": "pulse-batch", "url": "http://127.0.0.1/"},
    }
    with pytest.raises(ConfigError) as refused:
        variants(settings(stt={"profiles": profiles}), (profile,), (form,))
    (told,) = refused.value.faults
    assert told.startswith(fault)


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────


def row(**changes: object) -> Figures:
    heard = [Heard(sample("one two three four"), 2.0, "one two three five", 0.5, 0.25, [0.75])]
    made = figures(Variant("pulse", WIDE), heard, 1)
    return Figures(**{**{name: getattr(made, name) for name in Figures.__slots__}, **changes})


def test_the_table_fits_a_terminal_and_says_how_texts_were_compared() -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(evaluation_report.table([row()], 1))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO of above
    assert re.search(r"pulse +linear16-16000 +1 +4 +25\.0 +1\+0\+0 +0\.25/0\.25 +0\.75/0\.75", text)
    assert NORMALISATION in " ".join(text.split())


def test_only_failures_get_a_column_for_failures() -> None:
    headings = [[each.header for each in evaluation_report.table([row(failed=n)], 1).columns] for n in (0, 2)]
    assert ["failed" in each for each in headings] == [False, True]


async def test_a_recording_that_was_not_heard_is_named_and_the_run_is_not_good(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def evaluated(*_arguments: object, on_heard: Callable[[Variant, Heard], None], **_options: object) -> object:
        on_heard(LOCAL, Heard(sample(), 2.0, fault="engine_crashed"))
        return [row(failed=1)]

    monkeypatch.setattr(evaluation_report, "evaluate", evaluated)
    code = await evaluation_report.run(settings(), [sample()], [LOCAL], 1, tmp_path / "out.csv", None)
    assert code == 1
    assert "local linear16-8000 x: engine_crashed" in capsys.readouterr().err
    assert (tmp_path / "out.csv").exists()


async def test_verbose_prints_what_was_said_beside_what_was_heard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def evaluated(*_arguments: object, on_heard: Callable[[Variant, Heard], None], **_options: object) -> object:
        on_heard(LOCAL, Heard(sample("Hello, there"), 2.0, "Hollow there."))
        return [row()]

    monkeypatch.setattr(evaluation_report, "evaluate", evaluated)
    assert await evaluation_report.run(settings(), [sample()], [LOCAL], 1, None, None, verbose=True) == 0
    assert "  said   hello there\n  heard  hollow there\n" in capsys.readouterr().out


def test_csv_has_every_figure_and_leaves_unknown_ones_empty(tmp_path: Path) -> None:
    evaluation_report.write_csv(tmp_path / "out.csv", [row(), row(audio="mulaw-8000")])
    first, second = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert (first["profile"], first["audio"], first["word_error_rate"]) == ("pulse", "linear16-16000", "0.25")
    assert (first["final_s"], first["real_time_factor"]) == ("0.75", "")
    assert second["audio"] == "mulaw-8000"


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, of the extra `plot`, is not installed")
    evaluation_report.write_plot(tmp_path / "out.png", [row(), row(audio="mulaw-8000")])
    image = (tmp_path / "out.png").read_bytes()
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    assert width > 600
    assert height > 200


def test_without_matplotlib_the_plot_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_report, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"media-stream-gateway\[plot\]"):
        evaluation_report.require_plotting()
