"""The way to clear a cache: preview, confirmation, deed and trace."""

from __future__ import annotations

import logging
from types import MappingProxyType
from urllib.parse import urlencode

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.core import signing
from django.core.cache import caches
from django.test import Client

from django_callcache import clearing as deletion
from django_callcache.admin import clear_pages, clearing, scan
from django_callcache.admin.clearing import preview
from django_callcache.clearing import Target
from django_callcache.maintenance import run_once
from django_callcache.models import CacheOperation
from django_callcache.sync.memory import MemoryStore

pytestmark = pytest.mark.django_db

CLEAR = "/admin/django_callcache/dashboard/clear/"
CALLS = {"alias": "default", "scope": "prefix", "text": "call:"}
ALL = {"alias": "default", "scope": "alias", "text": ""}


@pytest.fixture
def filled(cache):
    """Forty calls, a contact of a hostile name, a session."""
    cache.set_many({f"call:{number}": number for number in range(40)})
    cache.set('contact:"><svg/onload=alert(1)>', 1)
    cache.set("django.contrib.sessions.cache:abc", 1)
    return cache


@pytest.fixture
def attempt(client, page):
    """Preview a scope, then confirm it with what the preview's form holds, or something else."""

    def confirm(scope, /, **changed):
        found = page(client.get(CLEAR, scope)).inputs
        fields = {name: value for name, value in found.items() if name != "csrfmiddlewaretoken"}
        return client.post(CLEAR, fields | changed)

    return confirm


@pytest.fixture
def no_unlink(redis_client):
    """Address of the Redis of the tests for a user of it who may not delete."""
    at = redis_client.connection_pool.connection_kwargs
    redis_client.execute_command(
        "ACL", "SETUSER", "nounlink", "on", ">x", "~*", "&*", "+@all", "-unlink", "-del"
    )
    yield f"redis://nounlink:x@{at['host']}:{at['port']}/{at.get('db', 0)}"
    redis_client.execute_command("ACL", "DELUSER", "nounlink")


def traces():
    """The one operation there is, and that the admin's log has the same."""
    operation = CacheOperation.objects.get()
    entry = LogEntry.objects.get()
    assert entry.object_id == str(operation.pk)
    assert entry.user_id == operation.user_id
    return operation


