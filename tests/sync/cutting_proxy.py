"""A TCP proxy that cuts a connection in the middle of a request."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

CHUNK = 1024


class CuttingProxy:
    """Passes bytes on to a server, up to a number of them in all; then calls back and passes nothing more.

    Args:
        port: Where the server listens.
        cut_after: Bytes towards the server that still pass; None: all.
        on_cut: Called once, while the rest of the request waits.
    """

    def __init__(self, port: int, *, cut_after: int | None, on_cut: Callable[[], object]) -> None:
        self.server = port
        self._left = cut_after
        self._on_cut = on_cut
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Cut everything and end."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self._sockets):
            _end(one)
        for thread in list(self._threads):
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server))
                self._sockets += [client, server]
                for arguments in ((client, server, True), (server, client, False)):
                    thread = threading.Thread(target=self._pass_on, args=arguments)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, towards_server: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK):
                if towards_server and self._is_cut(len(chunk)):
                    break
                target.sendall(chunk)
        _end(source)
        _end(target)

    def _is_cut(self, size: int) -> bool:
        with self._lock:
            if self._left is None:
                return False
            self._left -= size
            if self._left > 0:
                return False
            on_cut, self._on_cut = self._on_cut, lambda: None
        on_cut()
        return True


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
