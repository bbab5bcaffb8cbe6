"""
The command line: arguments → settings → run.

Commands import what they need when they run, so that `--help` answers at once.

Exit codes, for scripts: 0 done; 1 it ran, and the result is not good (a final is missing, a check failed); 2 the
command line or the settings are wrong; 3 somebody else is not there (port taken, gateway not reached, data folder
unusable); 130 interrupted.
"""

import gc
import json
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gateway.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from gateway.config import Settings

NOT_GOOD = 1
WRONG_SETTINGS = 2
NOT_THERE = 3
INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line; every foreseen error ends in its exit code and one line on standard error."""
    try:
        sys.exit(cli(standalone_mode=False, prog_name="gateway") or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigError as error:
        for fault in error.faults:
            click.echo(f"gateway: {fault}", err=True)
        sys.exit(WRONG_SETTINGS)
    except GatewayError as error:
        click.echo(f"gateway: {error}", err=True)
        sys.exit(NOT_THERE)
    except ExceptionGroup as group:  # task groups wrap even a single error
        foreseen, unforeseen = group.split(GatewayError)
        if foreseen is None or unforeseen is not None:
            raise
        for leaf in _leaves(foreseen):
            click.echo(f"gateway: {leaf}", err=True)
        sys.exit(NOT_THERE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)


def _leaves(group: ExceptionGroup[Any]) -> list[Exception]:
    return [
        leaf for each in group.exceptions for leaf in (_leaves(each) if isinstance(each, ExceptionGroup) else [each])
    ]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="media-stream-gateway", prog_name="gateway")
def cli() -> None:
    """Media-stream gateway for telephone speech: phone audio in, signed transcripts out, none lost."""


def _settings_options(command: Any) -> Any:
    """Options of every command that needs the settings."""
    options = (
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar="GATEWAY_CONFIG",
            help="TOML file with settings.",
        ),
        click.option(
            "--set", "assignments", multiple=True, metavar="NAME=VALUE", help="One setting, e.g. stt.drain_s=5."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _load(config_file: Path | None, assignments: tuple[str, ...], **flags: object) -> "Settings":
    from gateway import config_sources

    return config_sources.load(config_file, flags=config_sources.merge(config_sources.assigned(assignments), flags))


# How long a thread asks politely for the interpreter, for example the one that writes to the disk. Each system call of
# a busy loop lets go for an instant, too short for a thread to wake, and starts its patience anew: with CPython's 5 ms
# a single statement waited up to 0.36 s, with this 0.02 s, and the loop got as much done.
_SWITCH_S = 0.0002


def _run(main: Coroutine[Any, Any, int | None]) -> None:
    """Run to the end on the fastest loop there is; exits with what it returns."""
    sys.setswitchinterval(_SWITCH_S)
    if sys.platform == "win32":  # uvloop is not made for it
        import asyncio

        sys.exit(asyncio.run(main) or 0)
    import uvloop

    sys.exit(uvloop.run(main) or 0)


@contextmanager
def _lasting_objects() -> Iterator[None]:
    """
    For work whose objects last as long as the process, as modules do: no garbage collection looks at them, ever.

    To look through all that is imported takes 30 to 60 ms each time, in which no call is served, and finds nothing.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@cli.command()
@_settings_options
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on; 0 takes any free one.")
@click.option("--public-url", help="https:// address under which the phone platform reaches this gateway.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Folder of the store.")
@click.option("--insecure", is_flag=True, default=None, help="Listen beyond loopback without Twilio's auth token.")
def serve(config_file: Path | None, assignments: tuple[str, ...], **flags: object) -> None:
    """
    Run the gateway until SIGTERM or Ctrl-C.

    The first signal drains: no new calls, calls in progress go on for drain_timeout_s, deliveries are made as far as
    time allows. A second one ends it now; what is not delivered is delivered after the next start.

    \b
    Examples:
      gateway serve
      gateway serve --config gateway.toml --port 9000
      GATEWAY_WEBHOOK__URL=https://example.com/hook GATEWAY_WEBHOOK__SECRET=whsec_… gateway serve
    """
    with _lasting_objects():
        settings = _load(config_file, assignments, **flags)
        from gateway import server  # noqa: F401 - nearly all that `_serve` needs
    _run(_serve(settings))


