"""A proxy before a Redis, which can keep silent, cut replies short and count what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from testproject.parts.child import LOOPBACK


class Proxy:
    """Passes bytes between clients and one server.

    Args:
        port: The server's.
        cuts: For each connection, in order, after how many bytes of replies it is cut; None: never.
            Connections beyond are not cut.
    """

    def __init__(self, port: int, cuts: Iterator[int | None] | None = None) -> None:
        self.is_silent = False
        """Whether replies are swallowed."""
        self.seconds_a_piece = 0.0
        """How long each 4 kB of a reply take."""
        self.connections = 0
        """How many were made."""
        self.requested = 0
        """Bytes that clients sent."""
        self._server_port = port
        self._cuts = iter(cuts or ())
        self._listener = socket.create_server((LOOPBACK, 0))
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

    @property
    def url(self) -> str:
        """Address as Django's ``LOCATION`` takes it."""
        return f"redis://{LOOPBACK}:{self._listener.getsockname()[1]}/0"

    def drop_connections(self) -> None:
        """Close all connections that are open now."""
        for end in self._open:
            _close(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection((LOOPBACK, self._server_port))
            self._open += (client, server)
            self._start(self._pass_requests, client, server)
            self._start(self._pass_replies, server, client, next(self._cuts, None))

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            self.requested += len(data)
            if not _sent(server, data):
                break
        _close(client, server)

    def _pass_replies(self, server: socket.socket, client: socket.socket, left: int | None) -> None:
        while left != 0 and (data := _received(server)):
            if self.is_silent:
                continue
            if left is not None:
                data = data[:left]
                left -= len(data)
            if not self._trickled(client, data):
                break
        _close(client, server)

    def _trickled(self, client: socket.socket, data: bytes) -> bool:
        if not self.seconds_a_piece:
            return _sent(client, data)
        for start in range(0, len(data), 4096):
            time.sleep(self.seconds_a_piece)
            if not _sent(client, data[start : start + 4096]):
                return False
        return True

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _sent(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
    except OSError:
        return False
    return True


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
