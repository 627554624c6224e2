"""The pages that a browser opens. A new page joins by one line."""

from __future__ import annotations

from typing import NamedTuple

ROOT = "/admin/django_callcache/"


class Page(NamedTuple):
    """One state of one page."""

    name: str
    """Of its screenshots."""
    path: str
    """Below `ROOT`."""
    ready: str = "#callcache"
    """Selector of what shows that the page is the one that is meant."""
    as_stranger: bool = False
    """Whether staff without permissions open it."""


PAGES = (
    Page("overview", "dashboard/", "#callcache .cc-drawing"),
    Page("overview-month", "dashboard/?period=30d", "#callcache .cc-drawing"),
    Page("cache", "dashboard/cache/", "#callcache .cc-drawing"),
    Page("prefixes", "dashboard/prefixes/", ".cc-prefixes tbody tr"),
    Page("prefix", "dashboard/prefix/?alias=default&prefix=call:", "#callcache .cc-cell"),
    Page(
        "what-if",
        "dashboard/prefix/?alias=default&prefix=call:&period=7d&ttl=300&changes=0.5",
        ".cc-what-if tbody",
    ),
    Page("ttl-pin", "dashboard/ttl/?act=pin&alias=default&prefix=stats:", ".cc-pinned"),
    Page("ttl-pause", "dashboard/ttl/?act=pause&alias=default", "#id_lasts"),
    Page("keys", "dashboard/keys/", "#callcache tbody tr"),
    Page("keys-found", "dashboard/keys/?q=call:*", "#cc-found-title"),
    Page("key", "dashboard/key/?alias=default&key=call:1", "#callcache .cc-facts"),
    Page("key-gone", "dashboard/key/?alias=default&key=call:0", "#callcache .cc-notice"),
    Page("clear", "dashboard/clear/", "#callcache .cc-form"),
    Page("clear-preview", "dashboard/clear/?alias=default&scope=alias", "#callcache .cc-consequences"),
    Page("cleared", "dashboard/clear/1/", "#callcache .cc-notice-ok"),
    Page("clearing", "dashboard/clear/3/", "#cc-progress"),
    Page("sync", "dashboard/sync/", "#cc-conflicts-title"),
    Page("alerts", "dashboard/alerts/", "#callcache article"),
    Page("server", "dashboard/server/", "#cc-advice-title"),
    Page("refused", "dashboard/", "#callcache .cc-notice-error", as_stranger=True),
)

LISTS = (
    "cachestat/",
    "cachestat/1/change/",
    "syncrun/",
    "syncconflict/",
    "syncrejection/",
    "compressiondictionary/",
    "cachealert/",
    "cacheoperation/",
)
"""Lists and forms of models: Django's own pages around our words and figures."""

NOT_PAGES = {
    "django_callcache_figures", "django_callcache_clear_keys",
    "django_callcache_data", "django_callcache_keys_data",
}  # fmt: skip
"""Names of addresses that give data, or that only a form leads to."""
