"""The sample project for an ASGI server.

A server that speaks lifespan, as uvicorn does, also runs the sync loop; others need runcachesync.
"""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
# The sample hands out the admin's style sheets itself; a real site leaves that to its web server.
django_application = ASGIStaticFilesHandler(get_asgi_application())

from django_callcache.asgi import lifespan  # noqa: E402 -- it imports models, for which the apps must be ready

application = lifespan(django_application)
