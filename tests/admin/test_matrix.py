"""Who gets what: every address of ours, by everybody, asked and told. An address without a row fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLResolver, get_resolver, reverse

import django_callcache.admin
import django_callcache.urls
from django_callcache.admin.access import Power
from django_callcache.models import (
    CacheAlert,
    CacheOperation,
    CacheStat,
    CompressionDictionary,
    Dashboard,
    SyncConflict,
    SyncRejection,
    SyncRun,
)

pytestmark = pytest.mark.django_db

POWERS = tuple(power.rpartition(".")[2] for power in Power)
EVERYBODY = ("anonymous", "staff", *POWERS)
CALLS = {"alias": "default", "scope": "prefix", "text": "call:"}


class Row(NamedTuple):
    """What an address answers, by the one permission that its visitor has."""

    get: Mapping[str, int]
    post: Mapping[str, int]
    query: Mapping[str, str] = {}
    """Asked for by a GET."""
    data: Mapping[str, str] = {}
    """Told by a POST."""
    takes_token: bool = False
    """Whether a POST brings the token that a GET of the same address gave out."""
    arguments: tuple[str, ...] = ()
    """What stands in its address; left out, the number of a row."""
    others: int = 403
    """Status for staff with any other permission, or with none."""
    strangers: int = 302
    """Status for people who are not logged in: the way to the login."""

    def status(self, method: str, person: str) -> int:
        """What a person gets."""
        by_power = self.get if method == "get" else self.post
        return by_power.get(person, self.strangers if person == "anonymous" else self.others)


def to(*powers, status=200):
    """Statuses by permission."""
    return dict.fromkeys(powers, status)


def shows(power, *arguments, **query):
    """A page that is looked at and no more."""
    return Row(to(power), to("staff", *POWERS, status=405), query, arguments=arguments)


def rows_of(model, *powers):
    """The addresses that Django gives a model whose rows are looked at and no more."""
    return {
        f"{model}_changelist": Row(to(*powers), to(*powers, status=200)),
        f"{model}_add": Row({}, {}),
        f"{model}_history": Row(to(*powers), to(*powers)),
        f"{model}_delete": Row({}, {}, data={"post": "yes"}),
        f"{model}_change": Row(to(*powers), {}, data={"alias": "changed"}),
        # The address of a row without a page leads to its page, which then looks who comes.
        f"{model}_old": Row({}, {}, others=302),
    }


MATRIX = {
    "dashboard_changelist": shows("view_dashboard"),
    "figures": shows("view_dashboard"),
    "cache": shows("view_dashboard"),
    "prefixes": shows("view_dashboard"),
    "prefix": shows("view_dashboard", alias="default", prefix="call:"),
    "ttl": Row(
        to("change_ttl"), to("change_ttl", status=302), {"act": "pin", "alias": "default", "prefix": "call:"},
        {"act": "pin", "alias": "default", "prefix": "call:", "seconds": "30"},
    ),
    "server": shows("view_dashboard"),
    "keys": shows("view_keys", q="call"),
    "keys_data": shows("view_keys", "csv", q="call"),
    "data": shows("view_dashboard", "traffic", "json", period="7d"),
    # What is told there asks for a permission beside the one that opens the page: see TestTwo.
    "key": Row(
        to("view_keys"), {}, {"alias": "default", "key": "call:1"},
        {"alias": "default", "key": "call:1", "act": "show"},
    ),
    "clear": Row(
        to("delete_keys", "clear_cache"), to("delete_keys", status=302), CALLS, CALLS, takes_token=True
    ),
    "clear_keys": Row(
        to("delete_keys", status=302), to("delete_keys"), data={"alias": "default", "key": "call:1"}
    ),
    "cleared": Row(to("delete_keys", "clear_cache"), to("delete_keys", status=302), data={"act": "stop"}),
    "sync": Row(
        to("view_dashboard"), to("run_sync", status=302), data={"alias": "default", "act": "run"}
    ),
    "alerts": Row(
        to("view_dashboard"), to("manage_alerts", status=302),
        data={"alert": "1", "act": "acknowledge", "hours": "1"},
    ),
    **rows_of("cachestat", "view_dashboard"),
    **rows_of("syncrun", "view_dashboard"),
    **rows_of("compressiondictionary", "view_dashboard"),
    **rows_of("cachealert", "view_dashboard"),
    **rows_of("cacheoperation", "view_keys", "delete_keys", "clear_cache"),
    **rows_of("syncconflict", "view_keys"),
    **rows_of("syncrejection", "view_keys"),
    "metrics": Row(to("view_dashboard"), to(*EVERYBODY, status=405), others=401, strangers=401),
}  # fmt: skip

FAMILIES: dict[str, list[str]] = {}
"""The addresses of one model are tried together: to log ten people in takes longer than the rest."""
for name in MATRIX:
    FAMILIES.setdefault(name.partition("_")[0], []).append(name)


def addresses():
    """Name and pattern of every address of ours."""
    patterns = {}
    for model in django_callcache.admin.PAGES:
        for pattern in site.get_model_admin(model).get_urls():
            name = (pattern.name or f"{model._meta.model_name}_old").removeprefix("django_callcache_")
            patterns[name] = pattern
    return patterns | {pattern.name: pattern for pattern in django_callcache.urls.urlpatterns}


def routed(resolver, path=""):
    """Every route below a resolver, with its pattern."""
    for pattern in resolver.url_patterns:
        route = path + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routed(pattern, route)
        else:
            yield route, pattern


def address_of(name):
    """The address of a row of the matrix, of the first row of its model where it is about one."""
    if name == "metrics":
        return reverse("callcache:metrics")
    if name.endswith("_old"):
        return reverse(f"admin:django_callcache_{name.replace('_old', '_changelist')}") + "1/"
    pattern = addresses()[name].pattern
    arguments = MATRIX[name].arguments or [1] * len(pattern.converters)
    return reverse(f"admin:django_callcache_{name}", args=arguments)


@pytest.fixture
def rows(stats):
    """One row of each model, with the number that the addresses name."""
    CacheStat.objects.get_or_create(pk=1, defaults={"alias": "default", "hour": stats[0].hour})
    common = {"pk": 1, "alias": "default"}
    sealed = {"key": "1:call:1", "digest": "d", "redis_key": b"admintest:1:call:1"}
    SyncRun.objects.create(**common)
    CacheOperation.objects.create(
        **common, kind="clear", scope="prefix", pattern="call:", outcome="waiting", limit=100
    )
    CacheAlert.objects.create(**common, rule="degraded", state="firing", began_at=stats[0].hour)
    CompressionDictionary.objects.create(
        **common,
        prefix="call:",
        dictionary_id="1",
        record=b"",
        size=1,
        samples=1,
        bytes_before=2,
        bytes_after=1,
    )
    SyncRejection.objects.create(**common, **sealed, version=1, remote_version=0, payload=b"", reason="large")
    SyncConflict.objects.create(
        **common, **sealed, local_version=1, remote_version=1, remote_order=1, remote_origin="elsewhere"
    )


@pytest.fixture
def visit(make_user, cache, rows):
    """Log people in, one of each sort."""
    cache.set("call:1", {"id": 1})
    cache.flush_stats()
    clients = {}

    def as_person(person, *more):
        if person not in clients:
            clients[person] = Client()
            if person != "anonymous":
                codenames = () if person == "staff" else (person, *more)
                clients[person].force_login(make_user(*codenames))
        return clients[person]

    return as_person


def everything(redis_client):
    """All that Redis and the database hold, but for the signs of life of processes."""
    models = [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]
    return (
        {model._meta.db_table: sorted(map(repr, model._base_manager.values_list())) for model in models},
        {key: redis_client.dump(key) for key in redis_client.scan_iter() if not key.endswith(b":processes")},
    )


class TestMatrix:
    def test_complete(self):
        """Every address has its row, and every row its address."""
        assert set(addresses()) == set(MATRIX)

    def test_complete__whole_site(self):
        """Neither has the site, whatever it includes, another address below ours, nor one twice."""
        named = [
            (pattern.name or f"{path.split('/')[2]}_old").removeprefix("django_callcache_")
            for path, pattern in routed(get_resolver())
            if path.startswith(("admin/django_callcache/", "callcache/"))
        ]
        assert sorted(named) == sorted(MATRIX)

    def test_complete__permissions(self):
        """Each of the eight permissions that the pages know has its visitor."""
        assert set(POWERS) == {codename for codename, _ in Dashboard._meta.permissions}
        assert len(EVERYBODY) == 2 + 8

    @pytest.mark.parametrize("family", FAMILIES)
    def test_family(self, visit, page, redis_client, family):
        """Who asks gets the page or a refusal and changes nothing by it; who tells is obeyed or refused."""
        clients = {person: visit(person) for person in EVERYBODY}
        before = everything(redis_client)
        for name in FAMILIES[family]:
            row, url = MATRIX[name], address_of(name)
            given = {person: clients[person].get(url, row.query).status_code for person in EVERYBODY}
            assert given == {person: row.status("get", person) for person in EVERYBODY}, name
        assert everything(redis_client) == before
        for name in FAMILIES[family]:
            row, url, given = MATRIX[name], address_of(name), {}
            for person, client in clients.items():
                data = dict(row.data)
                if row.takes_token:
                    data["token"] = page(client.get(url, row.query)).inputs.get("token", "")
                given[person] = client.post(url, data).status_code
            assert given == {person: row.status("post", person) for person in EVERYBODY}, name

    @pytest.mark.parametrize("family", FAMILIES)
    def test_post__without_csrf_token(self, boss, rows, redis_client, family):
        """What another site's form tells is refused, known or not who sends it, and nothing has changed."""
        stranger, client = Client(enforce_csrf_checks=True), Client(enforce_csrf_checks=True)
        client.force_login(boss)
        before = everything(redis_client)
        for name in FAMILIES[family]:
            assert client.post(address_of(name), MATRIX[name].data).status_code == 403, name
            assert stranger.post(address_of(name), MATRIX[name].data).status_code == 403, name
        assert everything(redis_client) == before