class TestPreview:
    def test_preview__says_what_would_happen(self, client, boss, filled, page):
        """The preview has the exact pattern, the number and examples, and deletes nothing."""
        client.force_login(boss)
        response = client.get(CLEAR, CALLS)
        seen = response.context["seen"]
        assert (seen.glob, seen.matched, seen.is_complete, len(seen.samples)) == (
            "admintest:1:call:*",
            40,
            True,
            10,
        )
        assert "admintest:1:call:*" in response.content.decode()
        assert page(response).refused == []
        assert filled.count("call:*") == 40

    def test_preview__hostile_names(self, client, boss, filled, page):
        """Names of keys and what was asked for are shown as text."""
        client.force_login(boss)
        shown = client.get(
            CLEAR, {"alias": "default", "scope": "pattern", "text": "c*<img src=x onerror=alert(1)>"}
        )
        assert "<img src=x" not in shown.content.decode()
        assert page(shown).refused == []
        shown = client.get(CLEAR, {"alias": "default", "scope": "prefix", "text": "contact:"})
        assert "&lt;svg/onload=alert(1)&gt;" in shown.content.decode()
        assert "<svg/onload" not in shown.content.decode()

    def test_preview__prefix_is_literal(self, filled):
        """A prefix with the letters of patterns means just these letters."""
        filled.set("[ab]*:1", 1)
        filled.set("a:1", 1)
        seen = preview(filled, Target("default", "prefix", "[ab]*:"))
        assert seen.samples == ("admintest:1:[ab]*:1",)

    def test_preview__names_need_their_permission(self, client, make_user, filled):
        """Who may delete but not see keys gets numbers, no names."""
        client.force_login(make_user("delete_keys"))
        shown = client.get(CLEAR, CALLS)
        assert shown.context["seen"].matched == 40
        assert "admintest:1:call:1" not in shown.content.decode()

    def test_preview__protected_names(self, client, boss, filled):
        """Protected keys are counted, not shown."""
        client.force_login(boss)
        shown = client.get(CLEAR, ALL)
        assert shown.context["seen"].hidden == 1
        assert "sessions" not in " ".join(shown.context["seen"].samples)

    def test_preview__internal_keys(self, filled, redis_client):
        """Our own keys and those of other applications are not among them."""
        filled.flush_stats()
        redis_client.set("elsewhere:1", 1)
        assert preview(filled, Target(**ALL)).matched == 42
        redis_client.unlink("elsewhere:1")

    def test_preview__bounded(self, filled, monkeypatch):
        """A preview looks at a bounded number of keys and says that there may be more."""
        monkeypatch.setattr(scan, "COUNT", 5)
        monkeypatch.setattr(scan, "CALLS", 2)
        seen = preview(filled, Target(**CALLS))
        assert not seen.is_complete
        assert seen.looked_at == 10
        assert seen.matched < 40
        assert seen.must_type

    def test_preview__out_of_time(self, filled, monkeypatch):
        """A preview that takes too long stops after the step it is in."""
        monkeypatch.setattr(scan, "COUNT", 5)
        ticks = iter(range(100))
        assert not preview(filled, Target(**CALLS), clock=lambda: next(ticks)).is_complete

    @pytest.mark.parametrize(
        "wrong",
        [
            {"scope": "prefix", "text": ""},
            {"scope": "prefix", "text": "**"},
            {"scope": "pattern", "text": "*"},
            {"scope": "everything"},
            {"alias": "memory"},
            {"alias": "none"},
            {"text": "x" * 501},
            {"text": "a\0b"},
        ],
    )
    def test_preview__nonsense(self, client, boss, wrong):
        """A scope that cannot be is asked for again."""
        client.force_login(boss)
        response = client.get(CLEAR, CALLS | wrong)
        assert response.status_code == 200
        assert response.context["form"].errors

    def test_preview__nothing_there(self, client, boss, cache, page):
        """An empty scope has nothing to confirm."""
        client.force_login(boss)
        assert "token" not in page(client.get(CLEAR, CALLS)).inputs

    def test_preview__redis_down(self, client, boss, settings):
        """Without Redis there is a reason instead of a preview."""
        settings.CACHES = {
            "default": {**settings.CACHES["default"], "LOCATION": "redis://:sekret@127.0.0.1:1/0"}
        }
        client.force_login(boss)
        response = client.get(CLEAR, CALLS)
        assert "token" not in response.context
        assert response.context["fault"]
        assert "sekret" not in response.content.decode()

    def test_preview__scopes_by_permission(self, client, make_user):
        """The form offers the scopes that a user may clear."""
        client.force_login(make_user("delete_keys"))
        scopes = dict(client.get(CLEAR).context["form"].fields["scope"].choices)
        assert scopes.keys() == {"key", "prefix", "pattern"}
        client.force_login(make_user("clear_cache"))
        assert dict(client.get(CLEAR).context["form"].fields["scope"].choices).keys() == {"alias"}


