"""The page that Prometheus scrapes. It is never public: a token opens it, or a permission of ours."""

from __future__ import annotations

import secrets

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_callcache.conf import get_settings

PERMISSION = "django_callcache.view_dashboard"


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape.

    Raises:
        ImproperlyConfigured: prometheus_client is not installed.
    """
    if not _may_scrape(request):
        refusal = HttpResponse("A token or a permission is needed.\n", status=401, content_type="text/plain")
        refusal["WWW-Authenticate"] = 'Bearer realm="callcache metrics"'
        return refusal
    try:
        exposition = import_string("django_callcache.metrics.exposition")
    except ImportError as error:
        raise ImproperlyConfigured(
            "The metrics page needs prometheus_client: pip install 'django-callcache[prometheus]'."
        ) from error
    body, content_type = exposition(request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=content_type)


def _may_scrape(request: HttpRequest) -> bool:
    token = get_settings().metrics.token
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if token and scheme.lower() == "bearer":
        return secrets.compare_digest(given.strip().encode(), token.encode())
    user = getattr(request, "user", None)
    return user is not None and user.is_active and user.has_perm(PERMISSION)
