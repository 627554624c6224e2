"""One POST to an address that somebody configured: bounded in time and size, and not into our own network.

The name is resolved once, every address it has is judged, and the connection goes to one that was judged: a
name that changes its mind between the look and the connection leads nowhere else. Redirects are not followed.
Proxies of the environment are not used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from django_callcache.exceptions import ChannelFailed

LONGEST_REPLY = 65_536
"""Bytes of a reply that are read."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout: float,
    allow_http: bool = False,
    allow_private: bool = False,
) -> None:
    """Send a body.

    Args:
        url: Where to.
        body: What.
        headers: Beside those that HTTP needs.
        timeout: Seconds for all of it, once the name is resolved.
        allow_http: Whether it may go without TLS.
        allow_private: Whether it may go to this machine or a private network.

    Raises:
        ChannelFailed: It was not taken; the message names the host, never the rest of the address.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_secure = parts.scheme == "https"
    if not host or not (is_secure or (allow_http and parts.scheme == "http")):
        raise ChannelFailed("The webhook's address is not one that is allowed: give one with https://.")
    try:
        port = parts.port or (443 if is_secure else 80)
    except ValueError:
        raise ChannelFailed("The webhook's address has a port that cannot be.") from None
    address = _resolve(host, port, allow_private)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        status = _exchange(host, port, address, path, body, headers, timeout, is_secure)
    except (OSError, http.client.HTTPException) as error:
        raise ChannelFailed(f"The webhook at {host} did not take it ({type(error).__name__}).") from None
    if not 200 <= status < 300:
        hint = ": redirects are not followed" if 300 <= status < 400 else ""
        raise ChannelFailed(f"The webhook at {host} answered with status {status}{hint}.")


def is_public(address: Address) -> bool:
    """Tell whether an address lies in the internet at large, also where another is packed into it."""
    if isinstance(address, ipaddress.IPv6Address):
        packed = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if packed is None and address in _NAT64:
            packed = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if packed is not None:
            return is_public(packed)
        if address.is_site_local:  # deprecated, and global in Python's eyes
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _resolve(host: str, port: int, allow_private: bool) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ChannelFailed(f"The webhook's host {host} has no address.") from None
    addresses = [str(each[4][0]) for each in found]
    if not allow_private and not all(is_public(ipaddress.ip_address(each)) for each in addresses):
        raise ChannelFailed(
            f"The webhook's host {host} lies on this machine or in a private network; nothing was sent. "
            "ALLOW_PRIVATE permits it."
        )
    return addresses[0]


def _exchange(
    host: str,
    port: int,
    address: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout: float,
    is_secure: bool,
) -> int:
    """Send and return the status, by a connection that is shut when the time is over."""
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    connection = kind(host, port, timeout=timeout)
    raw = socket.create_connection((address, port), timeout)
    # A peer that sends a byte now and then would never meet a socket's own timeout.
    alarm = threading.Timer(timeout, _shut, (raw,))
    alarm.daemon = True
    alarm.start()
    try:
        connection.sock = raw
        if is_secure:
            connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
        connection.request("POST", path, body, {"User-Agent": "django-callcache", **headers})
        response = connection.getresponse()
        response.read(LONGEST_REPLY)
        return response.status
    finally:
        alarm.cancel()
        connection.close()
        raw.close()


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
