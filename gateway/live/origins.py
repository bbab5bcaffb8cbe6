"""
Which addresses are our own: pages that ask, and places to go to.

Pure.
"""

import re
from urllib.parse import urlsplit

_LOCAL_PATH = re.compile(r"/(?!/)[^\\\x00-\x20\x7f]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_own(origin: str, host: str, public_url: str | None) -> bool:
    """
    Whether a page is one of ours.

    Args:
        origin: its `Origin`, or whole address.
        host: the `Host` that was asked.
        public_url: where a proxy serves us, which may ask by another name.
    """
    theirs = _place(origin)
    if theirs is None:
        return False
    return theirs == _place(f"{urlsplit(origin).scheme}://{host}") or theirs == _place(public_url or "")


def hostname(host: str) -> str | None:
    """The name in a `Host` header, in lower case; None if there is none."""
    place = _place(f"http://{host}")
    return place[0] if place else None


def local_path(text: str) -> str:
    """
    Where to go after the log-in: a path of ours, with its query; "/" for whatever a browser might take for more.

    `//host`, `/\\host` and `/<tab>/host` name another host to a browser; `/..//host` may become such a one on the way.
    """
    path = re.split("[?#]", text, maxsplit=1)[0]
    is_plain = _LOCAL_PATH.fullmatch(text) and "//" not in path
    return text if is_plain and path not in ("/login", "/logout") else "/"


def _place(origin: str) -> tuple[str, int | None] | None:
    """Host and port; whether TLS was spoken only a proxy before us knows."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.scheme not in _DEFAULT_PORTS:
        return None
    return parts.hostname, port or _DEFAULT_PORTS[parts.scheme]
