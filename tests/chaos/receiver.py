"""
A webhook receiver that fails on command, and writes down whatever came.

    python -m tests.chaos.receiver --log FILE --seed 7

Each request is one line of JSON in the log, written when it is answered: `at` (of its arrival, seconds), `id`
(webhook-id), `digest` (of the body), `verified` (by the official library), `status` (how it was answered; null: not at
all), `kept` (it counts as received: answered 2xx, or cut after that was decided) and `event`.

Commands (`POST` to its control address, JSON):

| command | arguments | what happens from then on |
|---|---|---|
| `recover` | | 204 at once; requests that were held are answered, too |
| `refuse` | `status`, `retry_after` | this status |
| `stall` | | no answer |
| `slow` | `delay_s` | 204, so much later |
| `cut` | `share` | this share of connections is dropped: before or after the event was kept, or within the answer |
| `wait` | `ended`, `requests`, `timeout_s` | returns when so many calls have ended and so many requests have come |
"""

import argparse
import asyncio
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from tests.chaos import obedience
from tests.support.webhook_receiver import SECRET

MAX_BODY_BYTES = 32 * 1024 * 1024
Arguments = dict[str, Any]


@dataclass
class Manners:
    """How it answers now."""

    status: int = 204
    retry_after: str | None = None
    delay_s: float = 0.0
    is_stalled: bool = False
    cut_share: float = 0.0


class Receiver:
    """
    Takes deliveries.

    Args:
        log: where each request is written to.
        seed: which connections are cut.
    """

    def __init__(self, log: TextIO, seed: int) -> None:
        self._log = log
        self._rng = random.Random(seed)
        self._webhook = Webhook(SECRET)
        self._manners = Manners()
        self._recovered = asyncio.Event()
        self._changed = asyncio.Condition()
        self._ended: set[str] = set()
        self._requests = 0

    def commands(self) -> dict[str, obedience.Command]:
        """What it can be told, by name."""
        orders = (self.recover, self.refuse, self.stall, self.slow, self.cut, self.wait)
        return {each.__name__: each for each in orders}

    async def recover(self, _arguments: Arguments) -> dict[str, Any]:
        return self._become(Manners())

    async def refuse(self, arguments: Arguments) -> dict[str, Any]:
        return self._become(Manners(status=arguments["status"], retry_after=arguments.get("retry_after")))

    async def stall(self, _arguments: Arguments) -> dict[str, Any]:
        return self._become(Manners(is_stalled=True))

    async def slow(self, arguments: Arguments) -> dict[str, Any]:
        return self._become(Manners(delay_s=arguments["delay_s"]))

    async def cut(self, arguments: Arguments) -> dict[str, Any]:
        return self._become(Manners(cut_share=arguments["share"]))

    async def wait(self, arguments: Arguments) -> dict[str, Any]:
        ended, requests = arguments.get("ended", 0), arguments.get("requests", 0)
        try:
            async with asyncio.timeout(arguments["timeout_s"]), self._changed:
                await self._changed.wait_for(lambda: len(self._ended) >= ended and self._requests >= requests)
        except TimeoutError:
            return {"reached": False, **self._state()}
        return {"reached": True, **self._state()}

    def _become(self, manners: Manners) -> dict[str, Any]:
        self._manners = manners
        self._recovered.set()  # whoever was held before is answered in the new manner
        self._recovered = asyncio.Event()
        return self._state()

    def _state(self) -> dict[str, Any]:
        return {"ended": len(self._ended), "requests": self._requests}

    # ── A request ────────────────────────────────────────────────────────────────────────────────────────────────

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take one delivery."""
        at = asyncio.get_running_loop().time()
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        entry = {
            "at": at,
            "id": headers.get("webhook-id"),
            "digest": hashlib.sha256(body).hexdigest(),
            "verified": self._is_verified(body, headers),
            "event": json.loads(body),
        }
        await self._hold()
        how = self._rng.choice(("before", "after", "within")) if self._rng.random() < self._manners.cut_share else ""
        status = None if how else self._manners.status
        await self._note(entry, status, kept=how in ("after", "within") or (status or 0) // 100 == 2)
        if how:
            return await _cut(request, within=how == "within")
        retry = {"Retry-After": str(self._manners.retry_after)} if self._manners.retry_after is not None else None
        return web.Response(status=self._manners.status, headers=retry)

    async def _hold(self) -> None:
        """Keep the request waiting as long as the manners of its arrival want it, or until they change."""
        manners = self._manners
        if manners.is_stalled or manners.delay_s:
            try:
                async with asyncio.timeout(None if manners.is_stalled else manners.delay_s):
                    await self._recovered.wait()
            except TimeoutError:
                pass

    async def _note(self, entry: Arguments, status: int | None, *, kept: bool) -> None:
        self._log.write(json.dumps({**entry, "status": status, "kept": kept}) + "\n")
        self._log.flush()
        self._requests += 1
        if kept and entry["event"]["type"] == "call.ended":
            self._ended.add(entry["event"]["data"]["call"]["id"])
        async with self._changed:
            self._changed.notify_all()

    def _is_verified(self, body: bytes, headers: dict[str, str]) -> bool:
        try:
            self._webhook.verify(body, headers)
        except WebhookVerificationError:
            return False
        return True


async def _cut(request: web.Request, *, within: bool) -> web.StreamResponse:
    """Drop the connection, perhaps after an answer began that promises more."""
    answer = web.StreamResponse(status=200, headers={"Content-Length": "100"})
    if within:
        await answer.prepare(request)
    if request.transport is not None:
        request.transport.abort()
    return answer


async def main(log: Path, seed: int) -> None:
    """Serve until standard input ends."""
    with log.open("a") as file:
        receiver = Receiver(file, seed)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/hook", receiver.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
            host, port = runner.addresses[0][:2]
            await obedience.serve({"url": f"http://{host}:{port}/hook"}, receiver.commands())
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A webhook receiver that fails on command.")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.log, arguments.seed))
