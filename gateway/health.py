"""What orchestrators and monitoring ask: alive, ready, metrics."""

from aiohttp import web

from gateway import telemetry
from gateway.admission import Calls
from gateway.house import House


class Health:
    """
    The routes, which need no token.

    Args:
        calls: the registry.
        house: what has to be sound for calls to come.
    """

    def __init__(self, calls: Calls, house: House) -> None:
        self._calls = calls
        self._house = house

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/healthz", self.alive)
        app.router.add_get("/readyz", self.ready)
        app.router.add_get("/metrics", self.metrics)

    async def alive(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(self, _request: web.Request) -> web.Response:
        """Whether calls should come; 503 with the reasons if not."""
        journal = self._house.journal
        troubles = {
            "draining": self._calls.is_draining,
            "outbox_not_writable": not self._house.outbox.is_writable,
            "journal_not_writable": journal is not None and not journal.is_writable,
            "event_loop_late": self._house.loop_watch.is_lagging,
        }
        reasons = [name for name, is_so in troubles.items() if is_so]
        return web.json_response(
            {"status": "not_ready" if reasons else "ready", "reasons": reasons}, status=503 if reasons else 200
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=telemetry.metrics_page(), headers={"Content-Type": "text/plain; version=0.0.4"})
