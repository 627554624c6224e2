"""Settings of the sample project; the tests and the demo run on them.

Everything that differs between machines comes from the environment:

    REDIS_URL                Redis that the cache lies in; all names of `django_callcache.conf.environment`
                             are read
    CALLCACHE_POSTGRES_URL   PostgreSQL that serves as the remote store in Supabase's place, if there is one
    SAMPLE_DATABASE          file of the SQLite database
    SAMPLE_SECRET_KEY        Django's SECRET_KEY
    SAMPLE_DEBUG             Django's DEBUG
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import environ

from django_callcache.conf import from_environment

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

SECRET_KEY = env.str("SAMPLE_SECRET_KEY", default="django-insecure-a-sample-has-no-secrets-to-keep")
DEBUG = env.bool("SAMPLE_DEBUG", default=True)
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_callcache",
    "testproject.crm",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.urls"
ASGI_APPLICATION = "testproject.asgi.application"
WSGI_APPLICATION = "testproject.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES: dict[str, Any] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": env.str("SAMPLE_DATABASE", default=str(BASE_DIR / "db.sqlite3")),
        "OPTIONS": {
            # Several requests write at a time: readers go on meanwhile, and a writer waits for its
            # turn when its transaction begins, not when it is too late to start over.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

environment = from_environment(
    {"REDIS_URL": "redis://127.0.0.1:6379/15", **os.environ},
    key_prefix="crm",
    namespace="crm-sample",
    rules={
        "campaign:": {"ttl": "peak-hour", "sync": "lww"},
        "contact:": {"ttl": "peak-hour", "sync": "lww"},
        "call:": {"ttl": "peak-hour", "sync": "lww"},
        "stats:": {"ttl": 30},
    },
)
CACHES = environment.caches
CALLCACHE = environment.callcache

if remote := env.str("CALLCACHE_POSTGRES_URL", default=""):
    DATABASES["supabase"] = env.db_url_config(remote)
    CALLCACHE["SYNC"] |= {"REMOTE": "postgres", "DATABASE": "supabase"}

LANGUAGE_CODE = "en"
TIME_ZONE = "America/Bogota"
USE_TZ = True
STATIC_URL = "static/"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("SAMPLE_LOG_LEVEL", default="WARNING")},
}
