"""The search, over a real store and a real socket."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.config import RedactionSettings
from gateway.live import search, search_file
from gateway.outbox.schema import FILE_NAME as STORE
from tests.support.console import TOKEN, gateway
from tests.support.history_house import House, final, forget, history, short_call, started
from tests.support.kept_calls import keep_call

DEADLINE_S = 60.0


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with history(tmp_path) as served:
        yield served


async def found(house: House, typed: str, limit: int = 50) -> list[str]:
    """Texts of the hits, once the search has read everything."""
    await house.search.catch_up()
    status, body = await house.get_json(f"/api/search?q={quote(typed)}&limit={limit}")
    assert (status, body.get("complete")) == (200, True), body
    return [hit["text"] for hit in body["hits"]]


def kept(folder: Path) -> list[int]:
    """The positions in the search's file."""
    with closing(sqlite3.connect(folder / search_file.FILE_NAME)) as db:
        return [position for (position,) in db.execute("SELECT rowid FROM finals ORDER BY rowid")]


async def test_nothing_is_found_without_a_token(house: House) -> None:
    assert (await house.get("/api/search?q=refund", token=None))[0] == 401


async def test_a_hit_tells_the_call_and_the_place_in_it(house: House) -> None:
    await house.publish(*short_call("call_1", "Hello.", "I'd like a refund."))
    await house.search.catch_up()
    _, body = await house.get_json("/api/search?q=refund")
    (hit,) = body["hits"]
    assert (hit["call"]["id"], hit["call"]["outcome"]) == ("call_1", "completed")
    assert {name: hit[name] for name in ("sequence", "track", "speaker", "text", "start_s", "end_s")} == {
        "sequence": 3,
        "track": "inbound",
        "speaker": "caller",
        "text": "I'd like a refund.",
        "start_s": 3.0,
        "end_s": 5.0,
    }


@pytest.mark.parametrize(
    ("typed", "is_found"),
    [
        ("CAFÉ", True),
        ("cafe", True),
        ("order cafe", True),
        ("cafe order", True),
        ('"cafe order"', False),
        ('"my order" cafe', True),
        ("order tea", False),
        ("caf", True),
        ("caf ", False),
        ("ord cafe", False),
        ("don't", True),
        ("don", True),
        ("NOT", False),
        ("order AND cafe", False),
    ],
)
async def test_all_words_must_occur_whatever_their_case_and_accents(house: House, typed: str, is_found: bool) -> None:
    await house.publish(*short_call("call_1", "I don't see my order in the Café."))
    assert bool(await found(house, typed)) is is_found


CHINESE = "我想取消昨天的订单。谢谢。"
JAPANESE = "すみません、キャンセルしたいです。"
THAI = "ฉันต้องการยกเลิกคำสั่งซื้อ"
KOREAN = "어제 주문을 취소하고 싶어요"
HINDI = "नमस्ते, मुझे ऑर्डर रद्द करना है"


@pytest.mark.parametrize(
    ("text", "typed", "is_found"),
    [
        (CHINESE, "取消", True),
        (CHINESE, "订单", True),
        (CHINESE, "单", True),
        (CHINESE, "单订", False),
        (CHINESE, "订单 取消", True),
        (CHINESE, '"订单取消"', False),
        (CHINESE, "退款", False),
        ("订单ABC-7已发货", "单abc", True),
        (JAPANESE, "キャンセル", True),
        (JAPANESE, "ｷｬﾝｾﾙ", True),
        (JAPANESE, "きゃんせる", False),
        (THAI, "ยกเลิก", True),
        (THAI, "สั่งซื้อ", True),
        (THAI, "ยกล", False),
        ("กินข้าว", "กันข้าว", False),
        (KOREAN, "취소", True),
        (KOREAN, "주문 취소", True),
        (HINDI, "ऑर्डर", True),
        (HINDI, "नमस", True),
        (HINDI, "मस्ते", False),
        ("\uff21\uff22\uff23\uff11\uff12\uff13", "abc123", True),  # wide letters and digits
        ("abc123", "\uff21\uff22\uff23\uff11", True),
    ],
)
async def test_words_are_found_that_no_spaces_part_from_others(
    house: House, text: str, typed: str, is_found: bool
) -> None:
    await house.publish(*short_call("call_1", text))
    assert await found(house, typed) == ([text] if is_found else [])


