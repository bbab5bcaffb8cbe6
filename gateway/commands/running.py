"""What commands share: their options for settings, their exit codes, and how they run."""

import gc
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from gateway.config import Settings

NOT_GOOD = 1
WRONG_SETTINGS = 2
NOT_THERE = 3
INTERRUPTED = 130

# How long a thread asks politely for the interpreter, for example the one that writes to the disk. Each system call of
# a busy loop lets go for an instant, too short for a thread to wake, and starts its patience anew: with CPython's 5 ms
# a single statement waited up to 0.36 s, with this 0.02 s, and the loop got as much done.
_SWITCH_S = 0.0002


def settings_options(command: Any) -> Any:
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


def load(config_file: Path | None, assignments: tuple[str, ...], **flags: object) -> "Settings":
    """The settings that a command's options name; see `config_sources.load` for what it raises."""
    from gateway import config_sources

    return config_sources.load(config_file, flags=config_sources.merge(config_sources.assigned(assignments), flags))


def run(main: Coroutine[Any, Any, int | None]) -> None:
    """Run to the end on the fastest loop there is; exits with what it returns."""
    sys.setswitchinterval(_SWITCH_S)
    if sys.platform == "win32":  # uvloop is not made for it
        import asyncio

        sys.exit(asyncio.run(main) or 0)
    import uvloop

    sys.exit(uvloop.run(main) or 0)


@contextmanager
def lasting_objects() -> Iterator[None]:
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
