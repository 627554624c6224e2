from __future__ import annotations

import pytest
from redis.connection import Connection

from django_callcache.cache import commands
from django_callcache.lua import Script

KEY = b"crm:1:na\xc3\xafve \r\n$3"
SCRIPT = Script("return {KEYS[1], ARGV[1]}")
PACKED = [
    (commands.get(KEY), ("GET", KEY)),
    (commands.set_(KEY, b"\x00\r\n", b""), ("SET", KEY, b"\x00\r\n")),
    (commands.set_(KEY, b"v", b"1500"), ("SET", KEY, b"v", "PX", 1500)),
    (commands.set_if(KEY, b"v", b"", b"NX"), ("SET", KEY, b"v", "NX")),
    (commands.set_if(KEY, b"v", b"7", b"XX"), ("SET", KEY, b"v", "XX", "PX", 7)),
    (commands.unlink(KEY), ("UNLINK", KEY)),
    (commands.exists(KEY), ("EXISTS", KEY)),
    (commands.pexpire(KEY, b"1"), ("PEXPIRE", KEY, 1)),
    (commands.of_keys(b"MGET", [KEY, b"", b"b"]), ("MGET", KEY, b"", b"b")),
    (
        commands.evalsha(SCRIPT, (KEY,), (b"", b"x")),
        ("EVALSHA", SCRIPT.sha1, 1, KEY, b"", b"x"),
    ),
    (commands.eval_(SCRIPT, (KEY,), (b"x",)), ("EVAL", SCRIPT.text, 1, KEY, b"x")),
    (commands.command("ZADD", KEY, 1.5, "ñ", -3, b""), ("ZADD", KEY, 1.5, "ñ", -3, b"")),
]


class TestCommands:
    @pytest.mark.parametrize(("packed", "parts"), PACKED, ids=[str(parts[0]) for _, parts in PACKED])
    def test_templates__same_bytes_as_redis_py(self, packed, parts):
        """A template packs a command as redis-py's own packer does, whatever bytes key and value have."""
        assert packed == b"".join(Connection().pack_command(*parts))


class TestAreSameTwice:
    @pytest.mark.parametrize(
        "packed",
        [
            (commands.set_(KEY, b"$3\r\nNX\r\n", b"1500"),),
            (commands.set_if(KEY, b"v", b"", b"XX"), commands.unlink(b"NX")),
            (commands.unlink(KEY), commands.drop_copy(KEY), commands.set_(b"NX", b"NX", b"")),
            (commands.pexpire(KEY, b"1"),),
            (commands.of_keys(b"UNLINK", [KEY, b"NX", b""]), commands.command("PUBLISH", "c", KEY)),
            (),
        ],
    )
    def test_are_same_twice(self, packed):
        """Plain writes and deletions leave the same when they are carried out twice."""
        assert commands.are_same_twice(b"".join(packed))

    @pytest.mark.parametrize(
        "packed",
        [
            commands.set_if(KEY, b"v", b"7", b"NX"),
            commands.set_if(KEY, b"v", b"", b"NX"),
            commands.command("INCRBY", KEY, 1),
            commands.evalsha(SCRIPT, (KEY,), (b"x",)),
            commands.eval_(SCRIPT, (KEY,), ()),
            commands.command("SPOP", KEY),
            commands.command("PERSIST", KEY),
        ],
    )
    def test_are_same_twice__others(self, packed):
        """What counts, asks a condition or runs a script is not, nor what goes along with it."""
        assert not commands.are_same_twice(packed)
        assert not commands.are_same_twice(commands.unlink(KEY) + packed + commands.get(KEY))
