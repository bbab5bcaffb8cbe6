"""Logs hide what is personal, and exceptions tell their kind and place only."""

import json
import logging

import pytest
import structlog

from gateway import telemetry


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    line: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return line


def test_personal_values_are_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("info", "json")
    structlog.get_logger().info("call_started", pii_from="+15550100", call_id="call_1")
    assert logged(capsys)["pii_from"] == "[hidden]"


def test_personal_values_show_when_the_operator_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("info", "json", pii=True)
    structlog.get_logger().info("call_started", pii_from="+15550100")
    assert logged(capsys)["pii_from"] == "+15550100"


def test_an_exception_is_logged_by_kind_and_place_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("info", "json")
    speech = "my card number is"
    try:
        raise ExceptionGroup(speech, [ValueError(speech), KeyError(speech)])
    except ExceptionGroup:
        structlog.get_logger().exception("call_failed")
    line = logged(capsys)
    assert line["raised"] == ["ValueError", "KeyError"]
    assert speech not in json.dumps(line)


def test_an_exception_on_a_terminal_is_a_line_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("info", "console")
    try:
        raise ValueError("my card number is")
    except ValueError:
        structlog.get_logger().exception("call_failed")
    written = capsys.readouterr().out
    assert "call_failed" in written
    assert "ValueError" in written
    assert "card number" not in written


def test_the_metrics_page_is_prometheus_text() -> None:
    telemetry.CALLS.labels("twilio", "completed").inc()
    assert b'gateway_calls_total{dialect="twilio",outcome="completed"}' in telemetry.metrics_page()


def test_what_a_library_says_is_one_line_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("info", "json")
    speech = "my card number is"
    try:
        raise ValueError(speech)
    except ValueError:
        logging.getLogger("some.library").exception("it failed at %s", speech)
    line = logged(capsys)
    assert (line["event"], line["level"], line["library"]) == ("library_warned", "error", "some.library")
    assert (line["raised"], line["pii_text"]) == (["ValueError"], "[hidden]")
    assert speech not in json.dumps(line)
    assert capsys.readouterr().err == ""


def test_set_up_twice_a_library_is_still_heard_once(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("info", "json")
    telemetry.configure_logging("info", "json")
    logging.getLogger("some.library").warning("hello")
    assert len(capsys.readouterr().out.splitlines()) == 1
