"""What every route of a media stream does: a place for the call, the upgrade, the call from there to its end."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from aiohttp import web

from gateway import telemetry
from gateway.admission import Calls
from gateway.call import Call
from gateway.config import LimitSettings
from gateway.dialects.base import Dialect
from gateway.errors import CapacityError
from gateway.live.access import refusal
from gateway.media_socket import MediaSocket
from gateway.rooms import Rooms

log = structlog.get_logger()

HEARTBEAT_S = 20.0
RETRY_AFTER_S = 5
_UPGRADE = ("Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version")


class StreamRoute:
    """
    Runs calls over WebSockets.

    Args:
        name: of the dialect, for logs and metrics.
        limits: of messages.
        calls: the registry.
        rooms: behind each call.
    """

    def __init__(self, name: str, limits: LimitSettings, calls: Calls, rooms: Rooms) -> None:
        self._name = name
        self._limits = limits
        self._calls = calls
        self._rooms = rooms

    @contextmanager
    def place(self) -> Iterator[None]:
        """
        Hold a call's place.

        Raises:
            web.HTTPServiceUnavailable: a call too many, or draining.
        """
        try:
            with self._calls.place():
                yield
        except CapacityError as error:
            telemetry.CALLS_REFUSED.labels(self._name, error.code).inc()
            log.warning("call_refused", dialect=self._name, code=error.code)
            raise refusal(
                web.HTTPServiceUnavailable, error.code, str(error), headers={"Retry-After": str(RETRY_AFTER_S)}
            ) from None

    async def run(self, request: web.Request, make_dialect: Callable[[], Dialect]) -> web.StreamResponse:
        """
        One call, from the upgrade to its end.

        Args:
            make_dialect: called once there is a place for the call; may refuse the request.

        Raises:
            web.HTTPBadRequest: the request is no upgrade.
            web.HTTPServiceUnavailable: as `place`.
        """
        socket = MediaSocket(
            self._rooms.arrivals,
            heartbeat_s=HEARTBEAT_S,
            max_message_bytes=self._limits.max_message_kb * 1024,
        )
        if not socket.can_prepare(request):
            # Tunnels and proxies that do not know WebSockets take away what makes a request an upgrade.
            log.warning("stream_not_upgraded", headers=[each for each in _UPGRADE if each not in request.headers])
            raise refusal(web.HTTPBadRequest, "no_upgrade", "not a WebSocket upgrade")
        with self.place():
            dialect = make_dialect()
            await socket.prepare(request)
            call = Call(call_id=f"call_{uuid.uuid4().hex}", dialect=dialect, socket=socket, rooms=self._rooms)
            await self._calls.run(call)
        return socket