class TestClear:
    def test_clear__prefix(self, client, make_user, filled, attempt, caplog):
        """What was confirmed is deleted, reported and recorded; nothing else is touched."""
        user = make_user("delete_keys")
        client.force_login(user)
        with caplog.at_level(logging.INFO, logger="callcache.audit"):
            response = attempt(CALLS, reason="stale\nprices")
        assert response.status_code == 302
        assert (filled.count("call:*"), filled.count("*")) == (0, 2)
        operation = traces()
        assert (operation.outcome, operation.deleted, operation.expected) == ("ok", 40, 40)
        assert (operation.alias, operation.scope, operation.pattern) == ("default", "prefix", "call:")
        assert (operation.user, operation.username, operation.reason) == (
            user,
            user.username,
            "stale\nprices",
        )
        assert "deleted=40" in caplog.text
        assert "stale\nprices" not in caplog.text
        assert "40 keys were deleted" in client.get(response["Location"]).content.decode()

    def test_clear__pattern(self, client, boss, filled, attempt):
        """A pattern deletes what it matches."""
        client.force_login(boss)
        attempt({"alias": "default", "scope": "pattern", "text": "call:1?"})
        assert filled.count("call:*") == 30
        assert traces().deleted == 10

    def test_clear__whole_cache(self, client, make_user, filled, attempt, redis_client):
        """The whole cache goes with its name typed, in all versions; statistics stay."""
        filled.set("call:1", 1, version=7)
        filled.flush_stats()
        client.force_login(make_user("clear_cache"))
        attempt(ALL, typed="default")
        assert (filled.count("*"), filled.count("*", version=7)) == (0, 0)
        assert redis_client.keys("callcache@admintest:*")
        assert traces().deleted == 43

    def test_clear__waiting_to_be_pushed(self, client, boss, cache, attempt, settings):
        """Of 500 entries that wait for the remote store all arrive, though the cache was cleared."""
        rules = {"call:": {"sync": "lww"}}
        settings.CACHES = {
            "default": {**settings.CACHES["default"], "OPTIONS": {"CALLCACHE": {"RULES": rules}}}
        }
        settings.CALLCACHE = {"SYNC": {"NAMESPACE": "admintest"}}
        caches["default"].set_many({f"call:{number}": number for number in range(500)})
        client.force_login(boss)
        assert attempt(ALL, typed="default").status_code == 302
        assert caches["default"].count("*") == 0
        remote = MemoryStore()
        report = run_once("default", remote=remote)
        assert (report.sync.pushed, report.sync.deleted, report.sync.backlog) == (500, 0, 0)
        keys = [f"1:call:{number}" for number in range(500)]
        found = {row.key: row.value for row in remote.fetch("admintest", keys)}
        assert found == {key: number for number, key in enumerate(keys)}

    def test_clear__name_not_typed(self, client, boss, filled, attempt):
        """Without its name the whole cache stays, and the attempt is recorded."""
        client.force_login(boss)
        response = attempt(ALL, typed="defualt", reason="<b>old</b>")
        assert response.status_code == 400
        assert 'value="&lt;b&gt;old&lt;/b&gt;"' in response.content.decode()
        assert filled.count("*") == 42
        assert (traces().outcome, traces().error_class) == ("refused", "typed")

    def test_clear__many_keys(self, client, boss, filled, attempt, monkeypatch):
        """Above a thousand keys the name has to be typed for a prefix too."""
        monkeypatch.setattr(clearing, "TYPED_ABOVE", 39)
        client.force_login(boss)
        assert attempt(CALLS).status_code == 400
        assert attempt(CALLS, typed="default").status_code == 302
        assert filled.count("call:*") == 0

    def test_clear__redis_lost_before(self, client, boss, filled, attempt, page, settings):
        """A cache that cannot be reached any more is a failed attempt, recorded with its reason."""
        client.force_login(boss)
        token = page(client.get(CLEAR, CALLS)).inputs["token"]
        settings.CACHES = {
            "default": {**settings.CACHES["default"], "LOCATION": "redis://:sekret@127.0.0.1:1/0"}
        }
        response = client.post(CLEAR, CALLS | {"token": token})
        assert "Nothing was deleted" in client.get(response["Location"]).content.decode()
        operation = traces()
        assert (operation.outcome, operation.deleted) == ("failed", 0)
        assert operation.error_class == "ConnectionError"
        assert "sekret" not in operation.error

    @pytest.mark.parametrize("on_error", ["degrade", "raise"])
    def test_clear__redis_refuses(self, client, boss, filled, attempt, settings, no_unlink, on_error):
        """A deletion that Redis refuses is never reported as done, whatever ON_ERROR says."""
        options = {"CALLCACHE": {"ON_ERROR": on_error}}
        settings.CACHES = {
            "default": {**settings.CACHES["default"], "LOCATION": no_unlink, "OPTIONS": options}
        }
        client.force_login(boss)
        attempt(CALLS)
        operation = traces()
        assert (operation.outcome, operation.deleted) == ("failed", 0)
        assert operation.error_class

    def test_clear__died_midway(self, client, boss, filled, attempt, monkeypatch):
        """A process that dies in the middle leaves a row that says it had begun."""
        client.force_login(boss)
        died = lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
        monkeypatch.setattr(clear_pages.clearing, "run_now", died)
        with pytest.raises(KeyboardInterrupt):
            attempt(CALLS)
        assert CacheOperation.objects.get().outcome == "running"


