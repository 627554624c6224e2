"""A site whose only admin is its own."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.urls import path

import django_callcache.admin

site = AdminSite(name="backoffice")
django_callcache.admin.register(site)

urlpatterns = [path("office/", site.urls)]
