"""Every page with something on it, read in Spanish: no words of ours are left in English."""

from __future__ import annotations

import datetime
import re
from html.parser import HTMLParser

import polib
import pytest
from django.utils import timezone, translation

from django_callcache.models import (
    CacheAlert,
    CacheOperation,
    CacheStat,
    CompressionDictionary,
    SyncConflict,
    SyncRejection,
    SyncRun,
)
from testproject import showcase
from tests.e2e.pages import LISTS, PAGES, ROOT
from tests.test_locale import CATALOGUE

pytestmark = pytest.mark.django_db

SPOKEN = frozenset({"title", "aria-label", "placeholder", "alt"})
"""Attributes that people read or hear."""
NAMES = frozenset({"script", "style", "code", "pre"})
"""Elements that hold names and data, and no sentences of ours."""
VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta"})

ENGLISH = frozenset({
    "an", "the", "of", "and", "or", "not", "is", "are", "was", "were", "be", "been", "had", "have",
    "it", "its", "this", "that", "there", "with", "without", "from", "into", "by", "on", "at", "for",
    "to", "than", "then", "when", "where", "which", "who", "until", "since", "waits", "waiting",
    "never", "nothing", "none", "every",
})  # fmt: skip
"""Words that hardly an English sentence goes without, and no Spanish one has."""

DATA = ("Reports run until Friday.", "payload is larger than 1 MiB", "value violates check constraint")
"""Texts of people and of the remote store, as they were given."""

MODELS = (CacheStat, SyncRun, SyncConflict, SyncRejection, CompressionDictionary, CacheAlert, CacheOperation)


class Texts(HTMLParser):
    """The texts of a page that are meant to be read in its language.

    What is marked as written from left to right whatever the language is a name.
    """

    def __init__(self, text):
        super().__init__()
        self.found = set()
        self._open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        is_name = tag in NAMES or (attributes.get("dir") == "ltr" and "lang" not in attributes)
        if not is_name:
            self.found |= {value for name, value in attrs if name in SPOKEN and value}
        if tag not in VOID:
            self._open.append((tag, is_name))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if data.strip() and not any(is_name for _, is_name in self._open):
            self.found.add(" ".join(data.split()))


@pytest.fixture(scope="module")
def untranslated():
    """Tell which texts of a page are English: a text of ours as it stands in the code, or a sentence.

    Around our lists Django has sentences, of which not all have their Spanish in each of its releases.
    """
    ours = {entry.msgid for entry in polib.pofile(str(CATALOGUE)) if entry.msgid != entry.msgstr}
    ours -= {"default"} | {entry.msgstr for entry in polib.pofile(str(CATALOGUE))}

    def find(page, sentences=True):
        for text in Texts(page).found:
            words = text
            for given in DATA:
                words = words.replace(given, "")
            if text in ours or (sentences and ENGLISH & set(re.findall(r"[^\W\d_]+", words.lower()))):
                yield text

    return find


@pytest.fixture
def visit(client, boss, settings, cache):
    """Open a page in Spanish."""
    client.force_login(boss)
    settings.LANGUAGE_CODE = "es"

    def get(path):
        with translation.override("es"):
            return client.get(ROOT + path).content.decode()

    return get


def make_everything():
    """Rows in each of their states."""
    now = timezone.now()
    for state in CacheAlert.State:
        for severity in CacheAlert.Severity:
            CacheAlert.objects.create(
                alias="default", rule=f"{state}-{severity}", severity=severity, state=state, began_at=now,
                fired_at=now, resolved_at=now if state == "resolved" else None,
                summary="Redis does not answer: every read is a miss, and synced writes are refused.",
            )  # fmt: skip
    for number, kind in enumerate(CacheOperation.Kind):
        CacheOperation.objects.create(
            alias="default", kind=kind, scope=list(CacheOperation.Scope)[number % 5], pattern="call:",
            deleted=number, started_at=now - datetime.timedelta(minutes=number),
        )  # fmt: skip
    for outcome in CacheOperation.Outcome:
        CacheOperation.objects.create(
            alias="default", kind="clear", scope="prefix", pattern="call:", outcome=outcome
        )
    for outcome in SyncRun.Outcome:
        SyncRun.objects.create(alias="default", outcome=outcome, error_class="RemoteUnavailable")


class TestSpanish:
    def test_pages(self, visit, untranslated):
        """Every page and list is in Spanish, whatever there is to show."""
        showcase.fill()
        make_everything()
        rows = [
            f"{model._meta.model_name}/{model.objects.order_by('pk').last().pk}/change/" for model in MODELS
        ]
        cleared = [
            f"dashboard/clear/{pk}/"
            for pk in CacheOperation.objects.filter(kind="clear").values_list("pk", flat=True)
        ]
        pages = [page.path for page in PAGES if not page.as_stranger and "clear/" not in page.path]
        ours = {path: visit(path).partition('<div class="callcache"')[2] for path in (*pages, *cleared)}
        assert all(ours.values())
        found = {path: sorted(untranslated(f"<div{text}")) for path, text in ours.items()}
        found |= {path: sorted(untranslated(visit(path), sentences=False)) for path in (*LISTS, *rows)}
        assert {path: texts for path, texts in found.items() if texts} == {}

    def test_untranslated__found(self, untranslated):
        """A word of ours, a label or a sentence in English is found; names and data are not."""
        page = (
            '<p title="Hit ratio">Tasa <bdi dir="ltr">the key</bdi></p><td>warning</td><p>It is not so.</p>'
        )
        assert set(untranslated(page)) == {"Hit ratio", "warning", "It is not so."}
