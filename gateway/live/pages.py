"""
The console: static files, and the headers that keep a page of ours from loading anything from anywhere else.

Every page is the same document; `console/app.js` shows what belongs to its address.
"""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from gateway.live.access import Access, refusal

FOLDER = Path(__file__).parent / "console"
PLACES = ("/", "/calls", "/calls/{call_id}", "/outbox", "/settings", "/phone")
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " media-src 'self' blob:; connect-src 'self'; worker-src 'self'; font-src 'self'; manifest-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: forms would then be posted with `Origin: null`, which tells nobody whose page it was.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
}
_TYPES = {  # not what the system makes of a suffix: some take .js for plain text, and no browser runs that
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wav": "audio/wav",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


class Pages:
    """
    Serves the console.

    Args:
        access: who may see it; whoever may not is sent to the log-in.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._assets = _assets()

    def add_to(self, app: web.Application) -> None:
        for place in PLACES:
            app.router.add_get(place, self.page)
        app.router.add_get("/assets/{path:.+}", self.asset)
        app.on_response_prepare.append(_secure)

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The document."""
        self._access.require(request)
        return _file(FOLDER / "index.html", "text/html; charset=utf-8")

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """A script, style or picture; they tell nothing, so anybody may have them."""
        path = self._assets.get(request.match_info["path"])
        if path is None:
            raise refusal(web.HTTPNotFound, "not_found", "there is no such file")
        return _file(path, _TYPES[path.suffix])


def _assets() -> Mapping[str, Path]:
    """What there is, by name: what is asked for is looked up here and never becomes a path."""
    return {
        path.relative_to(FOLDER).as_posix(): path
        for path in FOLDER.rglob("*")
        if path.suffix in _TYPES and path.is_file()
    }


def _file(path: Path, content_type: str) -> web.FileResponse:
    # Always asked for again, so that a new version is seen at once; unchanged, it is not sent again.
    return web.FileResponse(path, headers={"Content-Type": content_type, "Cache-Control": "no-cache"})


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer has these, errors too, unless its route has set its own."""
    if response.status == HTTPStatus.SWITCHING_PROTOCOLS:
        return
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.path.startswith("/api/"):  # what was said stays in no cache
        response.headers.setdefault("Cache-Control", "no-store")
