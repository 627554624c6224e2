"""A Django cache backend on Redis with adaptive TTL, sync with Supabase, statistics and admin pages."""

__version__ = "0.1.0"
