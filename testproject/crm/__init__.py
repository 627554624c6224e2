"""Campaigns, contacts and calls, served through the cache."""