class TestRefusals:
    @pytest.mark.parametrize(
        "forge", [str, lambda: "nonsense", lambda: signing.dumps(["1", *CALLS.values(), 40])]
    )
    def test_token__forged(self, client, boss, filled, forge):
        """Without a token of ours nothing is deleted."""
        client.force_login(boss)
        response = client.post(CLEAR, CALLS | {"token": forge()})
        assert response.status_code == 403
        assert filled.count("call:*") == 40
        assert (traces().outcome, traces().error_class) == ("refused", "forged")

    @pytest.mark.parametrize("other", [{"text": "contact:"}, {"scope": "pattern", "text": "*:*"}])
    def test_token__of_another_scope(self, client, boss, filled, attempt, other):
        """A token holds for the scope it was given out for."""
        client.force_login(boss)
        assert attempt(CALLS, **other).status_code == 403
        assert filled.count("*") == 42
        assert traces().error_class == "forged"

    def test_token__of_another_user(self, client, boss, make_user, filled, page):
        """A token holds for the user it was given out to."""
        client.force_login(boss)
        token = page(client.get(CLEAR, CALLS)).inputs["token"]
        thief = make_user("delete_keys")
        client.force_login(thief)
        assert client.post(CLEAR, CALLS | {"token": token}).status_code == 403
        assert filled.count("call:*") == 40
        assert traces().user == thief

    def test_token__expired(self, client, boss, filled, page):
        """After ten minutes a new preview is shown instead, with a token of its own."""
        with time_machine.travel("2026-03-04 12:00Z", tick=False) as clock:
            client.force_login(boss)
            token = page(client.get(CLEAR, CALLS)).inputs["token"]
            clock.shift(599)
            clock.shift(2)
            response = client.post(CLEAR, CALLS | {"token": token})
        assert response.status_code == 409
        assert filled.count("call:*") == 40
        assert page(response).inputs["token"] != token
        assert traces().error_class == "expired"

    def test_scope__grown_since_the_preview(self, client, boss, filled, page):
        """A scope that has more than doubled since is previewed again."""
        client.force_login(boss)
        token = page(client.get(CLEAR, CALLS)).inputs["token"]
        filled.set_many({f"call:{number}": number for number in range(200)})
        response = client.post(CLEAR, CALLS | {"token": token})
        assert response.status_code == 409
        assert filled.count("call:*") == 200
        assert traces().error_class == "grown"

    def test_scope__protected_keys(self, client, boss, filled, page):
        """Protected keys are not deleted by prefix or pattern."""
        client.force_login(boss)
        scope = {"alias": "default", "scope": "pattern", "text": "*sessions*"}
        assert "token" not in page(client.get(CLEAR, scope)).inputs
        token = clearing.make_token(boss.pk, Target(**scope), 1)
        assert client.post(CLEAR, scope | {"token": token}).status_code == 403
        assert filled.count("*sessions*") == 1
        assert traces().error_class == "protected"

    def test_scope__more_than_one_deletion_may(
        self, client, make_user, boss, filled, settings, page, attempt
    ):
        """Beyond the bound the permission for the whole cache is needed."""
        settings.CALLCACHE = {"ADMIN": {"MAX_DELETE": 39}}
        user = make_user("delete_keys")
        client.force_login(user)
        assert "token" not in page(client.get(CLEAR, CALLS)).inputs
        token = clearing.make_token(user.pk, Target(**CALLS), 40)
        assert client.post(CLEAR, CALLS | {"token": token}).status_code == 403
        assert traces().error_class == "too_many"
        client.force_login(boss)
        assert attempt(CALLS).status_code == 302
        assert filled.count("call:*") == 0

    def test_run__stops_at_the_bound(self, filled):
        """A deletion stops at the bound even if keys were added after its preview."""
        filled.set_many({f"call:{number}": number for number in range(3000)})
        operation = CacheOperation.objects.create(
            kind="clear", scope="prefix", alias="default", pattern="call:", limit=100
        )
        deletion.run_now(filled, operation, Target(**CALLS))
        assert (operation.outcome, operation.error_class) == ("partial", "LimitReached")
        assert 100 <= operation.deleted < 3000
        assert filled.count("call:*") == 3000 - operation.deleted
        assert not operation.can_be_resumed

    @pytest.mark.parametrize(
        ("codename", "scope"),
        [("delete_keys", ALL), ("clear_cache", CALLS), ("view_dashboard", CALLS), (None, CALLS)],
    )
    def test_permission__of_another_power(self, client, make_user, filled, codename, scope):
        """Each scope asks for its own permission on POST too, even with a token of the right form."""
        user = make_user(*filter(None, [codename]))
        client.force_login(user)
        token = clearing.make_token(user.pk, Target(**scope), 42)
        assert client.post(CLEAR, scope | {"token": token, "typed": "default"}).status_code == 403
        assert filled.count("*") == 42
        assert (traces().outcome, traces().error_class) == ("refused", "permission")

    def test_permission__of_another_cache(self, client, boss, filled, settings):
        """A cache that the site's rule closes to a user is not cleared."""
        settings.CALLCACHE = {"ADMIN": {"CAN_ACCESS_ALIAS": "tests.admin.test_pages.nobody"}}
        client.force_login(boss)
        token = clearing.make_token(boss.pk, Target(**CALLS), 40)
        assert client.post(CLEAR, CALLS | {"token": token}).status_code == 403
        assert traces().error_class == "permission"

    def test_read_only__post(self, client, boss, filled, settings):
        """In read-only mode every POST is refused, whoever asks, and recorded."""
        settings.CALLCACHE = {"ADMIN": {"READ_ONLY": True}}
        client.force_login(boss)
        token = clearing.make_token(boss.pk, Target(**CALLS), 40)
        assert client.post(CLEAR, CALLS | {"token": token}).status_code == 403
        assert filled.count("call:*") == 40
        assert traces().error_class == "read_only"

    def test_post__without_csrf_token(self, boss, filled):
        """A form of another site is refused."""
        client = Client(enforce_csrf_checks=True)
        client.force_login(boss)
        token = clearing.make_token(boss.pk, Target(**CALLS), 40)
        assert client.post(CLEAR, CALLS | {"token": token}).status_code == 403
        assert filled.count("call:*") == 40

    def test_post__nonsense(self, client, boss):
        """Nonsense is recorded as far as it can be stored, and asked for again."""
        client.force_login(boss)
        response = client.post(CLEAR, {"alias": "default", "scope": "prefix", "text": "\0" + "x" * 900})
        assert response.status_code == 400
        assert traces().pattern == "\ufffd" + "x" * 499

    def test_post__anonymous(self, client, filled):
        """A stranger is sent to the login and leaves no row."""
        assert client.post(CLEAR, CALLS).status_code == 302
        assert not CacheOperation.objects.exists()


