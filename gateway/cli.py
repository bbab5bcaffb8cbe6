"""
The command line: `gateway.commands` put together, and the exit codes of what goes wrong.

Exit codes, for scripts: 0 done; 1 it ran, and the result is not good (a final is missing, a check failed); 2 the
command line or the settings are wrong; 3 somebody else is not there (port taken, gateway not reached, data folder
unusable); 130 interrupted.
"""

import sys
from typing import Any, NoReturn

import click

from gateway.commands import checks, deliveries, recordings, serve, simulation
from gateway.commands.running import INTERRUPTED, NOT_THERE, WRONG_SETTINGS
from gateway.errors import ConfigError, GatewayError


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


for _command in (
    serve.serve,
    simulation.call,
    simulation.listen,
    simulation.demo,
    recordings.evaluate,
    recordings.transcribe,
    recordings.cues,
    deliveries.deliveries,
    checks.config,
    checks.doctor,
):
    cli.add_command(_command)
