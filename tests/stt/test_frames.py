"""Frames that we make are what another implementation of RFC 6455 reads."""

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway.stt.frames import Masker


def read(octets: bytes) -> list[Frame]:
    server = ServerProtocol(state=State.OPEN, max_size=None)
    server.receive_data(octets)
    return [event for event in server.events_received() if isinstance(event, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 800, 65535, 65536, 100_000])
def test_a_binary_message_of_any_size_is_read_as_it_was(size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    (frame,) = read(Masker().frame(payload))
    assert (frame.opcode, frame.data, frame.fin) == (Opcode.BINARY, payload, True)


def test_text_is_sent_as_text() -> None:
    (frame,) = read(Masker().frame('{"audio": "é"}'))
    assert (frame.opcode, bytes(frame.data).decode()) == (Opcode.TEXT, '{"audio": "é"}')


def test_each_frame_has_a_key_of_its_own() -> None:
    masker = Masker()
    keys = [masker.frame(b"x")[2:6] for _ in range(3000)]
    assert len(set(keys)) > 2990


def test_frames_stand_one_after_the_other() -> None:
    masker = Masker()
    frames = read(b"".join(masker.frame(bytes([number % 256])) for number in range(2000)))
    assert [frame.data[0] for frame in frames] == [number % 256 for number in range(2000)]
