"""Recordings and what was said in them: `gateway evaluate`, `gateway transcribe`, `gateway cues`."""

import sys
from pathlib import Path

import click

from gateway.commands.running import load, run, settings_options
from gateway.errors import ConfigError


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@settings_options
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="A speech profile; default: stt.default.")
@click.option(
    "--audio", "forms", multiple=True, metavar="FORM", help="Audio it is sent, e.g. linear16-16000; default: its own."
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Times real time. 1 tells latencies; 0, as fast as it goes, the real-time factor.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N recordings.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here, too.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a PNG of bars here.")
@click.option("--verbose", "-v", is_flag=True, help="Print what was said and what was heard, recording by recording.")
def evaluate(
    folder: Path,
    config_file: Path | None,
    assignments: tuple[str, ...],
    profiles: tuple[str, ...],
    forms: tuple[str, ...],
    speed: float,
    limit: int | None,
    csv_file: Path | None,
    plot_file: Path | None,
    verbose: bool,
) -> None:
    """
    Measure speech profiles on your own recordings: word errors, latencies, real-time factor.

    DIR holds recordings x.wav, each with its words in x.txt. Each goes the way of a call's audio, once per profile
    (--profile) and audio form (--audio). Words are compared in lower case, without punctuation, numbers as they are.
    Exit code 1 if a recording was not heard to its end.

    Latencies of finals are those of calls only if each recording goes on for a second or two after its last word: the
    end of the audio makes a final at once.

    \b
    Examples:
      gateway evaluate recordings --speed 0
      gateway evaluate recordings --profile local --audio mulaw-8000 --audio linear16-16000
      gateway evaluate recordings --config gateway.toml --profile pulse --csv pulse.csv --plot pulse.png
    """
    from gateway import evaluate as evaluation
    from gateway import evaluation_report, telemetry

    settings = load(config_file, assignments)
    telemetry.configure_logging("error", "console")
    for file in filter(None, (csv_file, plot_file)):
        if not file.parent.is_dir():
            raise ConfigError([f"{file}: no such folder"])
    if plot_file is not None:
        evaluation_report.require_plotting()
    samples = evaluation.read_samples(folder, limit)
    chosen = evaluation.variants(settings, profiles, forms)
    run(evaluation_report.run(settings, samples, chosen, speed, csv_file, plot_file, verbose=verbose))


@click.command()
@click.argument("sources", metavar="FILE…", nargs=-1, required=True)
@settings_options
@click.option("--profile", help="Speech profile; by default speech_api.batch_profile, else stt.default.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "srt", "vtt"]),
    default="text",
    show_default=True,
    help="What to write.",
)
@click.option("--language", help="Language code; by default the profile's.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for one file each.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Recordings at once.")
def transcribe(
    sources: tuple[str, ...],
    config_file: Path | None,
    assignments: tuple[str, ...],
    profile: str | None,
    style: str,
    language: str | None,
    output: Path | None,
    jobs: int,
) -> None:
    """
    Transcribe recordings: files or http(s) URLs, in WAV, FLAC, OGG or MP3.

    A stereo recording is a call: the left channel is the caller (inbound), the right one the agent (outbound). URLs at
    private addresses are fetched only with batch.fetch_private. Exit code 1 if a recording cannot be heard, 3 if the
    speech engine or a URL cannot be reached.

    \b
    Examples:
      gateway transcribe call.wav
      gateway transcribe *.mp3 --format srt --output captions
      gateway transcribe https://example.com/call.flac --profile pulse-batch --format json
    """
    import structlog

    from gateway import telemetry
    from gateway import transcribe as transcription

    settings = load(config_file, assignments)
    telemetry.configure_logging("warning", "console")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # the transcript owns standard output
    profile = profile or settings.speech_api.batch_profile or settings.stt.default
    job = transcription.Job(sources, profile, style, language, output, jobs)
    run(transcription.run(settings, job))


@click.command()
@click.argument("rules", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("files", metavar="FILE…", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON each.")
def cues(rules: Path, files: tuple[Path, ...], as_json: bool) -> None:
    """
    Try RULES of agent assist on transcripts: print the cues that they would have made.

    FILE is JSON of `gateway transcribe`, or text: what was said in each line, if need be after `caller:` or `agent:`.
    Text has no times; a third of a second per word is assumed. Without FILE the rules are only checked.

    \b
    Examples:
      gateway cues rules.toml
      gateway cues rules.toml call.json said.txt
    """
    from gateway.assist.trial import try_rules

    for line in try_rules(rules, files, as_json=as_json):
        click.echo(line)
