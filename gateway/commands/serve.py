"""`gateway serve`."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.commands.running import INTERRUPTED, lasting_objects, load, run, settings_options

if TYPE_CHECKING:
    from gateway.config import Settings


@click.command()
@settings_options
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
    with lasting_objects():
        settings = load(config_file, assignments, **flags)
        from gateway import server  # noqa: F401 - nearly all that `_serve` needs
    run(_serve(settings))


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
