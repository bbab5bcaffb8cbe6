"""The benchmark: its arithmetic, its audio, its frames, and that it notices what is lost."""

import base64
import json
import os
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat
from tests.bench import frames, machine, report
from tests.bench.__main__ import main
from tests.bench.calls import Bench
from tests.bench.figures import Figures, chunk_wait_s, finals_s, loop_block_ms, match, medians, percentile, shown_s
from tests.bench.outcome import Behind, Sent, TrackHeard, TrackSent
from tests.bench.programs import Program, ProgramFailed
from tests.bench.pulses import PULSE_EVERY, SILENT_FRAME, Detector, code_of, pulse_frame
from tests.bench.receiver import HookSocket, Received
from tests.bench.run import PRODUCT, SKETCH, Run, measure
from tests.bench.scenarios import NAMES, QUICK, SCENARIOS, START, Scenario, chosen
from tests.bench.sketch import converter
from tests.bench.starting import Start
from tests.bench.viewers import Shown, ViewerSocket

MULAW, WIDE = AudioFormat.parse("mulaw-8000"), AudioFormat.parse("linear16-16000")
SENT_FRAMES = 4 * PULSE_EVERY + 5


def audio_of(call: int) -> bytes:
    """What a call sends, as mu-law."""
    codes = (code_of(call, number) for number in range(SENT_FRAMES))
    return b"".join(SILENT_FRAME if code is None else pulse_frame(code) for code in codes)


def pulses_of(call: int) -> list[tuple[int, int]]:
    return [(number, code) for number in range(SENT_FRAMES) if (code := code_of(call, number)) is not None]


def heard(detector: Detector) -> list[tuple[int, int]]:
    detector.end()
    return [(each.frame, each.code) for each in detector.found]


# ── Pulses ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("message_bytes", [160, 800, 801, 7, 4000])
@pytest.mark.parametrize("call", [0, 3, 24])
def test_pulses_are_found_in_mulaw_however_it_is_cut(call: int, message_bytes: int) -> None:
    audio, detector = audio_of(call), Detector(MULAW)
    for begin in range(0, len(audio), message_bytes):
        detector.feed(audio[begin : begin + message_bytes], at=0.0)
    assert heard(detector) == pulses_of(call)
    assert detector.heard_frames == SENT_FRAMES


@pytest.mark.parametrize("chunk_frames", [1, 5, 50])
def test_pulses_are_found_after_the_gateways_resampler(chunk_frames: int) -> None:
    audio, detector, convert = audio_of(7), Detector(WIDE), Converter(MULAW, WIDE)
    for begin in range(0, len(audio), chunk_frames * 160):
        detector.feed(convert.convert(audio[begin : begin + chunk_frames * 160]), at=0.0)
    detector.feed(convert.flush(), at=0.0)
    assert heard(detector) == pulses_of(7)
    assert detector.heard_frames == pytest.approx(SENT_FRAMES, abs=0.25)


@pytest.mark.parametrize("audio_form", ["mulaw-8000", "linear16-8000", "linear16-16000"])
def test_pulses_are_found_in_what_the_sketch_sends(audio_form: str) -> None:
    audio, convert, detector = audio_of(4), converter(audio_form), Detector(AudioFormat.parse(audio_form))
    for begin in range(0, len(audio), 800):
        detector.feed(convert(audio[begin : begin + 800]), at=0.0)
    assert heard(detector) == pulses_of(4)


def test_a_pulse_has_the_moment_and_the_end_of_the_message_that_it_came_in() -> None:
    detector = Detector(MULAW)
    detector.feed(SILENT_FRAME * 5, at=1.0)
    detector.feed(SILENT_FRAME + pulse_frame(2) + SILENT_FRAME * 3, at=2.0)
    [found] = detector.found
    assert (found.frame, found.code, found.at, found.until_frame) == (6, 2, 2.0, 10.0)