class TestBackground:
    """Deletions that the loop carries out."""

    @pytest.fixture
    def queued(self, client, boss, filled, attempt, monkeypatch):
        """Forty calls, more than are deleted while a person waits."""
        monkeypatch.setattr(clear_pages, "IN_REQUEST", 39)
        client.force_login(boss)
        response = attempt(CALLS)
        return CacheOperation.objects.get(), response["Location"]

    def test_clear__many(self, client, queued, filled, page):
        """Many keys wait for the loop; the page says how far it is, and what to do where none runs."""
        operation, report = queued
        assert (operation.outcome, filled.count("call:*")) == ("waiting", 40)
        shown = client.get(report)
        assert page(shown).refused == []
        assert "runcachesync" in shown.content.decode()
        assert f"--operation {operation.pk}" in shown.content.decode()
        assert shown.context["may_stop"]
        assert client.get(f"{report}?format=json").json() == {
            "outcome": "waiting",
            "percent": 0,
            "deleted": "0",
        }

    def test_stop_and_resume(self, client, queued, filled):
        """It can be stopped and gone on with; each leaves an operation and an entry of its own."""
        operation, report = queued
        assert client.post(report, {"act": "stop"}).status_code == 302
        operation.refresh_from_db()
        assert operation.outcome == "stopped"
        CacheOperation.objects.filter(pk=operation.pk).update(alive_at=operation.started_at)
        assert client.get(report).context["may_resume"]
        assert client.post(report, {"act": "resume"}).status_code == 302
        deletion.next_of("default", filled).run()
        operation.refresh_from_db()
        assert (operation.outcome, filled.count("call:*")) == ("ok", 0)
        kinds = list(CacheOperation.objects.order_by("pk").values_list("kind", "outcome"))
        assert kinds == [("clear", "ok"), ("stop", "ok"), ("resume", "ok")]
        assert LogEntry.objects.count() == 4  # the deletion ended twice

    def test_resume__done(self, client, queued, filled):
        """What is done is not done again."""
        operation, report = queued
        deletion.next_of("default", filled).run()
        client.post(report, {"act": "resume"})
        assert CacheOperation.objects.get(kind="resume").error_class == "EndedMeanwhile"
        operation.refresh_from_db()
        assert operation.outcome == "ok"

    def test_steer__permissions(self, client, queued, make_user, settings):
        """Only who could have begun it may stop it or go on; in read-only mode nobody."""
        operation, report = queued
        client.force_login(make_user("delete_keys"))
        assert client.post(report, {"act": "stop"}).status_code == 403
        client.force_login(make_user("delete_keys", "clear_cache"))
        settings.CALLCACHE = {"ADMIN": {"READ_ONLY": True}}
        assert client.post(report, {"act": "stop"}).status_code == 403
        settings.CALLCACHE = {}
        assert client.post(report, {"act": "stop"}).status_code == 302
        operation.refresh_from_db()
        assert operation.outcome == "stopped"

    def test_preview__another_at_work(self, client, queued):
        """A preview says who clears the same cache."""
        shown = client.get(CLEAR, CALLS)
        assert [other.pk for other in shown.context["others"]] == [queued[0].pk]
        assert "boss" in shown.content.decode()


