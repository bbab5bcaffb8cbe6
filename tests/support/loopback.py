"""A connection over loopback, without an event loop."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager


@contextmanager
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection; what is written at the one is at the other when writing returns, as loopback has it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    with far, near:
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        near.setblocking(False)
        yield near, far
