"""The search for keys and the page of one key, with hostile names and values."""

from __future__ import annotations

import pickle

import pytest
from django.core.cache import caches

from django_callcache.admin import browsing, inspection
from django_callcache.cache.value_keys import escape_glob
from django_callcache.models import CacheOperation
from tests.admin.conftest import DEFAULT

pytestmark = pytest.mark.django_db

KEYS = "/admin/django_callcache/dashboard/keys/"
KEY = "/admin/django_callcache/dashboard/key/"
HOSTILE = ["a[b]", "a*b", "a?b", "back\\slash", "<img src=x onerror=alert(1)>", "ключ:1", "tab\tkey"]


class TestSearch:
    def test_glob_of__plain_text(self):
        """Plain text is looked for anywhere, whatever signs it has; wildcards make a pattern."""
        assert browsing.glob_of("call") == "*call*"
        assert browsing.glob_of("back\\slash") == "*back\\\\slash*"
        assert browsing.glob_of("call:*") == "call:*"

    @pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")
    def test_search__hostile_names(self, cache):
        """Every key is found by its own name and shown as it was written."""
        for key in HOSTILE:
            cache.set(key, 1)
        for key in HOSTILE:
            assert browsing.look_up(cache, key).key == key
            assert [line.key for line in browsing.search(cache, escape_glob(key)).lines] == [key]

    def test_search__only_its_own(self, cache, redis_client):
        """Neither other applications' keys nor internal ones are found."""
        cache.set("call:1", 1, 60)
        redis_client.set("foreign:call:1", 1)
        redis_client.set(cache.redis_keys.origin(), "x")
        found = browsing.search(cache, "*")
        assert [line.key for line in found.lines] == ["call:1"]
        assert found.cursor == 0
        assert 0 < found.lines[0].ttl_seconds <= 60
        assert found.lines[0].size > 0
        assert found.refused == ()

    def test_search__pages(self, cache):
        """A page ends when it is full; continued by its cursor, every key is found, each at least once."""
        keys = {f"call:{number}" for number in range(1000)}
        cache.set_many(dict.fromkeys(keys, 1))
        seen, pages, cursor = set(), 0, 0
        while True:
            found = browsing.search(cache, "call:*", cursor)
            assert len(found.lines) < 3 * browsing.PAGE
            seen |= {line.key for line in found.lines}
            pages, cursor = pages + 1, found.cursor
            if not cursor:
                break
        assert seen == keys
        assert pages > 3

    def test_search__budget(self, cache):
        """A search without matches stops after its budget and says how far it came."""
        cache.set_many({f"call:{number}": 1 for number in range(3000)})
        times = iter(range(100))
        found = browsing.search(cache, "nothing", clock=lambda: next(times))
        assert found.lines == ()
        assert found.cursor
        assert 0 < found.looked_at < found.total

    def test_search__denied(self, cache):
        """Keys that the site denies are counted and neither shown nor looked up."""
        cache.set("user:password:1", 1)
        found = browsing.search(cache, "*")
        assert (found.lines, found.hidden) == ((), 1)
        assert browsing.look_up(cache, "user:password:1") is None

    def test_search__command_refused(self, cache, redis_place, redis_client, settings):
        """A column that the server's access list refuses is empty, and the page says which command."""
        redis_client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@all", "-memory")
        try:
            location = f"redis://reader:pw@{redis_place}"
            settings.CACHES = {"default": {**DEFAULT, "LOCATION": location}}
            caches["default"].set("call:1", 1)
            found = browsing.search(caches["default"], "*")
        finally:
            redis_client.execute_command("ACL", "DELUSER", "reader")
        assert [line.key for line in found.lines] == ["call:1"]
        assert found.lines[0].size is None
        assert found.refused == ("MEMORY USAGE",)


