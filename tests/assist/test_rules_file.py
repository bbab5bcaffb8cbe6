"""The file of rules while the gateway runs: what is new is used, what is broken is reported and changes nothing."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway import telemetry
from gateway.assist.rules_file import RulesFile
from gateway.errors import ConfigError
from tests.support.whole_gateway import DEADLINE_S, run

HELLO = '[[rule]]\nname = "hello"\nphrase = "hello"\n'
BROKEN = '[[rule]]\nname = "broken"\nphrase = "..."\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "rules.toml"
    file.write_text(HELLO)
    return file


def write(path: Path, text: str) -> None:
    path.write_text(text)


def remove(path: Path) -> None:
    path.unlink()


def close_to_others(path: Path) -> None:
    path.chmod(0o600)


def names(rules: RulesFile) -> list[str]:
    return [rule.name for rule in rules.book.rules]


async def test_rules_that_changed_are_used(path: Path) -> None:
    rules = RulesFile(path)
    write(path, HELLO + HELLO.replace("hello", "good-bye"))
    with capture_logs() as logs:
        await rules.refresh()
    assert names(rules) == ["hello", "good-bye"]
    assert [(line["event"], line["rules"]) for line in logs] == [("cue_rules_read", 2)]
    assert telemetry.REGISTRY.get_sample_value("gateway_cue_rules") == 2


async def test_a_broken_file_is_reported_once_and_the_old_rules_stay(path: Path) -> None:
    rules = RulesFile(path)
    write(path, BROKEN)
    with capture_logs() as logs:
        await rules.refresh()
        await rules.refresh()
    assert names(rules) == ["hello"]
    assert [line["event"] for line in logs] == ["cue_rules_unusable"]
    assert telemetry.REGISTRY.get_sample_value("gateway_cue_rules_faulty") == 1


async def test_a_file_that_is_mended_is_used_again(path: Path) -> None:
    rules = RulesFile(path)
    remove(path)
    await rules.refresh()
    write(path, HELLO.replace("hello", "again"))
    await rules.refresh()
    assert names(rules) == ["again"]
    assert telemetry.REGISTRY.get_sample_value("gateway_cue_rules_faulty") == 0


async def test_a_file_as_it_was_is_not_read_again(path: Path) -> None:
    rules = RulesFile(path)
    book = rules.book
    await rules.refresh()
    assert rules.book is book


async def test_a_file_whose_rights_changed_is_read_again(path: Path) -> None:
    rules = RulesFile(path)
    book = rules.book
    close_to_others(path)
    await rules.refresh()
    assert rules.book is not book


async def test_it_looks_by_itself(path: Path) -> None:
    rules = RulesFile(path, look_s=0.001)
    write(path, HELLO.replace("hello", "another"))
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(rules.run())
        while names(rules) != ["another"]:
            await asyncio.to_thread(path.stat)  # lets it look
        running.cancel()


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "No such file"), (b"\xff", "not TOML"), (BROKEN.encode(), "rule 1 (broken): phrase: '...' has no word")],
)
def test_the_start_is_refused_with_a_file_that_cannot_be_used(path: Path, content: bytes | None, fault: str) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        RulesFile(path)
    (found,) = caught.value.faults
    assert found.startswith(f"assist.rules_file: {path}: {fault}")


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("config", "--check")], ids=" ".join)
async def test_commands_name_every_fault_of_the_rules(command: tuple[str, ...], path: Path) -> None:
    write(path, BROKEN + "cooldown_s = -1\n")
    folder = os.fspath(path.parent / "data")
    code, _, errors = await run(*command, GATEWAY_ASSIST__RULES_FILE=os.fspath(path), GATEWAY_DATA_DIR=folder)
    assert code == 2
    assert [line.partition("rule 1 (broken): ")[2] for line in errors.splitlines()] == [
        "phrase: '...' has no word",
        "cooldown_s: Input should be greater than or equal to 0",
    ]
