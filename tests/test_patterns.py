"""Expressions of operators: any script, in linear time, or a reason why not; and what works without their engine."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.assist.rules import parse
from gateway.config import RedactionSettings
from gateway.errors import ConfigError
from gateway.patterns import LONGEST, Pattern
from tests.support.whole_gateway import run

MISSING = "needs the package google-re2, which is not installed"
RULES = '[[rule]]\nname = "one"\npattern = "a+"\n[[rule]]\nname = "two"\npattern = "b+"\n'


def found(expression: str, text: str, *, whole_words: bool) -> str | None:
    span = next(Pattern(expression, whole_words=whole_words).spans(text), None)
    return None if span is None else text[slice(*span)]


@pytest.mark.parametrize(
    ("expression", "text", "match"),
    [
        ("refund", "a Refund, please", "Refund"),
        ("refund", "refunded", None),
        ("refund", "the prerefund", None),
        (r"refund\w*", "refunded today", "refunded"),
        ("über", "ich bin ÜBER", "ÜBER"),
        ("ber", "ich bin über", None),
        (r"\w+heit", "die Schönheit", "Schönheit"),
        (r"[\w-]+heit", "die Wohl-Schönheit", "Wohl-Schönheit"),
        (r"a\W+b", "a, b", "a, b"),
        (r"£\d+", "it costs £50.", "£50"),
        ("a|b", "c b", "b"),
        ("[]a]+x", "]ax", "]ax"),
        ("[^a]x", "a bx", "bx"),
        ("[[:digit:]]+ [[:alpha:]]+", "for 20 pounds", "20 pounds"),
        (r"(\w)(\w)", "no", "no"),
        ("退款", "我要退款了", "退款"),
        (r"\$5", "for $5", "$5"),
        ("[$^]5", "for $5", "$5"),
    ],
)
def test_whole_words_of_any_script_are_matched(expression: str, text: str, match: str | None) -> None:
    assert found(expression, text, whole_words=True) == match


@pytest.mark.parametrize(
    ("expression", "text", "match"),
    [
        ("fund", "a Refunded order", "fund"),
        (r"kunde \w+", "der Kunde Müller sagt", "Kunde Müller"),
        (r"^ord\S+$", "ord-12", "ord-12"),
        (r"\bord\b", "an ord is", "ord"),
    ],
)
def test_else_any_piece_of_the_text_is(expression: str, text: str, match: str | None) -> None:
    assert found(expression, text, whole_words=False) == match


def test_the_next_match_may_begin_where_the_last_one_ended() -> None:
    pattern = Pattern("ha", whole_words=True)
    assert list(pattern.spans("ha ha")) == [(0, 2), (3, 5)]
    assert list(pattern.spans("ha ha", 2)) == [(3, 5)]


def test_what_is_empty_is_no_match_and_no_end() -> None:
    assert list(Pattern(r"\b").spans("a b")) == []


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(a", "is not a pattern: missing )"),
        ("a)(b", "unexpected )"),
        ("a(?=b)", "invalid perl operator"),
        (r"(a)\1", "invalid escape"),
        (r"\Qa\E", "not supported"),
        (r"\C", "not supported"),
        (r"[\W]", "no place"),
        ("a*", "when nothing is said"),
        ("a" * (LONGEST + 1), "longer than 1000 characters"),
        (r"(?:(?:\w{100}){100})", "not a pattern"),
        ("\\", "trailing"),
    ],
)
@pytest.mark.parametrize("whole_words", [False, True])
def test_what_cannot_be_used_is_refused_with_a_reason(expression: str, reason: str, whole_words: bool) -> None:
    with pytest.raises(ValueError, match=reason.replace(")", r"\)")):
        Pattern(expression, whole_words=whole_words)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [("^a", "cut at pauses"), ("a$", "cut at pauses"), (r"\Aa", "cut at pauses"), (r"a\b", "whole words")],
)
def test_whole_words_need_no_edges(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Pattern(expression, whole_words=True)


def test_no_expression_takes_long() -> None:
    pattern = Pattern(r"(a+)+$|(a|a)*b")
    began = time.process_time()
    assert list(pattern.spans("a" * 50_000 + "!")) == []
    assert len(list(Pattern("[0-9]+").spans("order 123 é " * 8_000))) == 8_000
    assert time.process_time() - began < 2.0


# ── without the engine ──────────────────────────────────────────────────────────────────────────────────────────


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)


@pytest.mark.usefixtures("no_engine")
def test_rules_with_patterns_say_once_which_package_is_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(RULES.encode())
    assert caught.value.faults == [f"pattern: {MISSING}"]


@pytest.mark.usefixtures("no_engine")
def test_expressions_of_redaction_say_which_package_is_missing() -> None:
    with pytest.raises(ValidationError, match=f"order: {MISSING}"):
        RedactionSettings(patterns={"order": "ORD", "case": "CASE"})


@pytest.mark.usefixtures("no_engine")
def test_other_rules_and_other_redaction_need_no_engine() -> None:
    assert parse(b'[[rule]]\nname = "one"\nphrase = "a"\n').rules
    assert RedactionSettings(store=True).kinds


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ({"GATEWAY_REDACTION__PATTERNS": '{"order": "ORD"}'}, f"redaction.patterns: order: {MISSING}"),
        ({"GATEWAY_ASSIST__RULES_FILE": "rules.toml"}, f"assist.rules_file: rules.toml: pattern: {MISSING}"),
        ({"GATEWAY_REDACTION__STORE": "true"}, None),
    ],
    ids=["redaction", "rules", "neither"],
)
async def test_the_check_of_the_settings_names_it_in_one_line(
    setting: dict[str, str], fault: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "re2.py", "raise ImportError")
    write(tmp_path / "rules.toml", RULES)
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    code, _, errors = await run("config", "--check", PYTHONPATH=path, **setting)
    assert (code, len(errors.splitlines())) == ((0, 0) if fault is None else (2, 1))
    assert fault is None or fault in errors


async def test_a_gateway_without_expressions_never_loads_the_engine(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.toml", '[[rule]]\nname = "one"\nphrase = "a"\n')
    program = (
        "import sys, pathlib, gateway.cli, gateway.server, gateway.config, gateway.redaction;"
        "import gateway.assist.rules_file; gateway.redaction.Redaction(gateway.config.RedactionSettings(store=True));"
        "gateway.assist.rules_file.RulesFile(pathlib.Path(sys.argv[1])); print('re2' in sys.modules)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(rules), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output == b"False\n"
