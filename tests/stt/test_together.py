"""What is done for many sessions at once: each gets its own, in order, when all have come."""

from collections import deque
from collections.abc import Callable

from gateway.stt.together import Together
from telephony_codecs.convert import Converter
from telephony_codecs.formats import AudioFormat

MULAW, LINEAR = AudioFormat.parse("mulaw-8000"), AudioFormat.parse("linear16-16000")
PIECES = [bytes([number]) * 800 for number in range(3)]


class Later:
    """Calls what is left for later when it is told to."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()

    def soon(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def now(self) -> None:
        while self._calls:
            self._calls.popleft()()


def test_pieces_wait_for_one_another_and_each_goes_to_its_own_session() -> None:
    later, got = Later(), list[tuple[int, bytes]]()
    together = Together(later.soon)
    for number, piece in enumerate(PIECES):
        together.convert(Converter(MULAW, LINEAR), piece, lambda audio, number=number: got.append((number, audio)))  # type: ignore[misc]
    assert got == []
    later.now()
    assert got == [(number, Converter(MULAW, LINEAR).convert(piece)) for number, piece in enumerate(PIECES)]


def test_pieces_of_one_stream_stay_in_order() -> None:
    later, got, converter = Later(), list[bytes](), Converter(MULAW, LINEAR)
    together = Together(later.soon)
    for piece in PIECES:
        together.convert(converter, piece, got.append)
    later.now()
    alone = Converter(MULAW, LINEAR)
    assert got == [alone.convert(piece) for piece in PIECES]


def test_where_nothing_is_left_for_later_a_piece_is_converted_at_once() -> None:
    together, got = Together(), list[bytes]()
    together.convert(Converter(MULAW, LINEAR), PIECES[0], got.append)
    assert got == [Converter(MULAW, LINEAR).convert(PIECES[0])]