async def test_the_newest_come_first_also_of_calls_that_go_on(house: House) -> None:
    await house.publish(*short_call("call_1", "one refund"), started("call_2"), final("call_2", 2, "two refund"))
    assert await found(house, "refund") == ["two refund", "one refund"]
    assert await found(house, "refund", limit=1) == ["two refund"]


async def test_what_was_deleted_from_the_store_is_not_found_and_leaves_the_file(house: House) -> None:
    texts = [f"refund {number}" for number in range(6)]
    await house.publish(*short_call("call_1", *texts))  # at the positions 2 to 7
    await house.search.catch_up()
    for position in (4, 6, 7):
        forget(house.folder, position)
    assert await found(house, "refund", limit=2) == ["refund 3", "refund 1"]
    assert await found(house, "refund") == ["refund 3", "refund 1", "refund 0"]
    await house.search.sweep()
    assert kept(house.folder) == [2, 3, 5]


async def test_more_than_is_read_in_a_step_is_found(house: House) -> None:
    await house.publish(*short_call("call_1", *(f"number {number}" for number in range(1200))))
    assert await found(house, '"number 0" ') == ["number 0"]
    assert await found(house, '"number 1199" ') == ["number 1199"]


async def test_the_search_goes_on_where_it_was_after_a_start(tmp_path: Path) -> None:
    async with history(tmp_path) as house:
        await house.publish(*short_call("call_1", "one refund"))
        await house.search.catch_up()
        await house.publish(*short_call("call_2", "two refund"))
    with capture_logs() as logs:
        async with history(tmp_path) as house:
            assert await found(house, "refund") == ["two refund", "one refund"]
    assert logs == []


FIRST_VERSION = """
CREATE VIRTUAL TABLE finals USING fts5(text, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3');
CREATE TABLE fed (position INTEGER NOT NULL, event_id TEXT NOT NULL);
INSERT INTO fed VALUES (301, '');
PRAGMA user_version = 1;
"""


@pytest.mark.parametrize("harm", ["missing", "garbage", "torn", "version", "first version"])
async def test_a_file_that_cannot_be_used_is_made_again(tmp_path: Path, harm: str) -> None:
    path = tmp_path / search_file.FILE_NAME
    async with history(tmp_path) as house:
        await house.publish(*short_call("call_1", *["one refund"] * 300))
        await house.search.catch_up()
    match harm:
        case "missing":
            path.unlink()
        case "garbage":
            path.write_bytes(b"not a database" * 1000)
        case "torn":
            path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
        case "version":
            with closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA user_version = 99")
        case _:
            path.unlink()
            with closing(sqlite3.connect(path)) as db:
                db.executescript(FIRST_VERSION)
    async with history(tmp_path) as house, asyncio.TaskGroup() as tasks, asyncio.timeout(DEADLINE_S):
        running = tasks.create_task(house.search.run())
        while (await house.get_json("/api/search?q=refund"))[1].get("complete") is not True:
            pass
        assert len(await found(house, "refund")) == 50
        running.cancel()


async def test_the_file_of_another_store_is_made_again(tmp_path: Path) -> None:
    async with history(tmp_path) as house:
        await house.publish(*short_call("call_1", "one refund"))
        await house.search.catch_up()
    (tmp_path / STORE).unlink()
    async with history(tmp_path) as house:
        await house.publish(*short_call("call_2", "two apples", "three apples", "four apples"))
        with capture_logs() as logs:
            assert await found(house, "apples") == ["four apples", "three apples", "two apples"]
            assert await found(house, "refund") == []
    assert [(line["event"], line["reason"]) for line in logs] == [("search_index_made_again", "other_store")]


MASKED = RedactionSettings(feed=True)


def holding(folder: Path, text: bytes) -> list[str]:
    """Which of the search's files hold it."""
    return [path.name for path in folder.glob(f"{search_file.FILE_NAME}*") if text in path.read_bytes()]


async def test_what_viewers_may_not_see_any_more_is_not_found_either(tmp_path: Path) -> None:
    async with history(tmp_path) as house:
        await house.publish(*short_call("call_1", "my card is 4111 1111 1111 1111 okay"))
        assert len(await found(house, "411")) == 1
    with capture_logs() as logs:
        async with history(tmp_path, MASKED) as house:
            assert await found(house, "411") == []
            assert await found(house, "okay") == ["my card is [card] okay"]
    assert [(line["event"], line["reason"]) for line in logs] == [("search_index_made_again", "redaction")]
    assert holding(tmp_path, b"4111") == []


