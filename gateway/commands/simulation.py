"""A gateway's neighbours, simulated: `gateway call`, `gateway listen`, and both around a gateway, `gateway demo`."""

import sys
from pathlib import Path
from typing import Any

import click

from gateway.commands.running import NOT_GOOD, NOT_THERE, run
from gateway.errors import GatewayError


@click.command()
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
    run(_place(placed, count))


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


@click.command()
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
    run(_listen(listener, host, port, calls))


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


@click.command()
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
    from gateway import demo as demonstration

    run(demonstration.run(speed=speed, keep=keep))


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadOptionUsage(option, f"{option} wants NAME=VALUE, not {text!r}")
        pairs[name] = value
    return pairs