class TestTwo:
    @pytest.mark.parametrize(
        ("other", "data", "status"),
        [
            ("view_values", {"act": "show"}, 200),
            ("view_values", {"act": "retime", "seconds": "30"}, 403),
            ("change_ttl", {"act": "retime", "seconds": "30"}, 302),
            ("change_ttl", {"act": "show"}, 403),
            ("view_dashboard", {"act": "show"}, 403),
            ("clear_cache", {"act": "retime", "seconds": "30"}, 403),
        ],
    )
    def test_key(self, visit, other, data, status):
        """Values and times of keys ask for a permission beside the one to see keys."""
        client = visit("view_keys", other)
        sent = {"alias": "default", "key": "call:1", **data}
        assert client.post(address_of("key"), sent).status_code == status

    def test_clear_cache__needs_no_other(self, visit, page):
        """Who may clear a whole cache does so without the permission to delete keys."""
        client, scope = visit("clear_cache"), {"alias": "default", "scope": "alias", "text": ""}
        token = page(client.get(address_of("clear"), scope)).inputs["token"]
        confirmed = scope | {"token": token, "typed": "default"}
        assert client.post(address_of("clear"), confirmed).status_code == 302


class TestReadOnly:
    @pytest.mark.parametrize("name", ["key", "clear", "sync", "alerts", "ttl"])
    def test_post(self, client, boss, rows, redis_client, settings, name):
        """With the read-only switch on nobody changes a cache."""
        settings.CALLCACHE = {"ADMIN": {"READ_ONLY": True}}
        client.force_login(boss)
        data = dict(MATRIX[name].data) | ({"act": "retime", "seconds": "30"} if name == "key" else {})
        before = everything(redis_client)[1]
        assert client.post(address_of(name), data).status_code == 403
        assert everything(redis_client)[1] == before
        assert CacheAlert.objects.get().state == CacheAlert.State.FIRING


