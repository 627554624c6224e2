"""A proxy before a Redis or a PostgreSQL: silent, slow, thin, or cutting; it counts what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from testproject.parts.child import LOOPBACK

PIECE_SECONDS = 0.02
"""What passes on a thin line in one go took so long."""
WINDOW_BYTES = 32_768
"""What a client may send ahead: the kernel would take megabytes, and no line would ever be thin."""


class Proxy:
    """Passes bytes between clients and one server.

    Args:
        port: The server's.
        cuts: For each connection, in order, after how many bytes of replies it is cut; None: never.
            Connections beyond are not cut.
        request_cuts: The same of bytes that the client sends.
    """

    def __init__(
        self,
        port: int,
        cuts: Iterator[int | None] | None = None,
        request_cuts: Iterator[int | None] | None = None,
    ) -> None:
        self.server_port = port
        """Where connections lead that are made from now on."""
        self.is_silent = False
        """Whether replies are swallowed."""
        self.delay_seconds = 0.0
        """How long a reply is under way."""
        self.bytes_per_second = 0
        """How much passes on a connection in each direction; 0: as much as there is."""
        self.connections = 0
        """How many were made."""
        self.requested = 0
        """Bytes that clients sent."""
        self._cuts = iter(cuts or ())
        self._request_cuts = iter(request_cuts or ())
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES
        )  # accepted ones inherit it
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Proxy:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()  # from here on nothing is accepted that would not be dropped
        self.drop_connections()
        for thread in self._threads:
            thread.join()
        for end in self._open:
            end.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Address as Django's ``LOCATION`` takes it."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def drop_connections(self) -> None:
        """Close all connections that are open now."""
        _shut(*self._open)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            client_cut, reply_cut = next(self._request_cuts, None), next(self._cuts, None)
            try:
                server = socket.create_connection((LOOPBACK, self.server_port))
            except OSError:  # the server is down: so is whoever reaches it by this way
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += (client, server)
            self._start(self._pass_requests, client, server, client_cut)
            self._start(self._pass_replies, server, client, reply_cut)

    def _pass_requests(self, client: socket.socket, server: socket.socket, left: int | None) -> None:
        while left != 0 and (data := _received(client, left)):
            self.requested += len(data)
            left = None if left is None else left - len(data)
            if not self._passed(server, data):
                break
        _shut(client, server)

    def _pass_replies(self, server: socket.socket, client: socket.socket, left: int | None) -> None:
        while left != 0 and (data := _received(server, left)):
            if self.is_silent:
                continue
            left = None if left is None else left - len(data)
            time.sleep(self.delay_seconds)
            if not self._passed(client, data):
                break
        _shut(client, server)

    def _passed(self, end: socket.socket, data: bytes) -> bool:
        if not self.bytes_per_second:
            return _sent(end, data)
        size = max(int(self.bytes_per_second * PIECE_SECONDS), 1)
        for start in range(0, len(data), size):
            time.sleep(PIECE_SECONDS)
            if not _sent(end, data[start : start + size]):
                return False
        return True

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


def _received(end: socket.socket, most: int | None) -> bytes:
    try:
        return end.recv(65536 if most is None else min(most, 65536))
    except OSError:
        return b""


def _sent(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
    except OSError:
        return False
    return True


def _shut(*ends: socket.socket) -> None:
    # Not closed as long as a thread may read: the number would go to the next connection.
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