async def _serve(settings: "Settings") -> int:
    import asyncio

    from gateway import telemetry
    from gateway.front_door import allow_many_files
    from gateway.server import serving

    telemetry.configure_logging(settings.log.level, settings.log.format, pii=settings.log.pii)
    allow_many_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None

    def on_signal() -> None:
        if stop.is_set():
            this.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        async with serving(settings) as gateway:
            if settings.api_token is None:
                # To standard error: the log on standard output holds no secrets.
                click.echo(f"gateway: console at {gateway.console_url}", err=True)
            await stop.wait()
    except asyncio.CancelledError:
        return INTERRUPTED
    return 0


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--url", default="ws://127.0.0.1:8080/twilio/stream", show_default=True, help="The stream's address.")
@click.option("--dialect", type=click.Choice(["twilio"]), default="twilio", show_default=True, help="Platform to play.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Times real time; 0: as fast as it goes.",
)
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="Calls to place at once.")
@click.option("--parameter", "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter of the stream.")
@click.option("--auth-token", envvar="GATEWAY_TWILIO__AUTH_TOKEN", help="Sign as Twilio does with this token.")
@click.option(
    "--stream-token",
    "with_token",
    is_flag=True,
    help="Bring a one-time token, as streams do that the gateway's own TwiML started (needs --auth-token).",
)
def call(
    file: Path,
    url: str,
    dialect: str,
    speed: float,
    count: int,
    parameters: tuple[str, ...],
    auth_token: str | None,
    with_token: bool,
) -> None:
    """
    Place a call: play the recording FILE to a gateway, as a phone platform would.

    Mono is the caller; of two channels the left one is the caller (inbound), the right one the agent (outbound).

    \b
    Examples:
      gateway call call.wav
      gateway call call.wav --url wss://media.example.com/twilio/stream --count 20
      gateway call call.wav -p tenant=acme -p gw_language=de
    """
    from gateway.simulate import recording, softphone

    audio = recording.load(file)
    if with_token and auth_token is None:
        raise click.BadOptionUsage("--stream-token", "--stream-token needs --auth-token")
    placed = softphone.TwilioCall(
        url=url,
        audio=audio,
        speed=speed,
        auth_token=auth_token,
        with_token=with_token,
        parameters=_pairs(parameters, "--parameter"),
    )
    _run(_place(placed, count))


async def _place(placed: Any, count: int) -> int:
    import asyncio

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from gateway.simulate import softphone

    longest_s = max(len(each) for each in placed.audio.values()) / 8000
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f} s"),
        TimeRemainingColumn(),
    )
    failed = 0

    async def one(bar: Any) -> None:
        nonlocal failed
        try:
            played = await softphone.place(placed, on_progress=bar)
            click.echo(f"{played.call_sid} played {played.audio_s:.1f} s, closed {played.close_code}")
            failed += played.close_code != 1000
        except GatewayError as error:
            failed += 1
            click.echo(f"gateway: {error}", err=True)

    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as progress:
        shown = progress.add_task("playing", total=longest_s)
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(one((lambda at: progress.update(shown, completed=at)) if number == 0 else None))
    return NOT_THERE if failed else 0


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=8090, show_default=True, help="Port to listen on.")
@click.option(
    "--secret", envvar="GATEWAY_WEBHOOK__SECRET", help="Standard Webhooks secret; none: one is made and printed."
)
@click.option(
    "--fail-rate", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of deliveries answered 500."
)
@click.option(
    "--delay", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Seconds before each answer."
)
@click.option("--json", "as_json", is_flag=True, help="Print each event as one line of JSON.")
@click.option("--calls", type=click.IntRange(min=1), help="Stop after so many calls have ended.")
def listen(
    host: str, port: int, secret: str | None, fail_rate: float, delay: float, as_json: bool, calls: int | None
) -> None:
    """
    Receive webhooks: verify each delivery, print it, and fail on request.

    With --calls it ends by itself, with exit code 1 if a delivery was forged or an event is missing.

    \b
    Examples:
      gateway listen
      gateway listen --fail-rate 0.3 --delay 2
      gateway listen --json --calls 1 > events.jsonl
    """
    from gateway.simulate.listener import Listener, new_secret
    from gateway.simulate.show import EventPrinter

    if secret is None:
        secret = new_secret()
        click.echo(f"secret {secret}", err=True)
    printer = EventPrinter(as_json=as_json)
    listener = Listener(secret, fail_rate=fail_rate, delay_s=delay, on_event=printer.show)
    _run(_listen(listener, host, port, calls))


async def _listen(listener: Any, host: str, port: int, calls: int | None) -> int:
    import asyncio

    async with listener.serve(host, port) as url:
        click.echo(f"listening on {url}", err=True)
        if calls is None:
            await asyncio.Event().wait()
        await listener.wait_for_ends(calls)
    faults = listener.tally.faults()
    for fault in faults:
        click.echo(f"gateway: {fault}", err=True)
    return NOT_GOOD if faults else 0


