"""Every command, as operators call it; what a command is asked more than one way has a line for each."""

from __future__ import annotations

LINES = (
    ("callcache_acl",),
    ("callcache_alerts",),
    ("callcache_alerts", "--history"),
    ("callcache_clear", "--prefix", "page:", "--yes"),
    ("callcache_clear", "--tag", "red", "--yes"),
    ("callcache_clear", "--all", "--dry-run"),
    ("callcache_doctor",),
    ("callcache_doctor", "--json"),
    ("callcache_doctor", "--liveness"),
    ("callcache_info",),
    ("callcache_info", "--json"),
    ("callcache_keys",),
    ("callcache_keys", "*", "--json"),
    ("callcache_monitor", "--lines", "1", "--interval", "0.05"),
    ("callcache_rotate", "--json"),
    ("callcache_rules",),
    ("callcache_simulate", "--days", "1"),
    ("callcache_sql",),
    ("callcache_sync", "pause", "--reason", "a test"),
    ("callcache_sync", "status", "--json"),
    ("callcache_sync", "resume"),
    ("callcache_trace", "start"),
    ("callcache_trace", "status"),
    ("callcache_trace", "stop"),
    ("callcache_trace", "forget"),
    ("callcache_train", "--prefix", "page:", "--dry-run"),
    ("callcache_ttl", "page:1", "--json"),
    ("callcache_warm", "--top", "5"),
    ("runcachesync", "--once", "--dry-run", "--json"),
    ("runcachesync", "--once", "--json"),
    ("runcachesync", "--once", "--verify"),
)

EXAMINING = (
    ("callcache_doctor", "--json"),
    ("callcache_info", "--json"),
    ("callcache_sync", "status", "--json"),
    ("runcachesync", "--once", "--json"),
)
"""What looks at all there is."""
