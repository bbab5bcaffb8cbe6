"""The route `GET /api/capabilities`."""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from gateway.config import SpeechApiSettings, SttProfile
from gateway.speech_api.base import RequestRefused
from gateway.speech_api.capabilities import recorded_route, streaming_route
from gateway.speech_api.routes import ROUTES
from gateway.speech_api.uploads import PATHS, Door

PATH = "/api/capabilities"


class Overview:
    """
    Says what the served routes do, to whoever has the key.

    Args:
        door: of the speech APIs.
        settings: name the profiles.
        profiles: by name.
    """

    def __init__(self, door: Door, settings: SpeechApiSettings, profiles: Mapping[str, SttProfile]) -> None:
        self._door = door
        live = profiles[settings.profile].kind
        recorded = profiles[settings.batch_profile or settings.profile].kind
        routes = [streaming_route(path, name, live) for path, (name, _) in ROUTES.items()]
        routes += [recorded_route(path, recorded, is_unified=is_unified) for path, is_unified in PATHS.items()]
        self._body = msgspec.json.encode({"routes": routes})

    def add_to(self, app: web.Application) -> None:
        """Serve it."""
        app.router.add_get(PATH, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            self._door.authorize(request)
        except RequestRefused as refusal:
            return web.json_response(
                {"error": str(refusal), "error_code": refusal.code},
                status=refusal.status,
                headers={"WWW-Authenticate": "Bearer"},
            )
        return web.Response(body=self._body, content_type="application/json")