ACTS = {
    "clear": ("clear", CALLS | {"takes": "token"}, "call:"),
    "clear keys": ("clear_keys", {"alias": "default", "key": "call:1", "takes": "token"}, "call:1"),
    "stop": ("cleared", {"act": "stop"}, "call:"),
    "show": ("key", {"alias": "default", "key": "call:1", "act": "show"}, "call:1"),
    "retime": ("key", {"alias": "default", "key": "call:1", "act": "retime", "seconds": "30"}, "call:1"),
    "acknowledge": ("alerts", {"alert": "1", "act": "acknowledge", "hours": "1"}, "degraded"),
    "silence": ("alerts", {"alert": "1", "act": "silence", "hours": "1"}, "degraded"),
    "resume": ("cleared", {"act": "resume"}, "call:"),
    "try": ("alerts", {"act": "try", "channel": "log"}, "log"),
    "pin": ("ttl", {"alias": "default", "act": "pin", "prefix": "call:", "seconds": "30"}, "call:"),
    "unpin": ("ttl", {"alias": "default", "act": "unpin", "prefix": "call:"}, "call:"),
    "pause TTLs": ("ttl", {"alias": "default", "act": "pause"}, ""),
    "end a pause of TTLs": ("ttl", {"alias": "default", "act": "resume"}, ""),
    "run": ("sync", {"alias": "default", "act": "run"}, ""),
    "dry run": ("sync", {"alias": "default", "act": "dry_run"}, ""),
    "pause": ("sync", {"alias": "default", "act": "pause", "reason": "why"}, ""),
    "end a pause": ("sync", {"alias": "default", "act": "resume"}, ""),
    "keep local": ("sync", {"alias": "default", "act": "keep_local", "id": "1"}, "1:call:1"),
    "keep remote": ("sync", {"alias": "default", "act": "keep_remote", "id": "1"}, "1:call:1"),
    "requeue": ("sync", {"alias": "default", "act": "requeue", "id": "1"}, "1:call:1"),
    "discard": ("sync", {"alias": "default", "act": "discard", "id": "1"}, "1:call:1"),
}
"""Everything that a person can do: where, by which words, and to what."""

