"""Settings of the sample project behind a strict Content-Security-Policy, and below a theme.

E2E_POLICY    "self" (default): only files of the site; "nonce": only what carries Django's nonce
E2E_THEME     "unfold" or "jazzmin"; empty for Django's own look
E2E_LOCALES   folder with further translations
"""

from __future__ import annotations

import os

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS, MIDDLEWARE, TEMPLATES

DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]

if theme := os.environ.get("E2E_THEME"):
    INSTALLED_APPS = [theme, *INSTALLED_APPS]

if locales := os.environ.get("E2E_LOCALES"):
    LOCALE_PATHS = [locales]

if os.environ.get("E2E_POLICY") == "nonce":
    from django.utils.csp import CSP

    MIDDLEWARE = ["django.middleware.csp.ContentSecurityPolicyMiddleware", *MIDDLEWARE]
    SECURE_CSP = {
        "default-src": [CSP.NONE],
        "script-src": [CSP.NONCE],
        "style-src": [CSP.NONCE],
        "img-src": [CSP.SELF],
        "connect-src": [CSP.SELF],
        "form-action": [CSP.SELF],
    }
    processors = TEMPLATES[0]["OPTIONS"]["context_processors"]
    TEMPLATES[0]["OPTIONS"]["context_processors"] = [
        *processors,
        "django.template.context_processors.csp",
    ]
else:
    MIDDLEWARE = ["tests.e2e.policy.strict", *MIDDLEWARE]
