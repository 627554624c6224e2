"""Filters and tags of the admin pages."""

from __future__ import annotations

import datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.translation import gettext

from django_callcache.admin import numbers
from django_callcache.models import CacheAlert
from django_callcache.ttl import Sentence

register = template.Library()

for write in (
    numbers.percent,
    numbers.signed,
    numbers.number,
    numbers.short,
    numbers.rate,
    numbers.duration,
    numbers.lifetime,
):
    register.filter(write.__name__, write)


@register.filter
def sentence(text: str) -> str:
    """A sentence of the TTL policies, or of an alert rule, in the reader's language."""
    if not isinstance(text, Sentence):
        return gettext(text) if text else ""
    values = {
        name: sentence(value) if isinstance(value, str) else value for name, value in text.values.items()
    }
    return gettext(text.template).format(**values)


@register.filter
def severity(word: str) -> str:
    """How bad something is, in the reader's language."""
    return str(CacheAlert.Severity(word).label)


@register.filter
def moment(seconds: float) -> datetime.datetime:
    """The time that unix seconds stand for."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


@register.simple_tag(takes_context=True)
def callcache_nonce(context: Any) -> str:
    """The nonce attribute of a Content-Security-Policy, where Django 6.0 or django-csp gave one."""
    nonce = context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", "")
    return format_html(' nonce="{}"', nonce) if nonce else ""
