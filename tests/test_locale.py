"""The Spanish of the pages: complete, certain, compiled, and with the same blanks to fill."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polib
import pytest
from django.core.management import call_command
from django.utils import translation

from django_callcache.conf.alert_rules import SHIPPED
from tests.conftest import require

PACKAGE = Path(__file__).parents[1] / "django_callcache"
CATALOGUE = PACKAGE / "locale/es/LC_MESSAGES/django.po"
BLANKS = re.compile(r"%\((\w+)\)s|%%|%s|<[^>]+>")


@pytest.fixture(scope="module")
def catalogue():
    return polib.pofile(str(CATALOGUE))


class TestSpanish:
    def test_complete(self, catalogue, tmp_path, monkeypatch):
        """Every text of the pages has its translation, and none is left of a text that is gone."""
        if shutil.which("xgettext") is None:
            require("xgettext is missing: sudo apt-get install gettext")
        copy = shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.chdir(copy)
        call_command("makemessages", locale=["es"], no_obsolete=True, no_location=True, verbosity=0)
        found = polib.pofile(str(copy / CATALOGUE.relative_to(PACKAGE)))
        texts = {(entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in found}
        translated = {(entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in catalogue}
        assert texts - translated == set(), "run `django-admin makemessages -l es` in django_callcache/"
        assert translated - texts == set()

    def test_rules(self, catalogue):
        """What every shipped alert rule means is among them."""
        assert {rule.summary for rule in SHIPPED} <= {entry.msgid for entry in catalogue}

    def test_certain(self, catalogue):
        """No translation is missing or marked as a guess."""
        assert [entry.msgid for entry in catalogue.untranslated_entries()] == []
        assert [entry.msgid for entry in catalogue.fuzzy_entries()] == []
        assert len(catalogue) > 400

    def test_blanks(self, catalogue):
        """A translation fills the same blanks and keeps the same markup."""
        for entry in catalogue:
            pairs = [(entry.msgid, entry.msgstr)]
            if entry.msgid_plural:
                pairs = [(entry.msgid_plural, entry.msgstr_plural[1])]
            for text, spanish in pairs:
                assert sorted(BLANKS.findall(text)) == sorted(BLANKS.findall(spanish)), text

    def test_compiled(self, catalogue):
        """What is shipped compiled says what the catalogue says."""
        compiled = polib.mofile(str(CATALOGUE.with_suffix(".mo")))
        assert {entry.msgid: (entry.msgstr, entry.msgstr_plural) for entry in compiled} == {
            entry.msgid: (entry.msgstr, entry.msgstr_plural) for entry in catalogue
        }

    @pytest.mark.django_db
    def test_page(self, client, django_user_model, settings):
        """A person whose language is Spanish reads the page in Spanish."""
        client.force_login(django_user_model.objects.create_superuser("boss"))
        settings.LANGUAGE_CODE = "es"
        with translation.override("es"):
            text = client.get("/admin/django_callcache/dashboard/").content.decode()
        assert "Tasa de aciertos" in text
        assert "Hit ratio" not in text
