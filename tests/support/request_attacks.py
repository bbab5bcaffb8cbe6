"""
Guilty clients of HTTP: spoiled requests to every route of a gateway, upgrades among them, over real sockets.

Query, headers, form, body, method, path and the length that was promised are changed; and now and then any octet.
"""

import asyncio
import contextlib
import json
import random
from dataclasses import dataclass, replace
from urllib.parse import quote

from tests.support.attacks import ANSWER_S, STREAMS, Answers, closing
from tests.support.mutation import Mutator, octets_of
from tests.support.raw_websocket import close
from tests.support.wav_file import wav

PATIENCE_S = 1.0
"""How long a request may go unanswered before its client says that nothing more comes."""
_REQUESTS = 20
_MOST_BYTES = 3_000
_FORM = "application/x-www-form-urlencoded"

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Request:
    """A request in parts; `form` is the body where there is one, else `body`."""

    method: str
    path: str
    query: Pairs = ()
    headers: Pairs = ()
    form: Pairs = ()
    body: bytes = b""
    framing: str = "length"

    def encoded(self, draw: random.Random) -> bytes:
        body = _pairs(self.form).encode() if self.form else self.body
        path = self.path + (f"?{_pairs(self.query)}" if self.query else "")
        headers = list(self.headers)
        match self.framing:
            case "length":
                headers.append(("Content-Length", str(len(body))))
            case "chunked":
                headers.append(("Transfer-Encoding", "chunked"))
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
            case "bad chunks":
                headers.append(("Transfer-Encoding", "chunked"))
                body = draw.choice((b"zz\r\n", b"-1\r\n", b"ffffffffffffffff\r\n", b"5\r\nab\r\n")) + body
            case "both":
                headers += [("Content-Length", str(len(body))), ("Transfer-Encoding", "chunked")]
            case "none":
                pass
            case lie:
                headers.append(("Content-Length", lie))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{self.method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + body


def _pairs(pairs: Pairs) -> str:
    return "&".join(f"{quote(name, safe='%')}={quote(value, safe='%+')}" for name, value in pairs)


_VOICE = Request(
    "POST",
    "/twilio/voice",
    query=(("tenant", "acme"),),
    headers=(("Host", "127.0.0.1"), ("Content-Type", _FORM), ("User-Agent", "TwilioProxy/1.1")),
    form=(
        ("CallSid", "CA00000000000000000000000000000001"),
        ("AccountSid", "AC00000000000000000000000000000001"),
        ("From", "+15550100"),
        ("To", "+15550101"),
        ("CallStatus", "ringing"),
        ("ApiVersion", "2010-04-01"),
        ("Direction", "inbound"),
        ("SipHeader_X-Tenant", "acme"),
    ),
)
_STATUS = replace(
    _VOICE,
    path="/twilio/status",
    query=(),
    form=(
        ("AccountSid", "AC00000000000000000000000000000001"),
        ("CallSid", "CA00000000000000000000000000000001"),
        ("StreamSid", "MZ00000000000000000000000000000001"),
        ("StreamName", "gateway"),
        ("StreamEvent", "stream-error"),
        ("StreamError", "31920 - Stream - WebSocket - Handshake Error"),
        ("Timestamp", "2026-11-20T12:00:00.000000Z"),
    ),
)
_WAV = wav(bytes(range(256)) * 8, rate_hz=8000)
# Addresses that are nobody's, or ours: nothing may be asked of anybody.
_URLS = (
    *(
        "http://127.0.0.1:1/x.wav",
        "http://[::1]/x.wav",
        "http://169.254.169.254/latest",
        "http://10.0.0.1/x",
        "file:///x",
    ),
    *("http://0x7f.1/", "http://2130706433/", "http://[::ffff:127.0.0.1]/", "http://127.0.0.1:99999/", "http://[", "x"),
)


def _requests(token: str) -> dict[str, list[Request]]:
    """Valid ones by target."""
    ours: Pairs = (("Host", "127.0.0.1"), ("Authorization", f"Bearer {token}"))
    recording = Request(
        "POST",
        "/waves/v1/pulse/get_text",
        query=(("language", "en"), ("word_timestamps", "true"), ("diarize", "false")),
        headers=(*ours, ("Content-Type", "audio/wav")),
        body=_WAV,
    )
    unified = replace(
        recording, path="/waves/v1/stt/", query=(("model", "pulse"), ("language", "en"), ("word_timestamps", "true"))
    )
    fetched = [
        replace(
            recording, headers=(*ours, ("Content-Type", "application/json")), body=json.dumps({"url": url}).encode()
        )
        for url in _URLS
    ]
    pages = [Request("GET", path, headers=ours) for path in ("/api/capabilities", "/healthz", "/readyz", "/nowhere")]
    asked = [replace(pages[0], query=(("token", token), ("model", "pulse"), ("language", "en")))]
    upgraded: Pairs = (
        *ours,
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    )
    doors = [
        Request("GET", path.partition("?")[0], query=_split(path), headers=upgraded, framing="none")
        for path, _ in STREAMS.values()
    ]
    return {
        "webhooks": [_VOICE, _STATUS],
        "recordings": [recording, unified, *fetched],
        "pages": [*pages, *asked],
        "upgrades": doors,
    }


def _split(path: str) -> Pairs:
    pairs = path.partition("?")[2].split("&") if "?" in path else []
    return tuple((name, value) for name, _, value in (each.partition("=") for each in pairs))


_METHODS = (
    "GET",
    "POST",
    "PUT",
    "HEAD",
    "OPTIONS",
    "DELETE",
    "PATCH",
    "TRACE",
    "CONNECT",
    "get",
    "B\xe4D",
    "",
    "G" * 50,
)
_PATHS = (
    "/",
    "//",
    "/..",
    "/twilio/%00",
    "/%ff%fe",
    "/" + "a" * 9000,
    "*",
    "http://127.0.0.1/healthz",
    "/twilio/voice/",
)
_CONTENT_TYPES = (
    *(_FORM, f"{_FORM}; charset=nope", f"{_FORM}; charset=utf-16", f"{_FORM}; charset=", "multipart/form-data", ""),
    *("multipart/form-data; boundary=x", "multipart/form-data; boundary=" + "x" * 99, "application/json; charset=idna"),
    *("application/json", "audio/wav", "text/plain; charset=rot13", "x", ";;;=", "\xff/\xfe"),
)
_HEADERS = (
    *(("Content-Encoding", value) for value in ("gzip", "deflate", "br", "zstd", "nope")),
    *(("Expect", value) for value in ("100-continue", "nope")),
    *(("Sec-WebSocket-Key", value) for value in ("", "x", "!" * 24, "dGhlIHNhbXBsZSBub25jZQ")),
    *(("Sec-WebSocket-Version", value) for value in ("", "8", "13, 8", "-1", "9" * 50)),
    *(
        ("Sec-WebSocket-Extensions", value)
        for value in ("permessage-deflate; client_max_window_bits=99", ";", "x" * 500)
    ),
    *(("X-Forwarded-For", value) for value in ("1.2.3.4", "x", "::1, ,", "\xff")),
    *(("Authorization", value) for value in ("Bearer", "Bearer \xff", "Basic x", "Bearer " + "x" * 4000, "")),
    *(("X-Twilio-Signature", "x"), ("Range", "bytes=0-"), ("Cookie", "=;=;\xff"), ("Host", ""), ("Host", "\xff:99999")),
    *(
        ("Connection", "close"),
        ("Connection", "Upgrade"),
        ("Upgrade", "h2c"),
        ("X" * 300, "y" * 9000),
        ("", ""),
        (" a", "b"),
    ),
)
_BODIES = (
    b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--\r\n",
    b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\nb\r\n",
    b"--x\r\nContent-Transfer-Encoding: nope\r\n\r\n",
    b"--x\r\n\r\n--x",
    b"\x1f\x8b\x08\x00" + bytes(20),
    b"%zz=%&%&=" * 500,
    b"a=" * 70_000,
    b"&".join(b"a%d=b" % number for number in range(2000)),
    b"[" * 5000,
    b'{"url":' * 3000,
)
_FRAMINGS = ("chunked", "chunked", "bad chunks", "both", "-1", "9" * 30, "1", "x", "none", "5, 5")


def spoil_request(request: Request, mutator: Mutator, draw: random.Random) -> Request:
    """The request with one to three of its parts changed."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        match draw.randrange(12):
            case 0:
                request = replace(request, method=draw.choice(_METHODS))
            case 1:
                request = replace(
                    request, path=draw.choice((*_PATHS, request.path + draw.choice(("/", "%2f", "\xff"))))
                )
            case 2 | 3:
                request = replace(request, query=_spoiled_pairs(request.query, mutator, draw))
            case 4:
                request = replace(request, headers=_spoiled_pairs(request.headers, mutator, draw, of=_HEADERS))
            case 5:
                kept = tuple(each for each in request.headers if each[0] != "Content-Type")
                request = replace(request, headers=(*kept, ("Content-Type", draw.choice(_CONTENT_TYPES))))
            case 6:
                request = replace(request, form=(), body=draw.choice(_BODIES))
            case 7 if draw.random() < 0.3:
                request = replace(request, framing=draw.choice(_FRAMINGS))
            case 8 | 9 if request.body:
                request = replace(request, body=octets_of(mutator.spoil(request.body)))
            case _:
                request = replace(request, form=_spoiled_pairs(request.form, mutator, draw))
    return request


def _spoiled_pairs(pairs: Pairs, mutator: Mutator, draw: random.Random, of: Pairs = ()) -> Pairs:
    listed = list(pairs)
    at = draw.randrange(len(listed) + 1)
    match draw.randrange(5):
        case 0 if at < len(listed):
            del listed[at]
        case 1 if at < len(listed):
            listed.insert(0, listed[at])
        case 2 if of:
            listed.insert(at, draw.choice(of))
        case 3:
            listed.insert(at, (str(mutator.value())[:3000], str(mutator.value())[:3000]))
        case _ if at < len(listed):
            listed[at] = (listed[at][0], str(mutator.value())[:3000])
    # A header with a line break in it is another header, and one that no client would send.
    return tuple((name, value.replace("\r", "").replace("\n", "")) for name, value in listed)


class RequestAttack:
    """Spoiled requests of one target, one after another on a connection for as long as it lasts."""

    def __init__(self, port: int, token: str, target: str, answers: Answers) -> None:
        self._port = port
        self._target = target
        self._answers = answers
        self._valid = _requests(token)[target]

    async def __call__(self, draw: random.Random) -> int:
        mutator = Mutator(draw, _MOST_BYTES)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        sent = 0
        try:
            for _ in range(_REQUESTS):
                request = spoil_request(draw.choice(self._valid), mutator, draw)
                octets = request.encoded(draw)
                if draw.random() < 0.05:
                    octets = mutator.octets(octets)
                sent += 1
                if not await self._ask(reader, writer, octets, is_head=request.method == "HEAD"):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, OSError):
            pass  # it closed in the middle of what we had to say, which is its right
        finally:
            writer.transport.abort()
        self._answers.sent[self._target] += sent
        self._answers.spoiled[self._target] += sent
        return sent

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, octets: bytes, *, is_head: bool
    ) -> bool:
        """Ask, note the status, and say whether the connection goes on."""
        writer.write(octets)
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:  # what we promised is not all there: say that no more comes
            writer.write_eof()
            return await self._last_answer(reader)
        except asyncio.LimitOverrunError:
            self._answers.note(self._target, "endless head")
            return False
        status = head[9:12].decode("latin-1")
        if status == "100":
            head = await reader.readuntil(b"\r\n\r\n")
            status = head[9:12].decode("latin-1")
        self._answers.note(self._target, status)
        if status == "101":
            await self._leave(reader, writer)
            return False
        headers = head.lower()
        if not is_head and b"content-length: " in headers:
            await reader.readexactly(int(headers.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        return b"connection: close" not in headers and status != "400"

    async def _leave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say goodbye to a stream; a request that lied about its length may have made a body of the goodbye."""
        writer.write(close())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await closing(reader)

    async def _last_answer(self, reader: asyncio.StreamReader) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                octets = await reader.read(1 << 16)
                self._answers.note(self._target, octets[9:12].decode("latin-1") or "closed unfinished")
        except TimeoutError:
            self._answers.note(self._target, "never answered")
        return False
