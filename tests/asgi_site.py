"""The sample project as a site whose server starts and stops the sync loop."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

from django_callcache.asgi import lifespan

application = lifespan(get_asgi_application())
