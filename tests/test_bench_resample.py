"""The benchmark of resamplers: what it measures is so, on signals whose truth is known."""

import numpy as np
import pytest
from click.testing import CliRunner

from tests.bench.resample import (
    AMPLITUDE,
    PROGRAMS,
    Ours,
    Poly,
    Samples,
    command,
    cost_rows,
    costs_us,
    fit,
    lags_ms,
    play,
    quality,
    tone,
)


class Late:
    """Repeats every sample, half as loud, 10 ms late."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self._held = np.zeros(0, np.int16)
        self._times, self._late = target_hz // source_hz, source_hz // 100

    def process(self, samples: Samples) -> Samples:
        known = np.concatenate([self._held, samples])
        ready = max(0, len(known) - self._late)
        self._held = known[ready:]
        return np.repeat(known[:ready] // 2, self._times)

    def flush(self) -> Samples:
        return np.repeat(self._held // 2, self._times)


def test_a_fit_finds_each_tone_and_what_is_beside_them() -> None:
    noise = np.random.default_rng(2).normal(0, 10, 16000)
    both = tone(1000.0, 8000) * 0.5 + tone(1700.0, 8000) * 0.25 + noise

    (first, second), rest = fit(both.astype(np.int16), 8000, 1000.0, 1700.0)

    assert [first, second] == pytest.approx([0.5, 0.25], rel=1e-3)
    assert rest == pytest.approx(10, rel=0.05)


def test_a_program_that_halves_everything_and_leaves_images_is_seen_to_do_so() -> None:
    found = quality(Late, 8000, 16000)

    assert found.ripple_db > 6.0
    # Repeated samples: the image of a tone at 0.9 of Nyquist is cos(90° · 0.45 …) softer, some 2 dB.
    assert found.rejection_db < 10.0
    assert found.snr_db[1000.0] < 20.0
    assert found.lag_ms == pytest.approx(10.0)
    assert found.seam == 0


def test_chunks_that_each_stand_alone_leave_seams() -> None:
    assert quality(Poly, 8000, 16000).seam > 1000


@pytest.mark.parametrize(("source_hz", "target_hz"), [(8000, 16000), (16000, 8000), (48000, 8000)])
def test_ours_is_as_good_as_the_readme_says(source_hz: int, target_hz: int) -> None:
    found = quality(Ours, source_hz, target_hz)

    assert found.ripple_db < 0.001
    assert min(found.snr_db.values()) > 88
    assert found.rejection_db > 98
    assert found.lag_ms == pytest.approx(4.0, abs=0.2)
    assert found.seam == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_gives_all_of_a_tone(name: str) -> None:
    output = play(PROGRAMS[name](8000, 16000), tone(440.0, 8000), 8000)

    assert len(output) == 32000
    assert np.abs(output).max() == pytest.approx(AMPLITUDE, rel=0.1)


def test_lag_is_told_after_each_chunk() -> None:
    assert list(lags_ms(Ours(8000, 16000), 8000, 16000)) == [pytest.approx(4.0)] * 20


def test_the_dearer_of_two_programs_is_found_dearer() -> None:
    found = costs_us({"dear": lambda: sum(range(20_000)), "cheap": lambda: sum(range(20))}, rounds=3)
    assert found["dear"] > 10 * found["cheap"] > 0


def test_the_table_has_a_row_for_every_ratio_and_chunk() -> None:
    rows = list(cost_rows(rounds=1))
    assert len(rows) == 12
    assert {row.count("|") for row in rows} == {3 + len(PROGRAMS)}


def test_the_command_prints_two_tables() -> None:
    result = CliRunner().invoke(command, ["--rounds", "1"])

    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 12 + 2 + 3 * len(PROGRAMS)
