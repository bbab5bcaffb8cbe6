"""
The routes of the history: calls, their transcripts, recordings and printed pages, and the search over all of them.

Everything is read from the store, beside its writer (see `reading`), and never on the event loop.
"""

import re
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from aiohttp import web

from gateway.errors import GatewayError
from gateway.live import calls, printable, transcripts
from gateway.live.access import Access, refusal
from gateway.live.calls import BadCursor, Recording, Which
from gateway.live.reading import StoreReader
from gateway.live.search import MOST_HITS, NoSearch, Search
from gateway.live.search_query import TooLong
from gateway.live.waveform import FEWEST_POINTS, MOST_POINTS, Waveforms
from gateway.transcript.export import SUFFIXES

P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PAGE_CALLS = 50
PAGE_HITS = 50
POINTS = 1000
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of every answer: speech is kept by nobody on the way."""
RETRY_AFTER_S = "5"
_FORMS = {suffix[1:]: form for form, suffix in SUFFIXES.items()}


class History:
    """
    Serves the history.

    Args:
        access: who may see it.
        reader: reads the store.
        search: finds finals.
        folder: the data folder; recordings are in `recordings`.
    """

    def __init__(self, access: Access, reader: StoreReader, search: Search, folder: Path) -> None:
        self._access = access
        self._reader = reader
        self._search = search
        self._recordings = folder / "recordings"
        self._waveforms = Waveforms()

    def add_to(self, app: web.Application) -> None:
        """Serve it."""
        for path, handler in (
            ("/api/calls", self.calls),
            ("/api/calls/{call_id}", self.call),
            ("/api/calls/{call_id}/transcript.{form:json|txt|srt|vtt}", self.transcript),
            ("/api/calls/{call_id}/recording.wav", self.recording),
            ("/api/calls/{call_id}/waveform", self.waveform),
            ("/calls/{call_id}/print", self.printed),
            ("/api/search", self.search),
        ):
            app.router.add_get(path, self._guarded(handler))

    async def calls(self, request: web.Request) -> web.StreamResponse:
        """A page of calls, the newest first."""
        try:
            which = Which(request.query.get("state", Which.ALL))
        except ValueError:
            raise refusal(web.HTTPBadRequest, "bad_state", "state must be live, ended or all") from None
        limit = number(request, "limit", default=PAGE_CALLS, least=1, most=calls.MOST_CALLS)
        try:
            page = await self._read(calls.select_page, which, limit, request.query.get("before"))
        except BadCursor:
            raise refusal(web.HTTPBadRequest, "bad_cursor", "before must be next of another page") from None
        return answer(page)

    async def call(self, request: web.Request) -> web.StreamResponse:
        """A call with all its events."""
        body = there(await self._read(_write_story, request.match_info["call_id"]))
        return web.Response(body=body, content_type="application/json", headers=HEADERS)

    async def transcript(self, request: web.Request) -> web.StreamResponse:
        """What was said, as a file."""
        form = _FORMS[request.match_info["form"]]
        call_id = request.match_info["call_id"]
        text = there(await self._read(_write_transcript, call_id, form))
        return web.Response(
            text=text,
            content_type=transcripts.CONTENT_TYPES[form],
            charset="utf-8",
            headers={**HEADERS, **disposition(request, f"{call_id}{SUFFIXES[form]}")},
        )

    async def recording(self, request: web.Request) -> web.StreamResponse:
        """The call's audio; parts of it, too."""
        call_id = request.match_info["call_id"]
        recording = await self._recording_of(call_id)
        return web.FileResponse(
            recording.path, headers={**HEADERS, **disposition(request, f"{call_id}.wav"), "Content-Type": "audio/wav"}
        )

    async def waveform(self, request: web.Request) -> web.StreamResponse:
        """How loud the recording is over time."""
        points = number(request, "points", default=POINTS, least=FEWEST_POINTS, most=MOST_POINTS)
        recording = await self._recording_of(request.match_info["call_id"])
        return answer(await self._waveforms.of(recording.path, recording.told, points))

    async def printed(self, request: web.Request) -> web.StreamResponse:
        """The call as a document to be printed."""
        text = there(await self._read(_write_page, request.match_info["call_id"]))
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=printable.HEADERS)

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Finals in which all the words occur."""
        limit = number(request, "limit", default=PAGE_HITS, least=1, most=MOST_HITS)
        try:
            return answer(await self._search.find(request.query.get("q", ""), limit))
        except TooLong as error:
            raise refusal(web.HTTPBadRequest, "bad_q", str(error)) from None
        except NoSearch as error:
            raise refusal(web.HTTPNotImplemented, error.code, str(error)) from None

    async def _recording_of(self, call_id: str) -> Recording:
        recording = await self._read(calls.select_recording, call_id)
        if recording is None:
            raise refusal(web.HTTPNotFound, "no_recording", "there is no recording of this call, or none any more")
        return recording

    async def _read(
        self, work: Callable[Concatenate[sqlite3.Connection, Path, P], T], *args: P.args, **more: P.kwargs
    ) -> T:
        return await self._reader.read(work, self._recordings, *args, **more)

    def _guarded(self, handler: Handler) -> Handler:
        """Let in who may look, and tell what went wrong."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self._access.require(request)
            try:
                return await handler(request)
            except GatewayError as error:
                headers = {"Retry-After": RETRY_AFTER_S}
                raise refusal(web.HTTPServiceUnavailable, error.code, str(error), headers=headers) from error

        return handle


def answer(body: Any) -> web.Response:
    """A JSON answer."""
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=HEADERS)


def there(found: T | None) -> T:
    """What was looked for in a call; None: there is no such call."""
    if found is None:
        raise refusal(web.HTTPNotFound, "no_such_call", "there is no call of this id, or none any more")
    return found


def number(request: web.Request, name: str, *, default: int, least: int, most: int) -> int:
    """A parameter of the query; more than `most` is `most`."""
    text = request.query.get(name, str(default))
    # Digits are counted, because making a number of thousands of them takes long.
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= least):
        raise refusal(web.HTTPBadRequest, f"bad_{name}", f"{name} must be a whole number from {least} to {most}")
    return min(int(text), most)


def disposition(request: web.Request, name: str) -> dict[str, str]:
    """With `?download=1` the answer is to be saved, under a name without anything that means something anywhere."""
    if request.query.get("download") != "1":
        return {}
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")
    return {"Content-Disposition": f'attachment; filename="{safe}"'}


# Made on the reader's thread: what is long in a long call does not keep the event loop.


def _write_story(db: sqlite3.Connection, recordings: Path, call_id: str) -> bytes | None:
    story = calls.select_story(db, recordings, call_id)
    return None if story is None else msgspec.json.encode(story)


def _write_transcript(db: sqlite3.Connection, recordings: Path, call_id: str, form: str) -> str | None:
    call = calls.select_call(db, recordings, call_id)
    if call is None:
        return None
    transcript = transcripts.transcript_of(call, calls.bodies_of(db, call_id))
    return transcripts.to_json(transcript) if form == "json" else transcripts.to_file(transcript, form)


def _write_page(db: sqlite3.Connection, recordings: Path, call_id: str) -> str | None:
    call = calls.select_call(db, recordings, call_id)
    return None if call is None else printable.page(call, calls.bodies_of(db, call_id))
