from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import override_settings

TOKEN = {"METRICS": {"TOKEN": "a secret of the scraper"}}
PATH = "/callcache/metrics"


@pytest.mark.django_db
class TestMetricsView:
    def test_get__stranger(self, client, cache):
        """The page is never public, whether or not there is a token."""
        for stated in ({}, TOKEN, {"METRICS": {"TOKEN": ""}}):
            with override_settings(CALLCACHE=stated):
                for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer wrong"}):
                    response = client.get(PATH, headers=headers)
                    assert response.status_code == 401
                    assert b"callcache_" not in response.content

    def test_get__token(self, client, cache):
        """The token opens the page."""
        with override_settings(CALLCACHE=TOKEN):
            response = client.get(PATH, headers={"authorization": "Bearer a secret of the scraper"})
        assert response.status_code == 200
        assert response["Content-Type"].startswith("text/plain")
        assert "no-store" in response["Cache-Control"]
        assert b'callcache_redis_up{alias="default"} 1.0' in response.content

    def test_get__permission(self, client, cache):
        """Who may see the overview may see the page; being logged in is not enough."""
        user = User.objects.create_user("ana", is_staff=True)
        client.force_login(user)
        assert client.get(PATH).status_code == 401
        user.user_permissions.add(Permission.objects.get(codename="view_dashboard"))
        assert client.get(PATH).status_code == 200

    def test_post__refused(self, client):
        """Nothing can be posted to it."""
        assert client.post(PATH).status_code == 405
