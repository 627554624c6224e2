"""Redis servers that speak TLS, and certificates that vouch for themselves."""

from __future__ import annotations

import datetime
import ipaddress
import os
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from testproject.parts.child import free_port
from testproject.parts.redis_server import RedisServer
from tests.conftest import require

DAY = datetime.timedelta(days=1)


def certificate(directory, host, days=1):
    """Write a certificate of a host, good for some days from now on, and its key; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "redis.crt", directory / "redis.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[1].write_bytes(key.private_bytes(*private))
    return paths


def _general_name(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@contextmanager
def tls_server(trusted, key, **arguments):
    """Run a server that speaks TLS too; yield it and its port for that."""
    port = free_port()
    config = {
        "tls-port": str(port),
        "tls-cert-file": f'"{trusted}"',
        "tls-key-file": f'"{key}"',
        "tls-ca-cert-file": f'"{trusted}"',
        "tls-auth-clients": "no",
    }
    with RedisServer(program=program_with_tls(), config=config, **arguments) as server:
        yield server, port


@cache
def program_with_tls():
    """A server that was built with TLS; the first on PATH may be one that an environment brought along."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    for folder in filter(None, dict.fromkeys(folders)):
        program = Path(folder) / "redis-server"
        if os.access(program, os.X_OK):
            with RedisServer(program=program) as server, redis.Redis.from_url(server.url) as client:
                if client.config_get("tls-port"):
                    return program
    return require(
        "No Redis here was built with TLS. Install one that was: sudo apt-get install redis-server"
    )
