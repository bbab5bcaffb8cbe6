"""A batch speech service on loopback: records what it is sent and answers what the test scripts."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

KEY = "sk_batch"
SUCCESS = {
    "status": "success",
    "transcription": "Call me back.",
    "words": [
        {"start": 0.1, "end": 0.4, "word": "Call", "confidence": 0.99, "speaker": 0},
        {"start": 0.4, "end": 0.6, "word": "me", "confidence": 0.98, "speaker": 0},
        {"start": 0.6, "end": 1.0, "word": "back.", "confidence": 0.97, "speaker": 0},
    ],
    "utterances": [{"start": 0.1, "end": 1.0, "text": "Call me back.", "speaker": 0}],
    "metadata": {"duration": 1.2, "fileSize": 38444},
}


@dataclass(frozen=True)
class Received:
    """One request."""

    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What one request is answered; a body that is no bytes becomes JSON."""

    status: int = 200
    body: Any = field(default_factory=lambda: SUCCESS)
    headers: dict[str, str] = field(default_factory=dict)


class BatchServer:
    """Answers with `answers` in turn; the last one repeats."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers or [Answer()])
        self.requests: list[Received] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(Received(dict(request.query), dict(request.headers), await request.read()))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        return web.Response(status=answer.status, body=body, headers=answer.headers)


@asynccontextmanager
async def batch_server(*answers: Answer) -> AsyncIterator[BatchServer]:
    """Serve until the context is left."""
    service = BatchServer(*answers)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/waves/v1/pulse/get_text", service.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        service.url = str(server.make_url("/waves/v1/pulse/get_text"))
        yield service
