"""The documentation names what there is."""

import re
from pathlib import Path

from gateway import telemetry

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def logged_events() -> set[str]:
    call = re.compile(r"\b(?:_?log\.(?:debug|info|warning|error|exception)|level)\(\s*\"([a-z_]+)\"")
    return {name for path in (ROOT / "gateway").rglob("*.py") for name in call.findall(path.read_text())}


def test_every_log_line_is_documented_and_no_other() -> None:
    rows = re.search(r"## Log lines(.*?)## Metrics", OPERATIONS, re.DOTALL)
    assert rows is not None
    assert set(re.findall(r"^\| `([a-z_]+)`", rows[1], re.MULTILINE)) == logged_events()


def test_every_metric_is_documented_and_no_other() -> None:
    ours = [metric for metric in telemetry.REGISTRY.collect() if not metric.name.startswith("process_")]
    declared = {metric.name + ("_total" if metric.type == "counter" else "") for metric in ours}
    assert set(re.findall(r"^\| `(gateway_[a-z_]+)`", OPERATIONS.split("## Metrics")[1], re.MULTILINE)) == declared


def test_the_readme_names_every_command() -> None:
    from gateway.cli import cli

    readme = (ROOT / "README.md").read_text()
    assert [name for name in cli.commands if f"| `gateway {name}" not in readme] == []
