"""The sample project for an ASGI server."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")

# The sample hands out the admin's style sheets itself; a real site leaves that to its web server.
application = ASGIStaticFilesHandler(get_asgi_application())