INVALID = {
    "clear": ("clear", {"alias": "default", "scope": "prefix", "text": ""}),
    "retime": ("key", {"alias": "default", "key": "call:1", "act": "retime", "seconds": "soon"}),
    "silence": ("alerts", {"alert": "1", "act": "silence", "hours": "25"}),
    "try": ("alerts", {"act": "try", "channel": "nothing"}),
    "sync": ("sync", {"alias": "default", "act": "explode"}),
    "pin": ("ttl", {"alias": "default", "act": "pin", "prefix": "call:", "seconds": "0"}),
}
"""What forms refuse."""


class TestTrail:
    @pytest.fixture
    def act(self, client, boss, rows, cache, page):
        """Do one of them."""
        cache.set("call:1", {"id": 1})
        client.force_login(boss)

        def do(name):
            place, data, _ = ACTS[name]
            data = dict(data)
            if data.pop("takes", ""):
                ask = client.get if place == "clear" else client.post
                data["token"] = page(ask(address_of(place), data)).inputs.get("token", "")
            before = set(CacheOperation.objects.values_list("pk", flat=True))
            client.post(address_of(place), data)
            entry = LogEntry.objects.get()
            (operation,) = CacheOperation.objects.exclude(pk__in=before)
            assert (entry.user, entry.object_id) == (boss, str(operation.pk))
            assert operation.username == "boss"
            assert entry.change_message == f"{operation.get_outcome_display()}, {operation.deleted}"
            return operation

        return do

    @pytest.mark.parametrize("name", ACTS)
    def test_one_entry(self, act, name):
        """Whatever somebody does leaves one entry in the admin's log, with who, to what and how much."""
        operation = act(name)
        assert operation.pattern == ACTS[name][2]
        assert operation.deleted == (1 if name.startswith("clear") else 0)

    @pytest.mark.parametrize("name", ACTS)
    def test_one_entry__without_redis(self, act, name, settings):
        """So does what fails, or what needs no Redis to be done."""
        settings.CACHES = {
            "default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"},
        }
        assert act(name).outcome != CacheOperation.Outcome.RUNNING


