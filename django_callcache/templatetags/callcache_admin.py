"""Filters and tags of the admin pages."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html

from django_callcache.admin import numbers

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


@register.simple_tag(takes_context=True)
def callcache_nonce(context: Any) -> str:
    """The nonce attribute of a Content-Security-Policy, where Django 6.0 or django-csp gave one."""
    nonce = context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", "")
    return format_html(' nonce="{}"', nonce) if nonce else ""
