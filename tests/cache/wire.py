"""A TCP proxy between caches and Redis that tells the invalidation link from other connections."""

from __future__ import annotations

import socket
import threading

LISTENER = (b"BCAST", b"SUBSCRIBE", b"$4\r\nLIST")
"""What only the connections of a link say: the listener, and the one that looks after tracked ones."""


class Wire:
    """Forwards to a server; what comes back can be held, swallowed or cut, the link's and the rest apart.

    Args:
        host: Of the server.
        port: Of the server.
    """

    def __init__(self, host, port):
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs = []
        self._links = set()
        self.replies = threading.Event()
        """Set while replies to others than the link may pass."""
        self.replies.set()
        self.held = threading.Semaphore(0)
        """Released for each reply that is held."""
        self.is_link_silent = False
        self.are_all_silent = False
        self.hides_ends = False
        """Whether clients are not told that the server has closed their connections, links apart."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection
        self._listener.close()
        self.replies.set()
        self.cut(links=True)
        self.cut(links=False)

    @property
    def url(self):
        """Address as a cache's ``LOCATION``."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self, *, links):
        """End all connections of one sort; return how many there were."""
        with self._lock:
            chosen = [pair for pair in self._pairs if (pair in self._links) == links]
            self._pairs = [pair for pair in self._pairs if pair not in chosen]
        for pair in chosen:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
        return len(chosen)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = client, server
            with self._lock:
                self._pairs.append(pair)
            threading.Thread(target=self._forward, args=(pair,), daemon=True).start()

    def _forward(self, pair):
        """Work until both directions have ended."""
        answering = threading.Thread(target=self._answer, args=(pair,), daemon=True)
        answering.start()
        self._ask(pair)
        answering.join()
        for end in pair:
            end.close()

    def _ask(self, pair):
        client, server = pair
        try:
            while data := client.recv(65536):
                if any(word in data for word in LISTENER):
                    self._links.add(pair)
                server.sendall(data)
        except OSError:
            pass
        finally:
            self._end(pair)

    def _answer(self, pair):
        client, server = pair
        try:
            while data := server.recv(65536):
                if self.are_all_silent or (self.is_link_silent and pair in self._links):
                    continue
                if not self.replies.is_set() and pair not in self._links:
                    self.held.release()
                    self.replies.wait()
                client.sendall(data)
        except OSError:
            pass
        finally:
            if not self.hides_ends or pair in self._links:
                self._end(pair)

    def _end(self, pair):
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        with self._lock:
            if pair in self._pairs:
                self._pairs.remove(pair)
            self._links.discard(pair)
