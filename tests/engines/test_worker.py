"""The worker's turns, without a process; and the process's end."""

import subprocess
import sys

from gateway.engines import wire
from gateway.engines.worker import SLICE_MS, Worker
from gateway.events import Final, Finished, RecognizerRequest
from telephony_codecs.formats import AudioFormat
from tests.support.engines import REFUSED_RATE_HZ, CountingEngines

FORMAT = AudioFormat.parse("linear16-8000")
SLICE_BYTES = 8 * SLICE_MS * 2


class Bench:
    """A worker with its replies in a list."""

    def __init__(self) -> None:
        self.replies: list[wire.Reply] = []
        self.worker = Worker(CountingEngines(600), self.replies.append)

    def open(self, *sessions: int, form: AudioFormat = FORMAT) -> None:
        for session in sessions:
            self.worker.take(wire.Open(session, RecognizerRequest(format=form)))

    def work(self) -> list[wire.Reply]:
        """Everything there is to do; what was replied since the last time."""
        while not self.worker.is_idle:
            self.worker.work()
        replies = self.replies[:]
        self.replies.clear()
        return replies


def test_opening_is_answered() -> None:
    bench = Bench()
    bench.open(1)
    assert bench.work() == [wire.Opened(1)]


def test_a_format_that_the_engine_cannot_hear_is_refused() -> None:
    bench = Bench()
    bench.open(1, form=AudioFormat(FORMAT.encoding, REFUSED_RATE_HZ))
    assert bench.work() == [wire.Failed(1, "ValueError", refused=True)]


def test_a_burst_of_one_session_delays_another_by_one_slice() -> None:
    bench = Bench()
    bench.open(1, 2)
    bench.worker.take(wire.Audio(1, bytes(50 * SLICE_BYTES)))
    bench.worker.take(wire.Audio(2, bytes(SLICE_BYTES)))
    turns = [reply.session for reply in bench.work() if isinstance(reply, wire.Said)]
    assert turns[:3] == [1, 2, 1]


def test_slices_add_up_to_what_was_sent() -> None:
    bench = Bench()
    bench.open(1)
    bench.worker.take(wire.Audio(1, bytes(2 * SLICE_BYTES + 1)))
    heard = [reply.heard_bytes for reply in bench.work() if isinstance(reply, wire.Said)]
    assert heard == [SLICE_BYTES, SLICE_BYTES, 1]


def test_requests_of_a_session_keep_their_order() -> None:
    bench = Bench()
    bench.open(1)
    for request in (wire.Audio(1, bytes(3 * SLICE_BYTES)), wire.Finalize(1), wire.Audio(1, b"12"), wire.End(1)):
        bench.worker.take(request)
    said = [event for reply in bench.work() if isinstance(reply, wire.Said) for event in reply.events()]
    finals = [event for event in said if isinstance(event, Final | Finished)]
    total = 3 * SLICE_BYTES
    assert finals == [Final(text=str(total), from_finalize=True), Final(text=str(total + 2)), Finished()]


def test_an_error_of_an_engine_ends_its_session_alone() -> None:
    bench = Bench()
    bench.open(1, 2)
    bench.work()
    bench.worker.take(wire.Audio(1, b"raise"))
    bench.worker.take(wire.Finalize(1))
    bench.worker.take(wire.Finalize(2))
    replies = bench.work()
    assert replies[0] == wire.Failed(1, "RuntimeError", refused=False)
    assert [reply.session for reply in replies[1:]] == [2]


def test_a_closed_session_says_nothing_more() -> None:
    bench = Bench()
    bench.open(1)
    bench.work()
    bench.worker.take(wire.Audio(1, bytes(5 * SLICE_BYTES)))
    bench.worker.take(wire.Close(1))
    bench.worker.take(wire.End(1))
    assert bench.work() == []


def test_the_process_ends_when_its_input_does() -> None:
    command = [sys.executable, "-m", "gateway.engines.worker"]
    arguments = ["--engine", "tests.support.engines:CountingEngines", "--pause-ms", "600"]
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [*command, *arguments], input=b"", capture_output=True, timeout=30, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")
