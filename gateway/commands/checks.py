"""Whether all is as it should be: `gateway config` and `gateway doctor`."""

import json
from pathlib import Path

import click

from gateway.commands.running import load, run, settings_options


@click.command()
@settings_options
@click.option("--check", is_flag=True, help="Only validate: exit code 2 and every fault if something is wrong.")
@click.option("--table", is_flag=True, help="Print every setting, its default and its meaning, as a Markdown table.")
def config(config_file: Path | None, assignments: tuple[str, ...], check: bool, table: bool) -> None:
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
    settings = load(config_file, assignments)
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


@click.command()
@settings_options
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
    settings = load(config_file, assignments)
    telemetry.configure_logging("error", "console")
    run(checks.run(settings))
