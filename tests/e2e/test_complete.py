"""The list of pages that a browser opens has them all. This needs no browser."""

from __future__ import annotations

from django.contrib import admin
from django.urls import resolve

import django_callcache.admin
from tests.e2e.pages import LISTS, NOT_PAGES, PAGES, ROOT


class TestPages:
    def test_complete(self):
        """Every page of ours is on the list, and every list of a model."""
        addresses = [page.path for page in PAGES] + list(LISTS)
        opened = {resolve(ROOT + address.partition("?")[0]).url_name for address in addresses}
        (pages, *models) = (
            admin.site.get_model_admin(model).get_urls() for model in django_callcache.admin.PAGES
        )
        names = {pattern.name for pattern in pages} | {patterns[0].name for patterns in models}
        assert names - NOT_PAGES <= opened
