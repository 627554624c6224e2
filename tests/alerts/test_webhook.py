from __future__ import annotations

import ipaddress
import socket
import threading
import time

import pytest

from django_callcache.alerts.webhook import is_public, post
from django_callcache.exceptions import ChannelFailed
from testproject.parts.child import LOOPBACK

OPEN = {"timeout": 10, "allow_http": True, "allow_private": True}


class TestPost:
    def test_post__arrives(self, hook):
        """The body arrives with its headers at the address's path and query."""
        post(f"{hook.url}?x=1", b"{}", {"X-One": "1"}, **OPEN)
        ((path, headers, body),) = hook.requests
        assert (path, headers["X-One"], body) == ("/services/a-secret-path?x=1", "1", b"{}")
        assert headers["Host"] == hook.url.split("/")[2]

    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "localhost", "LOCALHOST.", "127.1", "2130706433", "0x7f000001", "017700000001"),
            *("0", "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::1]", "[::]"),  # noqa: S104
            *("127.0.0.1%2f", "93.184.216.34@127.0.0.1", "127.0.0.1\t", socket.gethostname()),
        ],
    )
    def test_post__private(self, hook, host):
        """Nothing is sent to this machine unless that is permitted, however the address is written."""
        url = f"http://{host}:{hook.server.server_port}/"
        with pytest.raises(ChannelFailed, match=r"lies on this machine|has no address"):
            post(url, b"{}", {}, timeout=10, allow_http=True)
        assert hook.requests == []

    def test_post__name_of_both_kinds(self, hook, monkeypatch):
        """A name with one address out there and one in here is refused."""
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
            for address in ("93.184.216.34", "127.0.0.1")
        ]
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)
            with pytest.raises(ChannelFailed, match="lies on this machine"):
                post("http://rebinding.example/", b"", {}, timeout=10, allow_http=True)

    def test_post__address_judged_is_the_one_used(self, hook, monkeypatch):
        """A name is asked for its address once: a second answer could lead elsewhere."""
        port = hook.server.server_port
        asked = []

        def answer(host, *args, **kwargs):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port))]

        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", answer)
            post(f"http://hooks.example:{port}/x", b"{}", {}, **OPEN)
        assert asked.count("hooks.example") == 1
        assert [path for path, _, _ in hook.requests] == ["/x"]

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_post__redirect(self, hook, status):
        """Redirects are not followed."""
        hook.status, hook.location = status, "http://169.254.169.254/latest/meta-data"
        with pytest.raises(ChannelFailed, match=f"status {status}: redirects are not followed"):
            post(hook.url, b"{}", {}, **OPEN)
        assert len(hook.requests) == 1

    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    def test_post__refused(self, hook, status):
        """An answer that is no success is a failure; the message has no secret."""
        hook.status = status
        with pytest.raises(ChannelFailed, match=f"status {status}") as caught:
            post(hook.url, b"{}", {}, **OPEN)
        assert "a-secret-path" not in str(caught.value)

    @pytest.mark.parametrize(
        "url", ["http://a.example/", "ftp://a.example/", "file:///etc/passwd", "https://", ""]
    )
    def test_post__scheme(self, url):
        """Only https is taken, unless http is permitted."""
        with pytest.raises(ChannelFailed, match="https://"):
            post(url, b"", {}, timeout=10)

    def test_post__nobody_there(self):
        """A host that does not answer is a failure that names it."""
        with pytest.raises(ChannelFailed, match=r"127\.0\.0\.1 did not take it"):
            post(f"http://{LOOPBACK}:1/", b"", {}, **OPEN)

    def test_post__drips(self):
        """A peer that sends a byte now and then does not hold us beyond the time."""
        listener = socket.create_server((LOOPBACK, 0))
        done = threading.Event()

        def drip():
            peer, _ = listener.accept()
            with peer:
                while not done.wait(0.05):
                    try:
                        peer.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        try:
            with pytest.raises(ChannelFailed):
                post(f"http://{LOOPBACK}:{listener.getsockname()[1]}/", b"", {}, **{**OPEN, "timeout": 0.5})
        finally:
            done.set()
            thread.join()
            listener.close()
        assert time.monotonic() - began < 30

    def test_post__not_tls(self, hook):
        """A server that does not speak TLS, or has no valid certificate, is not talked to."""
        with pytest.raises(ChannelFailed, match="SSL"):
            post(hook.url.replace("http://", "https://"), b"{}", {}, timeout=10, allow_private=True)
        assert hook.requests == []


class TestIsPublic:
    @pytest.mark.parametrize(
        "address",
        [
            *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
            *(
                "0.0.0.0",  # noqa: S104
                "224.0.0.1",
                "255.255.255.255",
                "192.0.2.1",
                "240.0.0.1",
            ),
            *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1"),
            *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::"),
        ],
    )
    def test_address__ours(self, address):
        """Private, loopback, link-local, reserved and multicast addresses, also packed into others."""
        assert not is_public(ipaddress.ip_address(address))

    @pytest.mark.parametrize(
        "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
    )
    def test_address__public(self, address):
        """Addresses of the internet."""
        assert is_public(ipaddress.ip_address(address))