class TestPages:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, boss):
        client.force_login(boss)

    def test_keys__hot(self, client, stats):
        """Before any search the most read keys come from the rows, without denied ones and harmless."""
        response = client.get(KEYS)
        assert [hot.key for hot in response.context["hot_keys"]] == ["<img src=x onerror=alert(1)>"] * 2
        assert "<img src=x" not in response.content.decode()

    def test_keys__found(self, client, cache, page):
        """A search lists what it found, with a link to each, and a browser finds nothing to refuse."""
        cache.set("call:<b>", 1)
        response = client.get(KEYS, {"q": "call:<b"})
        assert "call%3A%3Cb%3E" in response.content.decode()
        assert "call:<b>" not in response.content.decode()
        assert page(response).refused == []

    @pytest.mark.parametrize("cursor", ["", "x", "-1", "9" * 30, "٣"])
    def test_keys__odd_cursor(self, client, cache, cursor):
        """Nonsense for a cursor is a search from the beginning."""
        cache.set("call:1", 1)
        found = client.get(KEYS, {"q": "call", "cursor": cursor}).context["found"]
        assert [line.key for line in found.lines] == ["call:1"]

    def test_keys__redis_down(self, client, settings):
        """With Redis down the page says so, without the password."""
        settings.CACHES = {"default": {**DEFAULT, "LOCATION": "redis://:hush@127.0.0.1:1/0"}}
        response = client.get(KEYS, {"q": "call"})
        assert response.status_code == 200
        assert "Redis does not answer" in response.content.decode()
        assert "hush" not in response.content.decode()

    def test_key__facts(self, client, cache):
        """One key's page tells type, size, encoding and time to live."""
        cache.set("call:1", {"note": "x" * 5000}, 60)
        facts = client.get(KEY, {"alias": "default", "key": "call:1"}).context["facts"]
        assert (facts.kind, facts.encoding, facts.is_compressed) == ("string", "pickle", True)
        assert facts.raw_bytes > 5000 > facts.stored_bytes
        assert 0 < facts.ttl_seconds <= 60
        assert facts.prefix == "call:"
        assert facts.decision.ttl_seconds == 60

    def test_key__gone(self, client):
        """A key that is not there is a 404 inside the admin."""
        assert client.get(KEY, {"alias": "default", "key": "call:1"}).status_code == 404

    def test_key__denied(self, client, cache):
        """A denied key has no page."""
        cache.set("my:token:1", 1)
        assert client.get(KEY, {"alias": "default", "key": "my:token:1"}).status_code == 403

    def test_get__changes_nothing(self, client, cache):
        """Looking at pages shows no value and leaves no operation."""
        cache.set("call:1", "a secret")
        response = client.get(KEY, {"alias": "default", "key": "call:1", "act": "show"})
        assert "a secret" not in response.content.decode()
        assert CacheOperation.objects.count() == 0

    def test_show__audited(self, client, cache):
        """Showing a value leaves an operation that says who saw which key."""
        cache.set("call:1", "the <b>value</b>")
        response = client.post(KEY, {"alias": "default", "key": "call:1", "act": "show"})
        assert "the &lt;b&gt;value" in response.content.decode()
        operation = CacheOperation.objects.get()
        assert (operation.kind, operation.pattern, operation.outcome) == ("view", "call:1", "ok")

    def test_retime(self, client, cache):
        """A key gets another time to live, or none, and both are recorded."""
        cache.set("call:1", 1, 60)
        asked = {"alias": "default", "key": "call:1", "act": "retime"}
        assert client.post(KEY, asked | {"seconds": "500"}).status_code == 302
        assert 490 < cache.ttl("call:1") <= 500
        client.post(KEY, asked | {"seconds": ""})
        assert cache.ttl("call:1") is None
        assert [each.outcome for each in CacheOperation.objects.filter(kind="ttl")] == ["ok", "ok"]

    @pytest.mark.parametrize("seconds", ["0", "-5", "nan", "inf", "x", "1e300"])
    def test_retime__nonsense(self, client, cache, seconds):
        """A time that cannot be is refused and nothing is changed."""
        cache.set("call:1", 1, 60)
        asked = {"alias": "default", "key": "call:1", "act": "retime", "seconds": seconds}
        response = client.post(KEY, asked)
        assert response.status_code == 400
        assert response.context["form"].errors["seconds"]
        assert 50 < cache.ttl("call:1") <= 60

    def test_retime__gone(self, client):
        """A key that expired meanwhile is reported, not made."""
        asked = {"alias": "default", "key": "call:1", "act": "retime", "seconds": "5"}
        client.post(KEY, asked)
        assert CacheOperation.objects.get().outcome == "failed"

    @pytest.mark.parametrize(
        ("codenames", "act", "status"),
        [
            (["view_keys"], "show", 403),
            (["view_keys"], "retime", 403),
            (["view_values"], "show", 403),
            (["view_keys", "view_values"], "show", 200),
            (["view_keys", "change_ttl"], "show", 403),
            (["view_keys", "change_ttl"], "retime", 302),
        ],
    )
    def test_post__permissions(self, client, make_user, cache, codenames, act, status):
        """Each act asks for its own permission beside that to see keys."""
        cache.set("call:1", 1, 60)
        client.force_login(make_user(*codenames))
        asked = {"alias": "default", "key": "call:1", "act": act, "seconds": "100"}
        assert client.post(KEY, asked).status_code == status

    def test_read_only(self, client, cache, settings):
        """In read-only mode times to live stay."""
        settings.CALLCACHE = {"ADMIN": {"READ_ONLY": True}}
        cache.set("call:1", 1, 60)
        asked = {"alias": "default", "key": "call:1", "act": "retime", "seconds": "100"}
        assert client.post(KEY, asked).status_code == 403
        assert cache.ttl("call:1") <= 60


