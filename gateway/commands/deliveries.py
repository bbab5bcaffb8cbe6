"""`gateway deliveries`: what receivers have not taken."""

import sys
from pathlib import Path
from typing import Any

import click

from gateway.commands.running import load, settings_options


@click.group()
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
    return settings_options(click.option("--data-dir", type=folder, help="Folder of the store.")(command))


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

    with opened(load(config_file, assignments, data_dir=data_dir), show_urls=show_urls) as desk:
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
    with opened(load(config_file, assignments, data_dir=data_dir), show_urls=show_urls) as desk:
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

    with opened(load(config_file, assignments, data_dir=data_dir), show_urls=show_urls) as desk:
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
    with opened(load(config_file, assignments, data_dir=data_dir)) as desk:
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

    with opened(load(config_file, assignments, data_dir=data_dir)) as desk:
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

    with opened(load(config_file, assignments, data_dir=data_dir)) as desk:
        sys.exit(desk.enable(endpoint))
