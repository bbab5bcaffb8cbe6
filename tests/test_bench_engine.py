"""The benchmark of the embedded recogniser, with engines that are fast or stand still."""

import signal
from collections import Counter

import pytest
from click.testing import CliRunner

from gateway.config import EngineSettings
from gateway.engines.base import Engine
from gateway.events import Final, Finished, RecognizerEvent, RecognizerRequest, Word
from tests.bench import engine as bench
from tests.bench.engine import HEAD, Row, command, measure, shown

PROMPT = "tests.test_bench_engine:PromptEngines"
DEAF = "tests.test_bench_engine:DeafEngines"


class PromptEngine:
    """Makes a word final each second, at once."""

    def __init__(self) -> None:
        self._heard_bytes = 0

    def accept(self, audio: bytes) -> list[RecognizerEvent]:
        before_s = self._heard_bytes // 8000
        self._heard_bytes += len(audio)
        end_s = self._heard_bytes // 8000
        if end_s == before_s:
            return []
        word = Word(word="so", start_s=end_s - 0.5, end_s=float(end_s), confidence=None)
        return [Final(text="so", start_s=word.start_s, end_s=word.end_s, words=(word,))]

    def finalize(self) -> list[RecognizerEvent]:
        return []

    def end(self) -> list[RecognizerEvent]:
        return [Finished()]


class PromptEngines:
    """Makes them."""

    def __init__(self, pause_ms: int) -> None:
        self.pause_ms = pause_ms

    def open(self, request: RecognizerRequest) -> PromptEngine:
        return PromptEngine()

    def close(self, engine: Engine) -> None:
        """Nothing is kept."""


class DeafEngine(PromptEngine):
    """Stands still with its first audio, as a machine does that has no time for it, until the pool is closed."""

    def accept(self, audio: bytes) -> list[RecognizerEvent]:
        signal.pause()  # nothing signals it but its end
        return []


class DeafEngines(PromptEngines):
    """Makes them."""

    def open(self, request: RecognizerRequest) -> PromptEngine:
        return DeafEngine()


def row(**changed: float) -> Row:
    """Of a run in which all went well."""
    usual = {"cpu": 0.5, "cpu_per_audio_s": 0.12, "memory_mb": 300.0, "backlog_s": 0.2, "behind_s": 0.1}
    return Row(sessions=4, heard=4, final_p50_s=0.8, final_p99_s=None, codes=Counter(), **(usual | changed))


async def test_sessions_that_are_heard_at_once_are_not_behind() -> None:
    found = await measure(3, 2.5, EngineSettings(workers=1), engine=PROMPT)

    assert (found.sessions, found.heard, found.codes) == (3, 3, Counter())
    assert found.keeps_up
    assert found.final_p50_s is not None
    assert 0.0 <= found.final_p50_s < 1.0
    assert found.memory_mb > 1


async def test_sessions_without_a_slot_are_told_by_the_code_they_got() -> None:
    found = await measure(5, 0.5, EngineSettings(workers=1, sessions_per_worker=3), engine=PROMPT)

    assert (found.heard, found.codes) == (3, Counter(engine_busy=2))


async def test_an_engine_that_does_not_hear_is_behind_by_all_there_was() -> None:
    found = await measure(1, 2.5, EngineSettings(workers=1), engine=DEAF)

    assert found.behind_s == pytest.approx(2.5, abs=0.5)
    assert not found.keeps_up
    assert found.final_p50_s is None


def test_a_row_has_a_cell_for_each_heading() -> None:
    assert shown(row()).count("|") == HEAD.splitlines()[0].count("|")
    assert "0.80 s / -" in shown(row())


def test_the_command_ends_with_the_first_number_that_falls_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    async def measured(sessions: int, _seconds: float, settings: EngineSettings) -> Row:
        asked.append(sessions)
        assert settings.sessions_per_worker == sessions
        return row(behind_s=5.0 if sessions >= 2 else 0.0)

    monkeypatch.setattr(bench, "measure", measured)
    result = CliRunner().invoke(command, ["--sessions", "1", "--sessions", "2", "--sessions", "3"])

    assert result.exit_code == 0
    assert asked == [1, 2]