class Bomb:
    """Tells when it is loaded."""

    exploded = False

    def __reduce__(self):
        return explode, ("the fuse",)


def explode(_):
    Bomb.exploded = True


class TestShow:
    @pytest.mark.parametrize("serializer", ["msgpack", "json"])
    def test_show__plain(self, settings, redis_url, serializer):
        """What was written as msgpack or JSON is shown as JSON."""
        options = {"CALLCACHE": {"SERIALIZER": serializer}}
        settings.CACHES = {"default": {**DEFAULT, "LOCATION": redis_url, "OPTIONS": options}}
        caches["default"].set("call:1", {"name": "Ana", "calls": [1, 2]})
        shown = inspection.show(caches["default"], "call:1")
        assert shown.form == "text"
        assert '"Ana"' in shown.text

    def test_show__integer(self, cache):
        """An integer is shown as it is."""
        cache.set("call:1", -5)
        assert inspection.show(cache, "call:1").text == "-5"

    def test_show__pickle_is_not_loaded(self, cache):
        """A pickle is read by its opcodes; nothing in it runs unless the site says so."""
        Bomb.exploded = False
        cache.set("call:1", {"name": "Ana", "bomb": Bomb()})
        shown = inspection.show(cache, "call:1")
        assert shown.form == "names"
        assert "Ana" in shown.text
        assert "explode" in shown.text
        assert not Bomb.exploded

    def test_show__full(self, cache, settings):
        """With "full" a pickle is loaded and written out."""
        settings.CALLCACHE = {"ADMIN": {"VALUE_DECODE": "full"}}
        cache.set("call:1", {"name": "Ana", "at": (1, 2)})
        assert '"Ana"' in inspection.show(caches["default"], "call:1").text

    def test_show__forged(self, cache, redis_client, settings):
        """A value without a valid seal is not loaded, even with "full"."""
        settings.CALLCACHE = {"ADMIN": {"VALUE_DECODE": "full"}}
        Bomb.exploded = False
        redis_client.set("admintest:1:call:1", pickle.dumps(Bomb(), 5))
        assert inspection.show(caches["default"], "call:1").form == "undecodable"
        assert not Bomb.exploded

    def test_show__large(self, cache):
        """Of a large value the beginning is shown, and that there is more."""
        cache.set("call:1", "x" * 200_000)
        shown = inspection.show(cache, "call:1")
        assert shown.is_cut
        assert len(shown.text) <= inspection.SHOWN_BYTES

    @pytest.mark.parametrize("write", ["lpush", "sadd", "hset", "zadd"])
    def test_show__collections(self, cache, redis_client, write):
        """Of a collection the first items are shown."""
        arguments = {"hset": ("field", "v"), "zadd": ({"v": 1},)}.get(write, ("v",))
        getattr(redis_client, write)("admintest:1:call:1", *arguments)
        shown = inspection.show(cache, "call:1")
        assert shown.form == "items"
        assert "v" in shown.text
        assert inspection.facts_of(cache, "call:1").encoding == ""
