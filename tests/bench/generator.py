"""
The phone platform that measures: many calls in real time from one process that does little else than to send.

    python -m tests.bench.generator --port PORT --calls 400 --tracks 1 --ramp 2 --settle 3 --seconds 20 --results FILE

Every 20 ms each call sends one frame per track, the calls spread evenly over the 20 ms. There is no event loop, no task
and no encoding per frame: frames are made before the first call (`frames`), and each is one `send` on a socket that
does not block. Prints one line of JSON with the window to measure in, once every call has begun and settled.
"""

import argparse
import gc
import json
import select
import socket
import time
from array import array
from pathlib import Path

import msgspec

from tests.bench import frames
from tests.bench.figures import CHUNK_FRAMES
from tests.bench.outcome import Sent, TrackSent
from tests.bench.pulses import FRAME_S, PEAKS, code_of

CONNECT_S = 15.0
"""Beyond the ramp, for all calls to be established."""
HANG_UP_S = 1.0
"""Over which the calls' ends are spread."""
CLOSE_S = 30.0
"""For the server to close what was stopped."""
_WAKE_S = 0.001
_MAX_BACKLOG_BYTES = 1_000_000
_SILENT = len(PEAKS)


class Phone:
    """
    One call.

    Attributes:
        fault: why it did not come to its end; None: it did, or is not there yet.
        is_open: it sends frames.
        is_over: the server closed it after its stop.
        chunks: when each chunk's last frame was sent; None: that is not noted.
    """

    def __init__(
        self, number: int, tracks: int, heads: list[list[tuple[frames.Head, ...]]], *, notes_chunks: bool = False
    ) -> None:
        self.number = number
        self.name = f"b{number:05d}"
        self.stream_sid = f"MZ{number:032x}"
        self.call_sid = f"CA{number:032x}"
        self.tails = frames.tails(self.stream_sid)
        self.heads = heads
        self.sent = 0
        self.pulses: list[list[tuple[int, int, float]]] = [[] for _ in range(tracks)]
        self.chunks: array[float] | None = array("d") if notes_chunks else None
        self.fault: str | None = None
        self.is_open = self.is_over = self.is_stopped = False
        self.connect_s = 0.0
        self._received = b""
        self._backlog = b""

    def dial(self, port: int) -> None:
        """Begin to connect; epoll tells when the request can be sent."""
        self.dialled_at = time.monotonic()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(("127.0.0.1", port))

    def ask(self, port: int) -> None:
        """Ask for the upgrade."""
        self.write(
            f"GET /twilio/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send_frames(self, due: float) -> float | None:
        """The next frame of each track; returns how late it was if it is a pulse, in seconds."""
        number = self.sent
        self.sent = number + 1
        if self.chunks is not None and self.sent % CHUNK_FRAMES == 0:
            self.chunks.append(time.monotonic())
        code = code_of(self.number, number)
        if code is None:
            for track in self.heads:
                head, rotation = track[number][_SILENT]
                self.write(head + self.tails[rotation])
            return None
        now = time.monotonic()
        for track, pulses in zip(self.heads, self.pulses, strict=True):
            head, rotation = track[number][code]
            pulses.append((number, code, time.monotonic()))
            self.write(head + self.tails[rotation])
        return now - due

    def stop(self) -> None:
        """Say that the call is over; the server closes."""
        self.is_stopped, self.is_open = True, False
        sequence = self.sent * len(self.heads) + 2
        stop = {"accountSid": _ACCOUNT_SID, "callSid": self.call_sid}
        self.write(
            frames.text({"event": "stop", "sequenceNumber": str(sequence), "streamSid": self.stream_sid, "stop": stop})
        )

    def write(self, data: bytes) -> None:
        """Hand to the network what it takes; the rest waits, and goes first."""
        if self._backlog:
            data = self._backlog + data
        try:
            taken = self.socket.send(data)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            self.fail(f"broke: {type(error).__name__}")
            return
        self._backlog = data[taken:] if taken < len(data) else b""
        if len(self._backlog) > _MAX_BACKLOG_BYTES:
            self.fail("the server stopped reading")

    def read(self) -> None:
        """Take what the server said."""
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(f"broke: {type(error).__name__}")
            return
        if not data:
            self.fail("the server hung up")
            return
        self._received += data
        if not self.is_open and not self.is_stopped and not self._begin():
            return
        found, self._received = frames.server_frames(self._received)
        for opcode, payload in found:
            if opcode == frames.PING:
                self.write(frames.frame(frames.PONG, payload))
            elif opcode == frames.CLOSE:
                self._close(payload)
                return

    def _begin(self) -> bool:
        """Begin the stream once the upgrade is answered; whether it is."""
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return False
        status = head.split(b" ", 2)[1].decode(errors="replace")
        if status != "101":
            self.fail(f"refused with status {status}")
            return False
        self._received = rest
        self.connect_s = time.monotonic() - self.dialled_at
        start = {
            "accountSid": _ACCOUNT_SID,
            "streamSid": self.stream_sid,
            "callSid": self.call_sid,
            "tracks": list(frames.TRACKS[: len(self.heads)]),
            "customParameters": {"bench": self.name},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        self.write(frames.text({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        self.write(frames.text({"event": "start", "sequenceNumber": "1", "streamSid": self.stream_sid, "start": start}))
        self.is_open = self.fault is None
        return self.is_open

    def _close(self, payload: bytes) -> None:
        if not self.is_stopped:
            self.fail(f"closed with code {int.from_bytes(payload[:2], 'big')}")
            return
        self.is_over = True
        self.write(frames.frame(frames.CLOSE, payload[:2]))
        self.socket.close()

    def fail(self, reason: str) -> None:
        """It is over, and not as it should be."""
        if self.is_over or self.fault:
            return
        self.fault = f"call {self.name} {reason} after {self.sent} frames"
        self.is_open = False
        self.socket.close()

    @property
    def is_done(self) -> bool:
        """Nothing more comes of it."""
        return self.is_over or self.fault is not None


_ACCOUNT_SID = "AC" + "0" * 32


class Exchange:
    """
    All calls, from the first dialling to the last close.

    Args:
        port: of the server.
        calls, tracks: how many; tracks per call.
        ramp_s: over which they begin.
        settle_s: from the last one's begin to the window.
        seconds: the window.
        notes_chunks: note when each chunk was sent, and not pulses only.
    """

    def __init__(
        self,
        port: int,
        calls: int,
        tracks: int,
        *,
        ramp_s: float,
        settle_s: float,
        seconds: float,
        notes_chunks: bool = False,
    ) -> None:
        longest_s = ramp_s + CONNECT_S + settle_s + seconds + HANG_UP_S + 1.0
        heads = frames.heads(round(longest_s / FRAME_S), tracks)
        self._port = port
        self._ramp_s, self._settle_s, self._seconds = ramp_s, settle_s, seconds
        self._phones = [Phone(number, tracks, heads, notes_chunks=notes_chunks) for number in range(calls)]
        self._by_descriptor: dict[int, Phone] = {}
        self._dialled = 0
        self._epoll = select.epoll()
        self._late_s: list[float] = []
        self._stop_from: float | None = None

    def run(self) -> Sent:
        """Place the calls."""
        gc.freeze()
        gc.disable()
        began = time.monotonic()
        slot_s = FRAME_S / len(self._phones)
        slot = 0
        while self._goes_on(began):
            now = time.monotonic()
            self._dial(now - began)
            due = int((now - began) / slot_s)
            while slot <= due:
                self._turn(self._phones[slot % len(self._phones)], began + slot * slot_s)
                slot += 1
            self._read()
        self._epoll.close()
        return self._sent()

    def _goes_on(self, began: float) -> bool:
        now = time.monotonic()
        if self._stop_from is None:
            if all(phone.is_open or phone.fault for phone in self._phones):
                self._announce(now)
            elif now > began + self._ramp_s + CONNECT_S:
                for phone in self._phones[: self._dialled]:
                    if not phone.is_open:
                        phone.fail("was not answered in time")
                self._announce(now)
            return True
        if now > self._stop_from + HANG_UP_S + CLOSE_S:
            for phone in self._phones:
                phone.fail("was not closed in time")
        return not all(phone.is_done for phone in self._phones)

    def _announce(self, now: float) -> None:
        begins = now + self._settle_s
        ends = begins + self._seconds
        self._stop_from = ends + 5 * FRAME_S
        print(json.dumps({"event": "window", "begins": begins, "ends": ends}), flush=True)

    def _dial(self, elapsed_s: float) -> None:
        while self._dialled < len(self._phones) and elapsed_s * len(self._phones) >= self._dialled * self._ramp_s:
            phone = self._phones[self._dialled]
            phone.dial(self._port)
            self._by_descriptor[phone.socket.fileno()] = phone
            self._epoll.register(phone.socket, select.EPOLLOUT)
            self._dialled += 1

    def _turn(self, phone: Phone, due: float) -> None:
        """A call's moment: its frames, or its end."""
        if not phone.is_open:
            return
        if self._stop_from is not None:
            share = phone.number / len(self._phones)
            if due >= self._stop_from + share * HANG_UP_S:
                phone.stop()
                return
        late_s = phone.send_frames(due)
        if late_s is not None:
            self._late_s.append(late_s)

    def _read(self) -> None:
        for descriptor, events in self._epoll.poll(_WAKE_S):
            phone = self._by_descriptor[descriptor]
            if phone.is_done:
                continue
            if events & select.EPOLLOUT:  # connected, or refused: then asking fails
                self._epoll.modify(descriptor, select.EPOLLIN)
                phone.ask(self._port)
            else:
                phone.read()

    def _sent(self) -> Sent:
        names = frames.TRACKS
        return Sent(
            tracks={
                f"{phone.name}-{names[index]}": TrackSent(
                    frames=phone.sent, pulses=pulses, chunks=list(phone.chunks or ())
                )
                for phone in self._phones
                for index, pulses in enumerate(phone.pulses)
            },
            faults=[phone.fault for phone in self._phones if phone.fault],
            connect_s=[phone.connect_s for phone in self._phones],
            late_s=self._late_s,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Many calls in real time.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--tracks", type=int, choices=(1, 2), default=1)
    parser.add_argument("--ramp", type=float, required=True, help="seconds over which the calls begin")
    parser.add_argument("--settle", type=float, required=True, help="seconds before the window")
    parser.add_argument("--seconds", type=float, required=True, help="the window")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--chunks", action="store_true", help="note when each chunk was sent")
    given = parser.parse_args()
    exchange = Exchange(
        given.port,
        given.calls,
        given.tracks,
        ramp_s=given.ramp,
        settle_s=given.settle,
        seconds=given.seconds,
        notes_chunks=given.chunks,
    )
    given.results.write_bytes(msgspec.json.encode(exchange.run()))
