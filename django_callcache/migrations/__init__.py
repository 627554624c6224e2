"""Migrations of django_callcache."""
