"""Addresses: ``path("callcache/", include("django_callcache.urls"))`` puts them where a site wants them."""

from __future__ import annotations

from django.urls import path

from django_callcache import views

app_name = "callcache"

urlpatterns = [path("metrics", views.metrics, name="metrics")]
