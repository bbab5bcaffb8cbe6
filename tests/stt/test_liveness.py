"""Whether an open session is alive."""

from gateway.stt.liveness import ANSWER_S, CHECKPOINT_S, Doubt, Liveness, Verdict
from telephony_codecs.formats import AudioFormat

MULAW = AudioFormat.parse("mulaw-8000")
LOUD, QUIET = -20.0, -60.0


class Watched:
    """Audio of a given level, 100 ms at a time; counts how often the level was looked at."""

    def __init__(self, *, can_ask: bool = True, doubt: Doubt | None = None) -> None:
        self.doubt = doubt or Doubt()
        self.level = LOUD
        self.looks = 0
        self.liveness = Liveness(MULAW, patience_s=10.0, can_ask=can_ask, doubt=self.doubt, measure=self._measure)
        self.now = 0.0

    def _measure(self, _audio: bytes) -> float:
        self.looks += 1
        return self.level

    def send(self, seconds: float, level: float = LOUD) -> None:
        self.level = level
        for _ in range(round(seconds * 10)):
            self.liveness.sent(bytes(800), 800)
        self.now += seconds

    def judge(self, *, has_pending: bool = False) -> Verdict:
        return self.liveness.judge(self.now, has_pending=has_pending)


def test_ten_seconds_of_speech_without_a_word_raise_suspicion() -> None:
    watched = Watched()
    watched.send(9.8)
    assert watched.judge() is Verdict.FINE
    watched.send(0.3)
    assert watched.judge() is Verdict.ASK


def test_no_answer_is_death() -> None:
    watched = Watched()
    watched.send(11)
    watched.judge()
    watched.now += ANSWER_S - 0.1
    assert watched.judge() is Verdict.FINE
    watched.now += 0.1
    assert watched.judge() is Verdict.DEAD


def test_any_event_is_an_answer() -> None:
    watched = Watched()
    watched.send(11)
    watched.judge()
    watched.liveness.heard(is_answer=True)
    watched.now += ANSWER_S
    assert watched.judge() is Verdict.FINE


def test_silence_raises_none() -> None:
    watched = Watched()
    watched.send(59, QUIET)
    assert watched.judge() is Verdict.FINE


def test_each_suspicion_that_ends_in_silence_takes_twice_as_much_to_be_raised_again() -> None:
    doubt = Doubt()
    needed_s = []
    for _ in range(4):
        watched = Watched(doubt=doubt)
        while watched.judge(has_pending=True) is Verdict.FINE:
            watched.send(0.5)
        needed_s.append(watched.now - 5.0)
    assert needed_s == [5.0, 10.0, 20.0, 40.0]


def test_words_end_the_doubt() -> None:
    doubt = Doubt()
    first = Watched(doubt=doubt)
    first.send(11)
    first.judge()
    first.liveness.heard(is_answer=False)
    assert doubt.doublings == 0


def test_where_nobody_can_be_asked_silence_alone_is_death() -> None:
    watched = Watched(can_ask=False)
    watched.send(11)
    assert watched.judge() is Verdict.DEAD
    assert watched.doubt.doublings == 1


def test_a_long_silent_line_is_asked_now_and_then_so_that_its_audio_can_be_let_go() -> None:
    watched = Watched()
    watched.send(CHECKPOINT_S, QUIET)
    assert watched.judge() is Verdict.ASK
    watched.now += ANSWER_S
    assert watched.judge() is Verdict.FINE  # some vendors do not answer when there is nothing to say


def test_nobody_is_asked_in_mid_utterance_without_suspicion() -> None:
    watched = Watched()
    watched.send(CHECKPOINT_S, QUIET)
    assert watched.judge(has_pending=True) is Verdict.FINE


def test_the_level_of_a_session_that_talks_is_never_looked_at() -> None:
    watched = Watched()
    for _ in range(20):
        watched.send(4)
        watched.liveness.heard(is_answer=False)
    assert watched.looks == 0
