"""A track's audio from any position on: memory, archive, holes, and what is gone."""

import asyncio
from collections.abc import Sequence

from gateway.errors import StorageError
from gateway.media.tape import Tape
from gateway.media.timeline import Stretch
from gateway.stt.source import Holes, Missing, Source
from telephony_codecs.formats import AudioFormat
from tests.support.session_track import MemoryArchive

MULAW = AudioFormat.parse("mulaw-8000")
CHUNK = 800


def chunk(number: int, samples: int = CHUNK) -> Stretch:
    return Stretch(number * CHUNK, bytes([number % 250]) * samples)


def tape(numbers: Sequence[int], *, capacity_chunks: int = 1000, archive: MemoryArchive | None = None) -> Tape:
    made = Tape(MULAW, capacity_chunks * CHUNK, is_archived=archive is not None)
    for number in numbers:
        made.append(chunk(number))
        if archive is not None:
            archive.write(made)
    return made


def read(source: Source, most: int = 1000) -> list[Stretch | Missing]:
    """Everything there is."""

    async def main() -> list[Stretch | Missing]:
        found: list[Stretch | Missing] = []
        while len(found) < most and (piece := await source.next()) is not None:
            found.append(piece)
        return found

    return asyncio.run(main())


def source(
    held: Tape, archive: MemoryArchive | None = None, *, position: int = 0, holes: Holes | None = None
) -> Source:
    return Source(held, archive, holes or Holes(), position, CHUNK)


def test_memory_is_read_as_it_came() -> None:
    assert read(source(tape(range(5)))) == [chunk(number) for number in range(5)]


def test_it_begins_in_mid_chunk_where_it_has_to() -> None:
    first, second = read(source(tape(range(2)), position=300))
    assert first == Stretch(300, bytes(500))
    assert second == chunk(1)


def test_what_memory_let_go_comes_from_the_archive_and_the_rest_from_memory() -> None:
    archive = MemoryArchive()
    held = tape(range(20), archive=archive)
    held.heard(15 * CHUNK)
    assert read(source(held, archive)) == [chunk(number) for number in range(20)]
    assert archive.reads == [0]


def test_long_stretches_of_the_archive_are_cut_anew() -> None:
    archive = MemoryArchive()
    archive.stretches = [Stretch(0, bytes(range(250)) * 10)]
    held = tape([])
    held.append(Stretch(2500, bytes(CHUNK)))
    pieces = read(source(held, archive))
    assert [(piece.position, len(piece.payload)) for piece in pieces if isinstance(piece, Stretch)] == [
        (0, 800),
        (800, 800),
        (1600, 800),
        (2400, 100),
        (2500, 800),
    ]


def test_audio_that_neither_holds_is_missing_exactly_once() -> None:
    held = tape(range(20), capacity_chunks=5)
    assert read(source(held)) == [Missing(0, 15 * CHUNK), *[chunk(number) for number in range(15, 20)]]


def test_what_the_archive_lost_is_missing() -> None:
    archive = MemoryArchive()
    held = tape(range(10), archive=archive)
    held.heard(8 * CHUNK)
    del archive.stretches[3:5]
    pieces = read(source(held, archive))
    assert pieces[3] == Missing(3 * CHUNK, 5 * CHUNK)
    assert len(pieces) == 9


def test_a_hole_of_the_call_is_passed_over_without_asking_the_archive() -> None:
    archive = MemoryArchive()
    held = tape([0, 1, 50, 51], archive=archive)
    holes = Holes()
    holes.add(2 * CHUNK, 50 * CHUNK)
    assert read(source(held, archive, holes=holes)) == [chunk(number) for number in (0, 1, 50, 51)]
    assert archive.reads == []


def test_around_a_hole_only_audio_counts_as_missing() -> None:
    held = tape([0, 1, 50, 51, 52], capacity_chunks=1)
    holes = Holes()
    holes.add(2 * CHUNK, 50 * CHUNK)
    assert read(source(held, holes=holes)) == [Missing(0, 2 * CHUNK), Missing(50 * CHUNK, 52 * CHUNK), chunk(52)]


def test_holes_that_nobody_asks_for_any_more_are_forgotten() -> None:
    holes = Holes()
    holes.add(100, 200)
    holes.add(300, 400)
    holes.forget(250)
    assert holes.audio_between(0, 500) == [Missing(0, 300), Missing(400, 500)]


def test_in_recovery_a_jump_is_no_loss_for_nobody_knows_what_was_there() -> None:
    archive = MemoryArchive()
    archive.stretches = [chunk(0), chunk(7)]
    assert read(Source(Tape(MULAW, 0, is_archived=True), archive, None, 0, CHUNK)) == [chunk(0), chunk(7)]


def test_an_archive_that_cannot_be_read_has_nothing() -> None:
    class Broken(MemoryArchive):
        async def read(self, position: int) -> Sequence[Stretch]:
            raise StorageError("broken")

    held = tape(range(10), capacity_chunks=5)
    assert read(source(held, Broken()))[0] == Missing(0, 5 * CHUNK)


def test_silences_are_shortened_only_before_the_given_place_and_far_behind() -> None:
    quiet = [Stretch(number * CHUNK, b"\xff" * CHUNK) for number in range(400)]
    held = Tape(MULAW, 400 * CHUNK)
    for each in quiet:
        held.append(each)
    pieces = read(Source(held, None, Holes(), 0, CHUNK, shorten_before=200 * CHUNK))
    assert [piece.position for piece in pieces if isinstance(piece, Stretch)] == [
        number * CHUNK for number in range(195, 400)
    ]