class TestChosenKeys:
    KEYS_PAGE = "/admin/django_callcache/dashboard/keys/"
    CHOSEN = MappingProxyType(
        {"alias": "default", "key": ["call:1", 'contact:"><svg/onload=alert(1)>', "call:none"]}
    )

    def test_keys__chosen(self, client, boss, filled, page):
        """The keys found on the page can be chosen, previewed and deleted."""
        client.force_login(boss)
        found = page(client.get(self.KEYS_PAGE, {"q": "call:1"}))
        assert ("key", "call:1") in [(a.get("name"), a.get("value")) for t, a in found.tags if t == "input"]
        shown = client.post(f"{CLEAR}keys/", dict(self.CHOSEN))
        assert shown.context["seen"].matched == 2
        assert "<svg/onload" not in shown.content.decode()
        assert page(shown).refused == []
        assert not CacheOperation.objects.exists()
        token = page(shown).inputs["token"]
        response = client.post(f"{CLEAR}keys/", dict(dict(self.CHOSEN)) | {"token": token})
        assert (filled.count("call:*"), filled.count("contact:*")) == (39, 0)
        operation = traces()
        assert (operation.scope, operation.outcome, operation.deleted) == ("keys", "ok", 2)
        report = client.get(response["Location"]).content.decode()
        assert "2 keys were deleted" in report
        assert "<svg/onload" not in report

    def test_keys__others_than_previewed(self, client, boss, filled, page):
        """The token holds for the keys that were previewed."""
        client.force_login(boss)
        token = page(client.post(f"{CLEAR}keys/", dict(self.CHOSEN))).inputs["token"]
        other = {"alias": "default", "key": ["call:1", "call:2"], "token": token}
        assert client.post(f"{CLEAR}keys/", other).status_code == 403
        assert filled.count("call:*") == 40
        assert traces().error_class == "forged"

    def test_keys__protected(self, client, boss, filled, page):
        """Protected keys are not deleted."""
        client.force_login(boss)
        chosen = {"alias": "default", "key": ["django.contrib.sessions.cache:abc"]}
        shown = client.post(f"{CLEAR}keys/", chosen)
        assert "token" not in page(shown).inputs
        token = clearing.make_token(
            boss.pk, Target("default", "keys", "", ("django.contrib.sessions.cache:abc",)), 1
        )
        assert client.post(f"{CLEAR}keys/", chosen | {"token": token}).status_code == 403
        assert filled.count("*sessions*") == 1

    def test_keys__none_chosen(self, client, boss, filled):
        """Nothing chosen leads back, as does asking for the page itself."""
        client.force_login(boss)
        assert client.post(f"{CLEAR}keys/", {"alias": "default"})["Location"].startswith(self.KEYS_PAGE)
        assert client.get(f"{CLEAR}keys/")["Location"] == self.KEYS_PAGE

    def test_keys__permission(self, client, make_user, filled, settings):
        """It takes the permission to delete keys, with and without a token."""
        user = make_user("view_keys", "clear_cache")
        client.force_login(user)
        assert client.get(f"{CLEAR}keys/").status_code == 403
        assert client.post(f"{CLEAR}keys/", dict(self.CHOSEN)).status_code == 403
        assert client.post(f"{CLEAR}keys/", dict(dict(self.CHOSEN)) | {"token": "x"}).status_code == 403
        assert filled.count("call:*") == 40
        assert b'name="key"' not in client.get(self.KEYS_PAGE, {"q": "call:1"}).content


