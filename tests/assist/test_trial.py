"""`gateway cues`: what rules make of a transcript."""

import json
import os
from pathlib import Path

import pytest

from gateway.assist.trial import try_rules
from gateway.errors import ConfigError
from gateway.transcript.export import Passage, to_json
from tests.support.whole_gateway import run

RULES = """
[[rule]]
name = "refund"
phrase = "a refund"
note = "Careful."
[[rule]]
name = "notice"
phrase = "be recorded"
track = "outbound"
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)


def tried(rules: Path, text: str) -> list[dict[str, object]]:
    file = rules.parent / "said"
    file.write_text(text)
    return [json.loads(line) for line in try_rules(rules, [file], as_json=True)]


def test_json_of_a_transcript_has_its_times_and_tracks(rules: Path) -> None:
    passages = [
        Passage(speaker="agent", text="It may be recorded.", start_s=1, end_s=2),
        Passage(speaker="caller", text="I want", start_s=3, end_s=4),
        Passage(speaker=None, text="a refund", start_s=4, end_s=5),
    ]
    assert tried(rules, to_json(passages, language="en")) == [
        {
            "file": str(rules.parent / "said"),
            "track": "outbound",
            "cue": "notice",
            "text": "be recorded",
            "note": None,
            "start_s": 1.0,
            "end_s": 2.0,
        },
        {
            "file": str(rules.parent / "said"),
            "track": "inbound",
            "cue": "refund",
            "text": "a refund",
            "note": "Careful.",
            "start_s": 4.0,
            "end_s": 5.0,
        },
    ]


def test_lines_of_text_may_name_their_speaker(rules: Path) -> None:
    found = tried(rules, "Agent: It may be recorded.\ncaller: be recorded?\n\nA refund: now\n")
    assert [(cue["cue"], cue["track"]) for cue in found] == [("notice", "outbound"), ("refund", "inbound")]
    assert [cue["start_s"] for cue in found] == [0.667, 2.0]


@pytest.mark.parametrize("text", ['{"passages": 3}', "{", '{"passages": [{"text": "a"}]}'])
def test_json_that_is_no_transcript_is_refused(rules: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="not a transcript"):
        tried(rules, text)


def test_a_file_that_is_no_text_is_refused(rules: Path) -> None:
    file = rules.parent / "sound"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a transcript"):
        list(try_rules(rules, [file], as_json=False))


async def test_the_command_prints_cues_for_people(rules: Path) -> None:
    file = rules.parent / "said.txt"
    write(file, "I want a refund, please.")
    code, output, errors = await run("cues", os.fspath(rules), os.fspath(file))
    assert (code, errors) == (0, "")
    assert output == "    0.67 s  inbound   refund, “a refund”: Careful.\n"


async def test_the_command_checks_rules_alone(rules: Path) -> None:
    assert await run("cues", os.fspath(rules)) == (0, "2 rules are valid\n", "")
    write(rules, "[[rule]]\n")
    code, output, errors = await run("cues", os.fspath(rules))
    assert (code, output) == (2, "")
    assert "rule 1: name: Field required" in errors
