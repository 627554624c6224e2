"""Settings for Django's own cache tests, which read ``CACHES`` for the backend to test."""

from __future__ import annotations

import os

SECRET_KEY = "the tests of Django"
USE_TZ = False
INSTALLED_APPS = ["cache"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
CACHES = {
    "default": {
        "BACKEND": os.environ["CALLCACHE_CONTRACT_BACKEND"],
        "LOCATION": os.environ["CALLCACHE_CONTRACT_REDIS"],
        # A stall of a busy machine is no miss, and a fault tells its reason.
        "OPTIONS": {"CALLCACHE": {"DEADLINE": 10, "ON_ERROR": "raise"}},
    },
}