class TestTrailOfRefusals:
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            *((name, "permission") for name in ACTS),
            *((name, "read_only") for name in ACTS if name != "show"),  # to look changes nothing
        ],
    )
    def test_one_entry(self, client, boss, make_user, rows, settings, name, why):
        """What somebody wanted and may not do leaves one entry too, with who and to what; asking, none."""
        if why == "read_only":
            settings.CALLCACHE = {"ADMIN": {"READ_ONLY": True}}
        person = boss if why == "read_only" else make_user()
        client.force_login(person)
        place, data, pattern = ACTS[name]
        data = {name: text for name, text in data.items() if name != "takes"}
        before = set(CacheOperation.objects.values_list("pk", flat=True))
        client.get(address_of(place), data)
        assert set(CacheOperation.objects.values_list("pk", flat=True)) == before
        assert client.post(address_of(place), data).status_code == 403
        entry = LogEntry.objects.get()
        (operation,) = CacheOperation.objects.exclude(pk__in=before)
        assert (entry.user, entry.object_id) == (person, str(operation.pk))
        of_no_cache = name == "try"
        assert (operation.username, operation.alias) == (person.username, "" if of_no_cache else "default")
        assert operation.pattern == ("#1" if "id" in data else pattern)
        assert (operation.outcome, operation.error_class) == (CacheOperation.Outcome.REFUSED, why)

    @pytest.mark.parametrize("name", INVALID)
    def test_invalid(self, client, boss, rows, redis_client, name):
        """What a form refuses for its input leaves one entry as well, and nothing else."""
        client.force_login(boss)
        place, data = INVALID[name]
        before = set(CacheOperation.objects.values_list("pk", flat=True))
        kept = everything(redis_client)[1]
        assert client.post(address_of(place), data).status_code in {302, 400}
        (operation,) = CacheOperation.objects.exclude(pk__in=before)
        assert (operation.outcome, operation.error_class) == (CacheOperation.Outcome.REFUSED, "invalid")
        assert LogEntry.objects.get().object_id == str(operation.pk)
        assert everything(redis_client)[1] == kept

    @pytest.mark.parametrize("place", ["clear", "clear_keys", "cleared", "key", "sync", "alerts", "ttl"])
    def test_nonsense(self, client, make_user, db, place):
        """What no form of ours sends leaves an entry as well, cut to what the audit holds."""
        client.force_login(make_user())
        nonsense = dict.fromkeys(
            ("alias", "scope", "text", "key", "act", "id", "note", "alert", "prefix", "reason"), "\0x" * 2000
        )
        assert client.post(address_of(place), nonsense).status_code == 403
        operation = CacheOperation.objects.get()
        assert operation.outcome == CacheOperation.Outcome.REFUSED
        assert "\0" not in operation.alias + operation.pattern + operation.reason
        assert operation.full_clean(exclude=("alias",)) is None


class TestLargeNumbers:
    @pytest.mark.parametrize("language", ["en", "es"])
    def test_forms(self, client, boss, rows, settings, language):
        """Forms name rows by plain digits, however the site groups the numbers that people read."""
        settings.USE_THOUSAND_SEPARATOR = True
        settings.LANGUAGE_CODE = language
        for model in (SyncConflict, SyncRejection, CacheAlert):
            model.objects.update(id=1234567)
        client.force_login(boss)
        for place, fields in (("sync", 2), ("alerts", 1)):
            html = client.get(address_of(place)).content.decode()
            assert html.count('value="1234567"') >= fields


class TestQueries:
    @pytest.mark.parametrize("name", [name for name in MATRIX if 200 in MATRIX[name].get.values()])
    def test_at_most_eight(self, client, boss, cache, rows, name):
        """No page with data takes more than eight queries, session and user included."""
        cache.set("call:1", {"id": 1})
        client.force_login(boss)
        url = address_of(name)
        client.get(url, MATRIX[name].query)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url, MATRIX[name].query).status_code == 200
        assert len(queries) <= 8, [query["sql"][:150] for query in queries]