def test_a_calls_first_frame_is_a_pulse_and_the_others_take_every_place_of_a_chunk() -> None:
    numbers = [number for number in range(5 * PULSE_EVERY) if code_of(3, number) is not None]
    assert numbers[0] == 0
    assert {number % 5 for number in numbers[1:]} == set(range(5))


# ── Frames ───────────────────────────────────────────────────────────────────────────────────────────────────────


def parsed(data: bytes) -> Frame:
    """A client's frame as the `websockets` library reads it, of exactly these bytes."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parsing = Frame.parse(reader.read_exact, mask=True, max_size=None)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert not reader.buffer
    found: Frame = done.value.value
    return found


@pytest.mark.parametrize("number", [0, 8, 9, 98, 99, 998, 999])
@pytest.mark.parametrize("tracks", [1, 2])
def test_media_frames_say_what_the_platform_would_say(tracks: int, number: int) -> None:
    stream_sid = f"MZ{number:032x}"
    heads, tails = frames.heads(1000, tracks), frames.tails(stream_sid)
    for track in range(tracks):
        for code, (head, rotation) in enumerate(heads[track][number]):
            payload = SILENT_FRAME if code == 4 else pulse_frame(code)
            frame = parsed(head + tails[rotation])
            message = json.loads(bytes(frame.data))
            assert frame.opcode is Opcode.TEXT
            assert message["streamSid"] == stream_sid
            assert message["sequenceNumber"] == str(number * tracks + track + 2)
            assert message["media"] == {
                "track": frames.TRACKS[track],
                "chunk": str(number + 1),
                "timestamp": str(number * 20),
                "payload": base64.b64encode(payload).decode(),
            }


@pytest.mark.parametrize("size", [0, 5, 125, 126, 4000])
def test_other_frames_are_read_as_they_were_meant(size: int) -> None:
    frame = parsed(frames.frame(frames.PONG if size < 126 else frames.TEXT, b"x" * size))
    assert (frame.opcode, bytes(frame.data)) == (Opcode.PONG if size < 126 else Opcode.TEXT, b"x" * size)


def test_a_servers_frames_are_read_also_in_pieces() -> None:
    wire = Frame(Opcode.PING, b"now").serialize(mask=False) + Frame(Opcode.TEXT, b"y" * 300).serialize(mask=False)
    assert wire == frames.server_header(9, 3) + b"now" + frames.server_header(1, 300) + b"y" * 300
    found, rest = frames.server_frames(wire[:20])
    assert found == [(frames.PING, b"now")]
    assert frames.server_frames(rest + wire[20:]) == ([(frames.TEXT, b"y" * 300)], b"")


# ── Arithmetic ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.01) == 7.0
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("frame", "until_frame", "wait_ms"),
    [(0, 5, 80), (3, 5, 20), (4, 5, 0), (7, 10, 40), (4, 4.8, 0), (3, 4.8, 20), (0, 10, 80), (4, 10, 0), (9, 10, 0)],
)
def test_a_frame_waits_for_those_that_follow_it_in_its_chunk(frame: int, until_frame: float, wait_ms: int) -> None:
    assert chunk_wait_s(frame, until_frame) * 1000 == pytest.approx(wait_ms)


def one_track(frames_heard: float, pulses: list[tuple[int, int, float, float]], *, sessions: int = 1) -> Behind:
    track = TrackHeard(frames=frames_heard, sessions=sessions, messages=2, pulses=pulses)
    return Behind(tracks={"b00000-inbound": track}, finals=[], events={}, disordered=0, incomplete=0)


SENT = Sent(
    tracks={"b00000-inbound": TrackSent(frames=10, pulses=[(0, 0, 1.0), (6, 1, 1.12)])},
    faults=[],
    connect_s=[],
    late_s=[],
)


def test_latency_beyond_the_chunk_leaves_out_its_wait() -> None:
    found = match(SENT, one_track(10.0, [(0, 0, 1.083, 5.0), (6, 1, 1.190, 10.0)]), begins=1.1, ends=2.0)
    assert (found.frames_lost, found.pulses_lost, found.faults) == (0, 0, [])
    assert found.added_s == pytest.approx([0.07])
    assert found.beyond_s == pytest.approx([0.01])
    assert found.first_s == pytest.approx([0.083])


def test_missing_audio_is_counted_in_frames() -> None:
    found = match(SENT, one_track(4.8, [(0, 0, 1.08, 5.0)]), begins=0.0, ends=2.0)
    assert (found.frames_lost, found.pulses_lost, found.first_frames_lost) == (5, 1, 0)


def test_the_missing_end_of_a_resampler_is_no_frame() -> None:
    found = match(SENT, one_track(9.8, [(0, 0, 1.08, 5.0), (6, 1, 1.2, 9.8)]), begins=0.0, ends=2.0)
    assert found.frames_lost == 0


def test_a_frame_replaced_with_silence_is_lost() -> None:
    found = match(SENT, one_track(10.0, [(6, 1, 1.2, 10.0)]), begins=0.0, ends=2.0)
    assert (found.frames_lost, found.pulses_lost, found.first_frames_lost) == (0, 1, 1)


def test_audio_that_came_twice_shows() -> None:
    behind = one_track(15.0, [(0, 0, 1.08, 5.0), (6, 1, 1.2, 10.0)], sessions=2)
    found = match(SENT, behind, begins=0.0, ends=2.0)
    assert (found.frames_extra, len(found.faults)) == (5, 1)


def test_a_track_that_nobody_heard_is_lost_as_a_whole() -> None:
    nothing = Behind(tracks={}, finals=[], events={}, disordered=0, incomplete=0)
    found = match(SENT, nothing, begins=0.0, ends=2.0)
    assert (found.frames_lost, found.first_frames_lost, len(found.faults)) == (10, 1, 1)


def test_finals_outside_the_window_are_not_measured_but_must_come() -> None:
    finals = [(0.5, 0.6), (1.0, 1.25), (1.5, None)]
    behind = Behind(tracks={}, finals=finals, events={}, disordered=0, incomplete=0)
    assert finals_s(behind, 1.0, 2.0) == ([0.25], 1)


def test_runs_are_joined_by_medians_and_losses_by_sums() -> None:
    runs = [
        Figures(frames_lost=1, first_frames_lost=0, cpu=3.0),
        Figures(frames_lost=2, first_frames_lost=1, cpu=1.0, added_p50=4.0),
        Figures(frames_lost=0, first_frames_lost=0, cpu=2.0),
    ]
    joined = medians(runs)
    assert (joined.frames_lost, joined.first_frames_lost, joined.cpu, joined.added_p50) == (3, 1, 2.0, 4.0)
    assert joined.final_p50 is None


def lag_page(small: int, large: int, latest: float) -> str:
    name = "gateway_event_loop_lag_seconds_bucket"
    return (
        f'# HELP x\n{name}{{le="0.005"}} {small}.0\n{name}{{le="0.01"}} {small + large}.0\n'
        f'{name}{{le="+Inf"}} {small + large}.0\ngateway_event_loop_lag_max_seconds {latest}\n'
    )


@pytest.mark.parametrize(
    ("page", "block_ms"),
    [
        (lag_page(9, 1, 0.007), 7.0),  # one of the last timers was the latest
        (lag_page(9, 1, 0.002), 10.0),  # an earlier one was
        (lag_page(9, 0, 0.002), 2.0),
        (lag_page(5, 0, 0.0), None),  # nothing came since
        ("gateway_event_loop_longest_block_seconds 0.042\n" + lag_page(9, 1, 0.007), 42.0),
        ("", None),
    ],
)
def test_the_longest_block_is_what_the_gateway_knows_of_it(page: str, block_ms: float | None) -> None:
    assert loop_block_ms(lag_page(5, 0, 0.0), page) == (None if block_ms is None else pytest.approx(block_ms))


# ── Receiver ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Answers:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


def event(sequence: int, kind: str = "transcript.final", **more: object) -> bytes:
    return json.dumps({"type": kind, "data": {"call": {"id": "c"}, "sequence": sequence, **more}}).encode()


def request(body: bytes) -> bytes:
    return b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_the_receiver_answers_whole_requests_however_they_come() -> None:
    received, answers = Received(), Answers()
    socket = HookSocket(received)
    socket.connection_made(answers)  # type: ignore[arg-type]
    wire = request(event(1, text="one")) + request(event(2, text="two"))
    for index in range(len(wire)):
        socket.data_received(wire[index : index + 1])
    assert answers.written.count(b"204") == 2
    assert sorted(received.finals) == ["one", "two"]
    assert received.finals["one"] < received.finals["two"]
    assert received.disordered == 0


def test_the_receiver_counts_what_is_out_of_order_and_what_is_not_complete() -> None:
    received = Received()
    received.take(event(2, text="two"), at=1.0)
    received.take(event(3, "call.ended", complete=False), at=1.0)
    assert (received.disordered, received.incomplete, received.types["call.ended"]) == (1, 1, 1)


# ── What is measured, and how it is shown ────────────────────────────────────────────────────────────────────────


def test_every_load_can_be_asked_for_by_name() -> None:
    assert {each.name for name in NAMES for each in chosen((name,))} == {each.name for each in SCENARIOS}
    assert chosen((START,)) == []
    assert [each.name for each in chosen((), quick=True)] == [each.name for each in QUICK]


def test_a_load_of_ones_own_is_one_load() -> None:
    [own] = chosen((), calls=7, audio="linear16-8000", tracks=2, seconds=1.5)
    assert (own.name, own.calls, own.audio, own.tracks, own.seconds) == ("own", 7, "linear16-8000", 2, 1.5)


def test_finals_are_spread_over_all_tracks() -> None:
    assert Scenario(name="x", calls=200, tracks=2, finals_per_s=100.0).finals_every_s == 4.0


def runs_of(cpu: float) -> list[Run]:
    return [Run(Figures(frames_lost=0, first_frames_lost=0, cpu=cpu), ())]


def test_only_what_is_alike_is_compared() -> None:
    mulaw, wide = Scenario(name="mulaw", calls=4), Scenario(name="linear16", calls=4, audio="linear16-16000")
    both = Scenario(name="two-tracks", calls=2, tracks=2)
    results = {(mulaw, PRODUCT): runs_of(2.0), (mulaw, SKETCH): runs_of(4.0)}
    results |= {(wide, PRODUCT): runs_of(3.0), (both, PRODUCT): runs_of(1.0)}
    assert [line.split(" | ")[1] for line in report.comparisons(results).splitlines()[2:]] == [
        "0.50 |",
        "1.50 |",
        "0.50 |",
    ]
    assert report.comparisons({(mulaw, PRODUCT): runs_of(2.0)}) == ""


def test_a_run_without_an_end_has_no_row_in_the_table() -> None:
    scenario = Scenario(name="mulaw", calls=4)
    assert len(report.table({(scenario, PRODUCT): runs_of(2.0)}).splitlines()) == 3
    assert len(report.table({(scenario, PRODUCT): [Run(None, ("it broke",))]}).splitlines()) == 2


def test_the_plot_has_a_line_for_each_server(tmp_path: Path) -> None:
    figures = Figures(frames_lost=0, first_frames_lost=0, cpu=1.0, beyond_p99=2.0)
    sweep = [each for each in SCENARIOS if each.is_of_sweep]
    results = {(each, server): [Run(figures, ())] for each in sweep for server in (PRODUCT, SKETCH)}
    report.plot("a machine", results, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert all(f"<!-- {text} -->" in drawn for text in ("a machine", PRODUCT, SKETCH, "calls"))


def test_everything_measured_is_in_the_json() -> None:
    scenario = Scenario(name="mulaw", calls=4)
    results = {(scenario, PRODUCT): [*runs_of(2.0), Run(None, ("it broke",))]}
    told = json.loads(report.as_json({"machine": "m"}, results, [Start(ready_s=0.5, help_s=0.25)]))
    [load] = told["loads"]
    assert (told["machine"], told["starts"]) == ("m", [{"ready_s": 0.5, "help_s": 0.25}])
    assert (load["scenario"]["calls"], load["server"]) == (4, PRODUCT)
    assert load["runs"][0]["figures"]["cpu"] == 2.0
    assert load["runs"][1] == {"figures": None, "faults": ["it broke"], "growth": []}


def test_arguments_without_a_commands_name_are_for_the_calls() -> None:
    told = CliRunner().invoke(main, ["--seconds", "never"], prog_name="scripts/bench")
    assert told.exit_code == 2
    assert "scripts/bench calls" in told.output
    assert "is not a valid float" in told.output


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────────

TINY = Scenario(name="tiny", calls=2, seconds=1.0, settle_s=0.1, ramp_s=0.1)


@pytest.mark.parametrize("server", [PRODUCT, SKETCH])
async def test_a_small_load_comes_out_whole(server: str) -> None:
    bench = Bench([TINY], [server])
    await bench.run(1)
    [run] = bench.results[TINY, server]
    assert (run.faults, bench.exit_code) == ((), 0)
    assert run.figures is not None
    assert run.figures.beyond_p50 is not None
    assert run.figures.cpu is not None


async def test_a_program_that_ends_without_a_word_says_why() -> None:
    with pytest.raises(ProgramFailed, match="not today"):
        async with Program("-c", "import sys; sys.exit('not today')", core=machine.OTHERS) as program:
            await program.said("started", within_s=30.0)


async def test_a_run_that_does_not_come_to_its_end_makes_the_verdict_red() -> None:
    bench = Bench([TINY], [PRODUCT], measuring=partial(measure, settings={"GATEWAY_PORT": "none"}))
    await bench.run(1)
    [run] = bench.results[TINY, PRODUCT]
    assert run.figures is None
    assert "gateway serve ended instead of saying gateway_started" in run.faults[0]
    assert bench.exit_code == 1


async def test_a_message_that_is_not_heard_makes_the_verdict_red() -> None:
    bench = Bench([TINY], [PRODUCT], measuring=partial(measure, ignored_message=3))
    await bench.run(1)
    [run] = bench.results[TINY, PRODUCT]
    assert "5 frames were lost" in run.faults
    assert bench.exit_code == 1


def test_the_machine_tells_of_this_process() -> None:
    assert machine.family(os.getpid())[0] == os.getpid()
    assert machine.resident_bytes(os.getpid()) > 1_000_000
    assert machine.cpu_s(os.getpid()) > 0
    assert machine.busy_s() > machine.cpu_s(os.getpid())


# ── Viewers ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 10_000])
def test_a_witness_notes_each_final_once_however_the_stream_is_cut(piece_bytes: int) -> None:
    shown = Shown()
    viewer = ViewerSocket(shown, "token", is_witness=True)
    partial_ = b'event: transcript.partial\ndata: {"data":{"text":"no"}}\n\n'
    final = b'id: %d\nevent: transcript.final\ndata: {"data":{"text":"%d"}}\n\n'
    stream = b"HTTP/1.1 200 OK\r\n\r\nretry: 2000\n\n" + partial_ + final % (1, 1) + b":\n\n" + final % (2, 2)
    for begin in range(0, len(stream), piece_bytes):
        viewer.data_received(stream[begin : begin + piece_bytes])
    assert list(shown.finals) == ["1", "2"]


def test_finals_that_no_viewer_was_shown_are_counted_from_the_begin_of_the_window_on() -> None:
    said = {"before": 0.5, "a": 1.0, "b": 2.0, "c": 9.0}
    assert shown_s(said, {"a": 1.5, "c": 9.1}, 1.0, 5.0) == ([0.5], 1)
