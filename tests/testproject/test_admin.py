"""The admin pages of campaigns, contacts and calls."""

from __future__ import annotations

import pytest

from testproject.crm.loading import load_calls

PAGES = [
    f"/admin/crm/{model}/{page}"
    for model in ("campaign", "contact", "call")
    for page in ("", "1/change/", "add/")
]


@pytest.mark.django_db
@pytest.mark.usefixtures("redis_url")
class TestPages:
    @pytest.mark.parametrize("path", PAGES)
    def test_page__staff(self, admin_client, path):
        """Who may do everything sees every page."""
        load_calls(limit=3)
        assert admin_client.get(path).status_code == 200

    @pytest.mark.parametrize("path", PAGES)
    def test_page__stranger(self, client, path):
        """A stranger is sent to the login."""
        answer = client.get(path)
        assert answer.status_code == 302
        assert answer.url.startswith("/admin/login/")
