from __future__ import annotations

import builtins
import json

import pytest
from django.core.management import CommandError, call_command, load_command_class

from django_callcache.models import CacheOperation

COMMANDS = ("alerts", "clear", "doctor", "info", "keys", "monitor", "rules")


@pytest.fixture
def cache(make_cache):
    """A cache with some keys."""
    cache = make_cache()
    cache.set_many({f"call:{number}": "x" * number for number in range(30)}, 60)
    cache.set("page:[1]", 1, None)
    return cache


def output(capsys, command, *arguments, **options):
    """What a command prints."""
    call_command(f"callcache_{command}", *arguments, **options)
    return capsys.readouterr().out


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_help(self, name):
        """Every command says what it does, what its options mean and what its exit codes are."""
        parser = load_command_class("django_callcache", f"callcache_{name}").create_parser("manage.py", name)
        own = [action for action in parser._actions if action.help is None]
        assert own == []
        assert len(parser.description) > 100
        assert name == "rules" or "Exit codes: 0" in parser.description


class TestInfo:
    def test_info(self, cache, capsys):
        """The figures of all processes."""
        cache.get_many(["call:1", "nothing"])
        cache.flush_stats()
        facts = json.loads(output(capsys, "info", as_json=True))["default"]
        assert (facts["reads"], facts["hits"], facts["misses"], facts["hit_ratio"]) == (2, 1, 1, 0.5)
        assert facts["writes"] == 31
        assert facts["memory_bytes"] > 0
        assert "hit_ratio              0.5" in output(capsys, "info")

    def test_info__down(self, make_cache, start_redis, capsys):
        """With Redis down the command says so, with code 1."""
        server = start_redis()
        make_cache(server.url)
        server.stop()
        with pytest.raises(CommandError) as caught:
            output(capsys, "info")
        assert caught.value.returncode == 1


class TestKeys:
    def test_keys(self, cache, redis_client, capsys):
        """Keys that match, with life and size, and nobody else's."""
        redis_client.set("other", 1)
        lines = [json.loads(line) for line in output(capsys, "keys", "call:*", as_json=True).splitlines()]
        assert {line["key"] for line in lines} == {f"call:{number}" for number in range(30)}
        assert all(0 < line["ttl_seconds"] <= 60 and line["bytes"] > 20 for line in lines)
        assert output(capsys, "keys", "page:*").startswith("'page:[1]'  never ends  1 bytes")

    def test_keys__limit(self, cache, capsys):
        """It stops after some keys and says so."""
        call_command("callcache_keys", limit=7)
        shown = capsys.readouterr()
        assert len(shown.out.splitlines()) == 7
        assert "Stopped after 7 keys" in shown.err

    def test_keys__no_values(self, cache, capsys):
        """No value is shown."""
        assert "xxxx" not in output(capsys, "keys")

    def test_keys__down(self, make_cache, start_redis, capsys):
        """A cache that degrades is not taken for an empty one."""
        server = start_redis()
        make_cache(server.url)
        server.stop()
        with pytest.raises(CommandError, match="Redis failed") as caught:
            output(capsys, "keys")
        assert caught.value.returncode == 1


class TestMonitor:
    def test_monitor(self, cache, capsys):
        """What happened between two looks, a second."""
        command = load_command_class("django_callcache", "callcache_monitor")
        looks = iter((lambda: None, lambda: (cache.get_many(["call:1", "no"]), cache.flush_stats())))
        look = command._look

        def look_after_some_calls(asked):
            next(looks)()
            return look(asked)

        cache.flush_stats()
        command._look = look_after_some_calls
        call_command(command, interval=0.01, lines=1, as_json=True)
        facts = json.loads(capsys.readouterr().out)
        assert facts["reads"] > 0
        assert facts["hit_ratio"] == 0.5
        assert facts["read_p99"] > 0

    def test_monitor__nothing(self, cache, capsys):
        """Without calls there is nothing to divide by."""
        cache.flush_stats()
        assert output(capsys, "monitor", interval=0.01, lines=1).startswith("reads/s 0.0  hits - (near -)")


@pytest.mark.django_db
class TestClear:
    @pytest.mark.parametrize(
        ("options", "deleted"),
        [
            ({"prefix": "call:1"}, 11),
            ({"prefix": "page:["}, 1),
            ({"pattern": "call:?"}, 10),
            ({"pattern": "*"}, 31),
            ({"everything": True}, 31),
        ],
    )
    def test_clear(self, cache, capsys, redis_client, options, deleted):
        """What matches is deleted, a prefix taken literally; nobody else's keys are."""
        redis_client.set("other", 1)
        before = cache.count()
        assert output(capsys, "clear", yes=True, **options) == f"Deleted {deleted} keys.\n"
        assert cache.count() == before - deleted
        assert redis_client.get("other") == b"1"

    def test_clear__dry_run(self, cache, capsys):
        """A dry run counts and deletes nothing."""
        assert output(capsys, "clear", prefix="call:", dry_run=True) == "30 keys would be deleted.\n"
        assert cache.count() == 31

    @pytest.mark.parametrize(("answer", "left"), [("yes", 1), ("y", 31), ("", 31)])
    def test_clear__asks(self, cache, capsys, monkeypatch, answer, left):
        """It asks first; only yes is yes."""
        monkeypatch.setattr(builtins, "input", lambda question: answer)
        if left == 1:
            call_command("callcache_clear", prefix="call:")
        else:
            with pytest.raises(CommandError, match="Nothing was deleted") as caught:
                call_command("callcache_clear", prefix="call:")
            assert caught.value.returncode == 1
        assert cache.count() == left

    def test_clear__nobody_answers(self, cache, monkeypatch):
        """Where nobody can answer, nothing is deleted."""

        def nobody(question):
            raise EOFError

        monkeypatch.setattr(builtins, "input", nobody)
        with pytest.raises(CommandError, match="--yes") as caught:
            call_command("callcache_clear", everything=True)
        assert caught.value.returncode == 2
        assert cache.count() == 31

    def test_clear__empty_text(self, cache):
        """An empty prefix is not all."""
        with pytest.raises(CommandError, match="--all") as caught:
            call_command("callcache_clear", prefix="", yes=True)
        assert caught.value.returncode == 2
        assert cache.count() == 31

    def test_clear__tag(self, make_cache, capsys):
        """Entries of a tag are found no more."""
        cache = make_cache()
        cache.set("a", 1, tags=["t"])
        cache.set("b", 1)
        assert output(capsys, "clear", tag="t", yes=True) == "Dropped.\n"
        assert (cache.get("a"), cache.get("b")) == (None, 1)

    def test_clear__interrupted(self, cache, capsys, monkeypatch):
        """Interrupted, it says how far it came, and the same command goes on with the rest."""
        backend = type(cache)

        def interrupted(self, pattern, cursor):
            self.delete_pattern("call:1*")
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(backend, "delete_step", interrupted)
            with pytest.raises(CommandError, match="Interrupted after 0 keys; --operation"):
                call_command("callcache_clear", prefix="call:", yes=True)
        row = CacheOperation.objects.get()
        assert row.outcome == "stopped"
        assert output(capsys, "clear", operation=row.pk, yes=True) == "Deleted 19 keys.\n"
        assert CacheOperation.objects.get().outcome == "ok"

    def test_clear__down(self, make_cache, start_redis):
        """With Redis down it fails, with code 1."""
        server = start_redis()
        make_cache(server.url)
        server.stop()
        with pytest.raises(CommandError, match="Redis failed") as caught:
            call_command("callcache_clear", prefix="call:", yes=True)
        assert caught.value.returncode == 1
