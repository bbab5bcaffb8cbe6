"""Records survive whatever happens to the bytes around them, and nothing else is ever taken for one."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.events import Track
from gateway.journal.format import (
    HEAD_BYTES,
    MAGIC,
    MAX_AUDIO_BYTES,
    TAG_BYTES,
    Kind,
    Record,
    Scanner,
    encode,
    encode_audio,
)
from gateway.media.timeline import Stretch
from telephony_codecs.formats import AudioFormat

TAG = b"\x01\x02tagtag"
OTHER_TAG = b"\x01\x02tagtah"
MULAW = AudioFormat.parse("mulaw-8000")
LINEAR = AudioFormat.parse("linear16-8000")
HEADER = encode(TAG, Kind.HEADER, b'{"call":1}')


def audio(payload: bytes, position: int = 0, track: Track = Track.INBOUND, tag: bytes = TAG) -> bytes:
    return encode(tag, Kind.AUDIO, payload, track=track, position=position)


def scanned(data: bytes, step: int | None = None) -> list[Record]:
    scanner = Scanner()
    step = step or max(1, len(data))
    found = [record for start in range(0, len(data), step) for record in scanner.feed(data[start : start + step])]
    return found + scanner.finish()


def payloads(data: bytes, step: int | None = None) -> list[bytes]:
    return [record.payload for record in scanned(data, step) if record.kind is Kind.AUDIO]


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, list[Record]]:
    """A sound file and its records, with payloads that look like records now and then."""
    tempting = st.sampled_from([MAGIC, MAGIC + TAG, audio(b"forged", tag=OTHER_TAG), HEADER[:20], b""])
    payload = st.builds(lambda start, rest: start + rest, tempting, st.binary(max_size=60))
    data = HEADER
    for position, (track, body) in enumerate(draw(st.lists(st.tuples(st.sampled_from(Track), payload), max_size=6))):
        data += encode(TAG, Kind.AUDIO, body, track=track, position=position * 800, came=position * 700)
    if draw(st.booleans()):
        data += encode(TAG, Kind.END, b'{"outcome":"completed"}')
    return data, scanned(data)


def said(records: Sequence[Record]) -> list[tuple[Kind, Track, int, int, bytes]]:
    return [(each.kind, each.track, each.position, each.came, each.payload) for each in records]


def is_subsequence(found: Sequence[object], of: Sequence[object]) -> bool:
    rest = iter(of)
    return all(each in rest for each in found)


def test_what_is_written_is_read() -> None:
    data = (
        HEADER
        + encode(TAG, Kind.AUDIO, b"abc", track=Track.OUTBOUND, position=1 << 40, came=1 << 41)
        + encode(TAG, Kind.END, b"{}")
    )
    assert said(scanned(data)) == [
        (Kind.HEADER, Track.INBOUND, 0, 0, b'{"call":1}'),
        (Kind.AUDIO, Track.OUTBOUND, 1 << 40, 1 << 41, b"abc"),
        (Kind.END, Track.INBOUND, 0, 0, b"{}"),
    ]


def test_records_know_where_they_lie() -> None:
    data = HEADER + audio(b"abc") + audio(b"defg", 3)
    records = scanned(data)
    assert [data[each.offset : each.end][HEAD_BYTES:] for each in records] == [b'{"call":1}', b"abc", b"defg"]
    assert [each.tag for each in records] == [TAG] * 3


@given(files(), st.integers(1, 200))
def test_the_size_of_the_pieces_that_are_read_makes_no_difference(file: tuple[bytes, list[Record]], step: int) -> None:
    data, records = file
    assert scanned(data, step) == records


@given(files(), st.data())
def test_a_cut_costs_only_the_record_that_it_cuts(file: tuple[bytes, list[Record]], data: st.DataObject) -> None:
    whole, records = file
    cut = data.draw(st.integers(0, len(whole)))
    assert scanned(whole[:cut]) == [each for each in records if each.end <= cut]


@given(files(), st.data())
def test_flipped_bytes_cost_only_the_records_that_they_are_in(
    file: tuple[bytes, list[Record]], data: st.DataObject
) -> None:
    whole, records = file
    flipped = bytearray(whole)
    places = data.draw(st.sets(st.integers(len(HEADER), max(len(HEADER), len(whole) - 1)), max_size=4))
    places = {place for place in places if place < len(whole)}
    for place in places:
        flipped[place] ^= data.draw(st.integers(1, 255))
    sound = [each for each in records if not any(each.offset <= place < each.end for place in places)]
    assert scanned(bytes(flipped), data.draw(st.integers(1, 300))) == sound


@given(files(), st.data())
def test_a_hole_costs_only_the_records_that_it_touches(file: tuple[bytes, list[Record]], data: st.DataObject) -> None:
    whole, records = file
    start = data.draw(st.integers(len(HEADER), len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    holed = whole[:start] + bytes(stop - start) + whole[stop:]
    untouched = [each for each in records if each.end <= start or each.offset >= stop]
    touched_by_zeros_alone = [
        each
        for each in records
        if each not in untouched and holed[each.offset : each.end] == whole[each.offset : each.end]
    ]
    assert scanned(holed) == sorted(untouched + touched_by_zeros_alone, key=lambda each: each.offset)


@given(files(), st.data())
def test_any_other_damage_gives_a_part_of_the_records_in_order_and_nothing_else(
    file: tuple[bytes, list[Record]], data: st.DataObject
) -> None:
    whole, records = file
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    damaged = whole[:start] + data.draw(st.binary(max_size=80)) + whole[stop:]
    assert is_subsequence(said(scanned(damaged, data.draw(st.integers(1, 300)))), said(records))


@given(st.binary(max_size=400))
@example(MAGIC)
@example(HEADER[:-1])
@example(bytes(100) + HEADER)
def test_what_does_not_begin_with_a_header_has_no_records(data: bytes) -> None:
    assert scanned(data) == []


def test_a_record_inside_a_callers_audio_is_not_taken_when_the_one_around_it_is_damaged() -> None:
    forged = audio(b"forged", tag=OTHER_TAG)
    outer = audio(b"before" + forged + b"after")
    damaged = outer[:-1] + bytes([outer[-1] ^ 1])
    assert payloads(HEADER + damaged + audio(b"next")) == [b"next"]


def test_a_length_that_grew_swallows_no_record_behind_it() -> None:
    first = bytearray(audio(b"abc"))
    first[HEAD_BYTES - 7] ^= 0x40  # 16,384 bytes more
    assert payloads(HEADER + bytes(first) + audio(b"next")) == [b"next"]


def test_damage_is_counted() -> None:
    scanner = Scanner()
    scanner.feed(HEADER + b"torn" + audio(b"abc") + audio(b"defg")[:-1])
    scanner.finish()
    assert scanner.damaged_bytes == len(b"torn") + HEAD_BYTES + 3


def test_reading_can_begin_at_any_record() -> None:
    first, second = HEADER + audio(b"abc"), audio(b"def", 3)
    scanner = Scanner(TAG, offset=len(first))
    (record,) = scanner.feed(second) + scanner.finish()
    assert (record.offset, record.end, record.payload) == (len(first), len(first + second), b"def")


def test_a_record_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode(TAG, Kind.AUDIO, bytes(MAX_AUDIO_BYTES + 1))


def test_chunks_that_follow_on_share_a_record() -> None:
    chunks = [Stretch(100, b"ab"), Stretch(102, b"cd"), Stretch(200, b"e")]
    found = list(encode_audio(TAG, Track.OUTBOUND, MULAW, chunks, came=50))
    assert [each[:3] for each in found] == [(100, 4, 50), (200, 1, 54)]
    assert said(scanned(HEADER + b"".join(each[3] for each in found)))[1:] == [
        (Kind.AUDIO, Track.OUTBOUND, 100, 50, b"abcd"),
        (Kind.AUDIO, Track.OUTBOUND, 200, 54, b"e"),
    ]


def test_much_audio_becomes_several_records_without_splitting_a_sample() -> None:
    chunk = Stretch(10, bytes(MAX_AUDIO_BYTES + 2))
    found = list(encode_audio(TAG, Track.INBOUND, LINEAR, [chunk], came=0))
    assert [each[:3] for each in found] == [
        (10, MAX_AUDIO_BYTES // 2, 0),
        (10 + MAX_AUDIO_BYTES // 2, 1, MAX_AUDIO_BYTES // 2),
    ]


def test_a_chunk_that_ends_inside_a_sample_shifts_no_other() -> None:
    chunks = [Stretch(0, b"abc"), Stretch(1, b"de"), Stretch(2, b"fg")]
    found = list(encode_audio(TAG, Track.INBOUND, LINEAR, chunks, came=0))
    assert payloads(HEADER + b"".join(each[3] for each in found)) == [b"abc", b"defg"]


def test_no_chunks_make_no_record() -> None:
    assert list(encode_audio(TAG, Track.INBOUND, MULAW, [], came=0)) == []


def test_the_tag_has_its_length() -> None:
    assert len(TAG) == len(OTHER_TAG) == TAG_BYTES
