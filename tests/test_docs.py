"""The documentation names what there is, and what it shows works."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from gateway import telemetry
from gateway.server import serving
from tests.support.pulse_server import PulseServer
from tests.support.whole_gateway import DEADLINE_S, clean_environment, heard_by, phone, settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
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

    assert [name for name in cli.commands if f"| `gateway {name}" not in README] == []


def headings(page: Path) -> set[str]:
    """As links name them: lower case, hyphens for spaces, letters and digits only."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    dead: list[str] = []
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
        name, _, heading = link.partition("#")
        target = (page.parent / name) if name else page
        if not target.exists() or (heading and heading not in headings(target)):
            dead.append(link)
    assert dead == []


def test_the_readme_has_a_place_for_every_module_and_room() -> None:
    places = re.search(r"^\| place \| what \|$(.*?)^$", README, re.DOTALL | re.MULTILINE)
    assert places is not None
    named = {name.removeprefix("gateway/") for name in re.findall(r"`([a-z_/]+(?:\.py|/))`", places[1])}
    there = {path.name for path in (ROOT / "gateway").glob("*.py") if not path.name.startswith("__")}
    there |= {f"{path.parent.name}/" for path in (ROOT / "gateway").glob("*/__init__.py")}
    assert named - {"codecs/telephony_codecs/", "console/"} == there


async def test_the_readmes_reader_of_the_feed_prints_finals(tmp_path: Path) -> None:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "/api/feed" in block)
    async with PulseServer() as vendor, serving(settings(tmp_path, stt=heard_by(vendor), api_token="mine")) as served:
        reader = await asyncio.create_subprocess_exec(
            sys.executable,
            "-u",
            "-c",
            code.replace("http://127.0.0.1:8080", served.url),
            env=clean_environment({"GATEWAY_API_TOKEN": "mine"}),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert reader.stdout is not None
            async with asyncio.timeout(DEADLINE_S):
                while telemetry.REGISTRY.get_sample_value("gateway_feed_viewers") != 1:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0)
                async with phone(served.stream_url) as caller:
                    await caller.start()
                    await caller.media(100)
                    await caller.stop()
                    await caller.closed()
                assert (await reader.stdout.readline()).strip() == b"second 1"
        finally:
            reader.kill()
            await reader.wait()
