"""Addresses of the sample project."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("callcache/", include("django_callcache.urls")),
    path("", include("testproject.crm.urls")),
]