class TestReport:
    def test_cleared__permissions(self, client, make_user, boss):
        """A report is for people who may clear, in caches they may see."""
        operation = CacheOperation.objects.create(
            user=boss, username="boss", kind="clear", scope="pattern", alias="default", pattern="<b>x</b>"
        )
        url = f"{CLEAR}{operation.pk}/"
        client.force_login(make_user("view_dashboard"))
        assert client.get(url).status_code == 403
        client.force_login(make_user("delete_keys"))
        assert "&lt;b&gt;x&lt;/b&gt;" in client.get(url).content.decode()
        assert client.get(f"{CLEAR}999999/").status_code == 404

    @pytest.mark.parametrize(
        "outcome", ["waiting", "running", "ok", "partial", "stopped", "failed", "refused"]
    )
    def test_cleared__outcomes(self, client, boss, page, outcome):
        """Every outcome has its words."""
        operation = CacheOperation.objects.create(
            kind="clear", scope="alias", alias="default", outcome=outcome, error="went <b>wrong</b>"
        )
        client.force_login(boss)
        response = client.get(f"{CLEAR}{operation.pk}/")
        assert f"cc-notice-{outcome}" in page(response).classes()
        assert page(response).refused == []

    def test_again__keeps_what_was_asked(self, client, boss, filled):
        """The way back from a preview leads to the form as it was filled in."""
        client.force_login(boss)
        again = client.get(CLEAR, CALLS).context["again"]
        assert again == urlencode({"alias": "default", "kind": "prefix", "text": "call:"})
        assert client.get(f"{CLEAR}?{again}").context["form"]["text"].value() == "call:"