async def test_as_long_as_the_same_is_masked_the_file_stays(tmp_path: Path) -> None:
    async with history(tmp_path, MASKED) as house:
        await house.publish(*short_call("call_1", "one refund"))
        await house.search.catch_up()
    with capture_logs() as logs:
        async with history(tmp_path, MASKED.model_copy(update={"recording": True})) as house:
            assert await found(house, "refund") == ["one refund"]
    assert logs == []


async def test_a_file_that_cannot_be_used_is_tried_again_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "RETRY_S", 0.0)
    in_the_way = tmp_path / search_file.FILE_NAME
    in_the_way.mkdir()
    async with history(tmp_path) as house, asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        await house.publish(*short_call("call_1", "one refund"))
        with capture_logs() as logs:
            running = tasks.create_task(house.search.run())
            while not logs:
                await house.get_json("/api/search?q=refund")
            status, body = await house.get_json("/api/search?q=refund")
            assert (status, body["error"]) == (503, "search_index_failed")
            in_the_way.rmdir()
            while (await house.get_json("/api/search?q=refund"))[0] != 200:
                pass
            assert await found(house, "refund") == ["one refund"]
            running.cancel()
    assert [(line["event"], line["code"]) for line in logs] == [("search_index_failed", "search_index_failed")]


async def test_a_search_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_file, "_LOOK_EVERY", 1)
    async with history(tmp_path) as house:
        await house.publish(*short_call("call_1", "one refund"))
        await house.search.catch_up()
        with monkeypatch.context() as patch:
            patch.setattr(search_file, "LIMIT_S", -1.0)
            status, body = await house.get_json("/api/search?q=refund")
        assert (status, body["error"]) == (503, "search_too_slow")
        assert await found(house, "refund") == ["one refund"]


async def test_what_is_added_again_is_there_once(tmp_path: Path) -> None:
    file = search_file.SearchFile(tmp_path / search_file.FILE_NAME)
    for finals, reached in (([(1, "one refund"), (2, "two refunds")], 2), ([(1, "one refund")], 1)):
        file.add(finals, search_file.Fed(reached, "evt_1"))
    assert (file.positions(0, 10), file.fed().position) == ([1, 2], 2)
    file.close()


async def test_finals_are_found_soon_after_they_were_said(house: House) -> None:
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(DEADLINE_S):
        running = tasks.create_task(house.search.run())
        await house.publish(started("call_1"), final("call_1", 2, "one refund"))
        while not (await house.get_json("/api/search?q=refund"))[1]["hits"]:
            pass
        await house.publish(final("call_1", 3, "two apples"))
        while not (await house.get_json("/api/search?q=apples"))[1]["hits"]:
            pass
        running.cancel()


async def test_what_is_said_in_a_call_of_a_whole_gateway_is_found(tmp_path: Path) -> None:
    async with gateway(tmp_path) as served, asyncio.timeout(DEADLINE_S), aiohttp.ClientSession() as client:
        call_id = await keep_call(served, seconds=2)
        found: set[str] = set()
        while not found:
            async with client.get(f"{served.url}/api/search?q=second&token={TOKEN}") as answer:
                found = {hit["call"]["id"] for hit in (await answer.json())["hits"]}
    assert found == {call_id}


async def test_until_everything_was_read_an_answer_says_that_it_is_not_complete(house: House) -> None:
    await house.publish(*short_call("call_1", "one refund"))
    assert await house.get_json("/api/search?q=refund") == (200, {"hits": [], "complete": False})


async def test_without_full_text_search_the_start_tells_it_and_the_answer_is_501(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "has_fts5", lambda: False)
    with capture_logs() as logs:
        async with history(tmp_path) as house:
            status, body = await house.get_json("/api/search?q=refund")
            await house.search.run()
    assert (status, body["error"]) == (501, "search_unavailable")
    assert [line["event"] for line in logs] == ["search_unavailable"]


async def test_too_long_a_text_is_refused(house: House) -> None:
    status, body = await house.get_json(f"/api/search?q={'x' * 501}")
    assert (status, body["error"]) == (400, "bad_q")


async def test_no_text_finds_nothing(house: House) -> None:
    await house.publish(*short_call("call_1", "one refund"))
    assert await found(house, "") == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(typed=st.text(max_size=60) | st.text(alphabet="\"'*^:()- ANDORT", max_size=60))
async def test_whatever_is_typed_gets_an_answer(house: House, typed: str) -> None:
    text = typed.encode(errors="surrogatepass")
    status, _ = await house.get_json(f"/api/search?q={quote(text)}")
    assert status == 200
