"""
The browser's way in: the console's phone speaks Twilio's dialect on a route of its own.

A browser cannot sign as Twilio does, and Twilio's route shall not learn to do without: here the console's own log-in
lets a call in. `Access` also sees to it that the page that calls is ours: any site's page may open a WebSocket.
"""

from aiohttp import web

from gateway.admission import Calls
from gateway.config import Settings
from gateway.dialects.twilio import TwilioDialect
from gateway.live.access import Access
from gateway.rooms import Rooms
from gateway.stream_route import StreamRoute

PHONE_PATH = "/api/phone"
STREAM_PATH = "/api/phone/stream"


class BrowserPhone:
    """
    The routes of the phone.

    Args:
        settings: all of them.
        calls: the registry.
        rooms: behind each call.
        access: who may place calls.
    """

    def __init__(self, settings: Settings, calls: Calls, rooms: Rooms, access: Access) -> None:
        self._route = StreamRoute(TwilioDialect.name, settings.limits, calls, rooms)
        self._access = access

    def add_to(self, app: web.Application) -> None:
        app.router.add_post(PHONE_PATH, self.phone)
        app.router.add_get(STREAM_PATH, self.stream, allow_head=False)

    async def phone(self, request: web.Request) -> web.Response:
        """Where to call, or why not: of a WebSocket that is refused, a page does not get to know the reason."""
        self._access.require(request, writes=True)
        with self._route.place():
            return web.json_response({"url": STREAM_PATH})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """A call."""
        self._access.require(request, writes=True)
        return await self._route.run(request, TwilioDialect)
