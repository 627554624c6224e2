"""Configuration of the call-automation app."""

from __future__ import annotations

from django.apps import AppConfig


class CrmConfig(AppConfig):
    name = "testproject.crm"
    verbose_name = "Call automation"
