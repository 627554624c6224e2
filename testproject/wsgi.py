"""The sample project for a WSGI server."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")

# The sample hands out the admin's style sheets itself; a real site leaves that to its web server.
application = StaticFilesHandler(get_wsgi_application())