@cli.command()
@click.option(
    "--speed", type=click.FloatRange(min=0.1, max=20), default=1.0, show_default=True, help="Times real time."
)
@click.option("--keep", is_flag=True, help="Stay up after the call and print the console's address.")
def demo(speed: float, keep: bool) -> None:
    """
    Watch one phone call become verified webhook events.

    Starts a gateway with the embedded recogniser and a webhook receiver on this machine, places a call from a recording
    of real speech over Twilio's protocol, and prints each event as it arrives. Needs no network and no account. Exit
    code 0 only if every final was delivered and every signature holds.
    """
    from gateway.demo import run

    _run(run(speed=speed, keep=keep))


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_settings_options
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

    settings = _load(config_file, assignments)
    telemetry.configure_logging("error", "console")
    for file in filter(None, (csv_file, plot_file)):
        if not file.parent.is_dir():
            raise ConfigError([f"{file}: no such folder"])
    if plot_file is not None:
        evaluation_report.require_plotting()
    samples = evaluation.read_samples(folder, limit)
    chosen = evaluation.variants(settings, profiles, forms)
    _run(evaluation_report.run(settings, samples, chosen, speed, csv_file, plot_file, verbose=verbose))


@cli.command()
@click.argument("sources", metavar="FILE…", nargs=-1, required=True)
@_settings_options
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

    settings = _load(config_file, assignments)
    telemetry.configure_logging("warning", "console")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # the transcript owns standard output
    profile = profile or settings.speech_api.batch_profile or settings.stt.default
    job = transcription.Job(sources, profile, style, language, output, jobs)
    _run(transcription.run(settings, job))


@cli.command()
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


@cli.group()
def deliveries() -> None:
    """
    See and settle what receivers have not taken: list, show, retry, drop.

    Works while the gateway runs on the same data folder, which notices within two seconds, and while it does not. Exit
    code 1 if an event is not there or was delivered, 3 if there is no store.

    \b
    Examples:
      gateway deliveries endpoints
      gateway deliveries list
      gateway deliveries show evt_0123
    """


def _deliveries_options(command: Any) -> Any:
    """Options of every command about deliveries."""
    folder = click.Path(path_type=Path, file_okay=False)
    return _settings_options(click.option("--data-dir", type=folder, help="Folder of the store.")(command))


_ENDPOINT = click.option(
    "--endpoint", metavar="ENDPOINT", help="Only this receiver: its key, the key's beginning, its URL or its origin."
)
_SHOW_URLS = click.option("--show-urls", is_flag=True, help="Whole URLs of receivers; they may hold tokens.")
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="One line of JSON each.")


@deliveries.command("endpoints")
@_deliveries_options
@_SHOW_URLS
@_AS_JSON
def deliveries_endpoints(
    config_file: Path | None, assignments: tuple[str, ...], data_dir: Path | None, show_urls: bool, as_json: bool
) -> None:
    """
    List the receivers: what waits for each, what it did not take, and whether it is disabled (410).

    \b
    Examples:
      gateway deliveries endpoints
      gateway deliveries endpoints --json --data-dir /data
    """
    from gateway.deliveries import opened

    with opened(_load(config_file, assignments, data_dir=data_dir), show_urls=show_urls) as desk:
        sys.exit(desk.list_endpoints(as_json=as_json))


