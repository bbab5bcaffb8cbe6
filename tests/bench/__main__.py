"""
The project's own benchmark.

    python -m tests.bench [calls] …     what calls cost; the default
    python -m tests.bench resample …    the resampler beside others
    python -m tests.bench engine …      the embedded recogniser: how many sessions, and what happens past that
"""

import importlib

import click

COMMANDS = ("calls", "resample", "engine")
"""Modules of this folder, each with a click command called `command`."""


class Benchmarks(click.Group):
    """Loads a command's module when it is used; without a command's name, arguments are those of the first."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"tests.bench.{name}").command
        return command

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = [COMMANDS[0], *args]
        return super().parse_args(context, args)


@click.group(cls=Benchmarks, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Measure the gateway. Without a command: `calls`."""


if __name__ == "__main__":
    main(prog_name="scripts/bench")