@deliveries.command("list")
@_deliveries_options
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(["pending", "dead", "dropped", "delivered"]),
    help="Only these; by default all that were not delivered.",
)
@_ENDPOINT
@click.option("--call", "call_id", metavar="CALL", help="Only this call.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="So many, the oldest first.")
@_SHOW_URLS
@_AS_JSON
def deliveries_list(
    config_file: Path | None,
    assignments: tuple[str, ...],
    data_dir: Path | None,
    states: tuple[str, ...],
    endpoint: str | None,
    call_id: str | None,
    limit: int,
    show_urls: bool,
    as_json: bool,
) -> None:
    """
    List deliveries, the oldest first, with their attempts and when they are due.

    \b
    Examples:
      gateway deliveries list
      gateway deliveries list --state dead --state dropped --limit 1000
      gateway deliveries list --call call_0123 --json
    """
    from gateway.deliveries import Query, opened
    from gateway.outbox.database import DeliveryState

    query = Query(tuple(DeliveryState(each) for each in states), endpoint, call_id, limit, as_json)
    with opened(_load(config_file, assignments, data_dir=data_dir), show_urls=show_urls) as desk:
        sys.exit(desk.list_deliveries(query))


@deliveries.command("show")
@click.argument("event_id", metavar="ID")
@_deliveries_options
@click.option("--body", "with_body", is_flag=True, help="Also what is sent: it holds what was said.")
@_SHOW_URLS
@_AS_JSON
def deliveries_show(
    event_id: str,
    config_file: Path | None,
    assignments: tuple[str, ...],
    data_dir: Path | None,
    with_body: bool,
    show_urls: bool,
    as_json: bool,
) -> None:
    """
    Show an event (its id is the webhook-id) and what became of it at each receiver.

    \b
    Examples:
      gateway deliveries show evt_0123
      gateway deliveries show evt_0123 --body
    """
    from gateway.deliveries import opened

    with opened(_load(config_file, assignments, data_dir=data_dir), show_urls=show_urls) as desk:
        sys.exit(desk.show_event(event_id, with_body=with_body, as_json=as_json))


@deliveries.command("retry")
@click.argument("event_ids", metavar="[ID]…", nargs=-1)
@_deliveries_options
@click.option("--all-dead", is_flag=True, help="Everything that was given up.")
@_ENDPOINT
def deliveries_retry(
    event_ids: tuple[str, ...],
    config_file: Path | None,
    assignments: tuple[str, ...],
    data_dir: Path | None,
    all_dead: bool,
    endpoint: str | None,
) -> None:
    """
    Send events again, with the same webhook-id and body: dead and dropped ones, and pending ones without waiting.

    A call's events still go out one at a time; one that was given up goes before those that wait.

    \b
    Examples:
      gateway deliveries retry evt_0123
      gateway deliveries retry --all-dead
      gateway deliveries retry --all-dead --endpoint https://example.com
    """
    from gateway.deliveries import opened

    if bool(event_ids) == all_dead:
        raise click.UsageError("give either IDs or --all-dead")
    with opened(_load(config_file, assignments, data_dir=data_dir)) as desk:
        sys.exit(desk.retry_all_dead(endpoint) if all_dead else desk.retry(event_ids, endpoint))


@deliveries.command("drop")
@click.argument("event_ids", metavar="ID…", nargs=-1, required=True)
@_deliveries_options
@_ENDPOINT
def deliveries_drop(
    event_ids: tuple[str, ...],
    config_file: Path | None,
    assignments: tuple[str, ...],
    data_dir: Path | None,
    endpoint: str | None,
) -> None:
    """
    Give events up, pending or dead; the next event of the call follows. An attempt under way is not stopped.

    \b
    Examples:
      gateway deliveries drop evt_0123
      gateway deliveries drop evt_0123 evt_4567 --endpoint https://example.com
    """
    from gateway.deliveries import opened

    with opened(_load(config_file, assignments, data_dir=data_dir)) as desk:
        sys.exit(desk.drop(event_ids, endpoint))


@deliveries.command("enable")
@click.argument("endpoint", metavar="ENDPOINT")
@_deliveries_options
def deliveries_enable(
    endpoint: str, config_file: Path | None, assignments: tuple[str, ...], data_dir: Path | None
) -> None:
    """
    Send to a receiver again that answered 410. What waited for it goes out in order.

    \b
    Examples:
      gateway deliveries enable https://example.com
    """
    from gateway.deliveries import opened

    with opened(_load(config_file, assignments, data_dir=data_dir)) as desk:
        sys.exit(desk.enable(endpoint))


@cli.command("config")
@_settings_options
@click.option("--check", is_flag=True, help="Only validate: exit code 2 and every fault if something is wrong.")
@click.option("--table", is_flag=True, help="Print every setting, its default and its meaning, as a Markdown table.")
def show_config(config_file: Path | None, assignments: tuple[str, ...], check: bool, table: bool) -> None:
    """
    Print the effective settings as JSON, secrets masked.

    \b
    Examples:
      gateway config --check --config gateway.toml
      gateway config --set stt.default=pulse
      gateway config --table
    """
    from gateway import config_sources

    if table:
        click.echo(config_sources.table())
        return
    settings = _load(config_file, assignments)
    if check:
        if settings.tls.certificate is not None:
            from gateway.tls import ServerCertificate

            ServerCertificate(settings.tls)
        if settings.assist.rules_file is not None:
            from gateway.assist.rules_file import RulesFile

            RulesFile(settings.assist.rules_file)
        click.echo("the settings are valid")
    else:
        click.echo(json.dumps(config_sources.effective(settings), indent=2))


@cli.command()
@_settings_options
@click.option(
    "--twilio-error", type=int, metavar="NUMBER", help="Only explain this error of Twilio's debugger, e.g. 31920."
)
def doctor(config_file: Path | None, assignments: tuple[str, ...], twilio_error: int | None) -> None:
    """
    Check everything a call needs, from outside in, and say what to mend.

    Settings, data folder, speech engine with its key, webhook receiver, and, with public_url set and the gateway
    running, name, TLS, health and the media stream's upgrade with a right and a wrong signature. Exit code 1 if a
    check fails.

    \b
    Examples:
      gateway doctor --config gateway.toml
      gateway doctor --twilio-error 31920
    """
    from gateway import doctor as checks
    from gateway import telemetry

    if twilio_error is not None:
        click.echo(checks.explain(twilio_error))
        return
    settings = _load(config_file, assignments)
    telemetry.configure_logging("error", "console")
    _run(checks.run(settings))


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadOptionUsage(option, f"{option} wants NAME=VALUE, not {text!r}")
        pairs[name] = value
    return pairs
