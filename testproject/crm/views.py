"""The API: campaigns, contacts and calls as JSON, read through the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

from django.core.cache import cache
from django.db.models import Avg, Count, Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from django_callcache.decorators import cached
from django_callcache.exceptions import CallCacheError
from django_callcache.service import CacheService
from testproject.crm.forms import CallForm
from testproject.crm.models import Call, Campaign, Contact
from testproject.crm.recording import record_call
from testproject.crm.records import Record, call_record, campaign_record, contact_record
from testproject.crm.services import CampaignService

campaigns = CampaignService(CacheService())


@require_GET
def campaign(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer with one campaign."""
    return JsonResponse(
        _cached(f"campaign:{pk}", lambda: campaign_record(get_object_or_404(Campaign, pk=pk)))
    )


@require_GET
def contact(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer with one contact."""
    return JsonResponse(_cached(f"contact:{pk}", lambda: contact_record(get_object_or_404(Contact, pk=pk))))


@require_GET
def call(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer with one call."""
    return JsonResponse(_cached(f"call:{pk}", lambda: call_record(get_object_or_404(Call, pk=pk))))


@require_GET
def campaign_stats(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer with figures over a campaign's calls, at most 30 s old: the rule of ``stats:``."""
    return JsonResponse(figures(pk))


@require_GET
async def campaign_overview(request: HttpRequest, pk: int) -> HttpResponse:
    """Answer with one campaign, in asynchronous code through the specification's service."""
    try:
        return JsonResponse(await campaigns.get_campaign(pk))
    except Campaign.DoesNotExist:
        raise Http404(f"no campaign {pk}") from None


# A form on another site cannot send JSON, and there is no session whose rights it could borrow.
@csrf_exempt
@require_POST
def calls(request: HttpRequest) -> HttpResponse:
    """Record a call that was made; answer with its record and those it changed.

    Status 400 says what is wrong with the call, 503 that the cache could not take it, so that
    nothing was recorded.
    """
    if request.content_type != "application/json":
        return JsonResponse({"error": "send application/json"}, status=415)
    try:
        said = json.loads(request.body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return JsonResponse({"error": "this is not a JSON object"}, status=400)
    form = CallForm(said)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors.get_json_data()}, status=400)
    form.instance.started_at = timezone.now()
    try:
        recorded = record_call(form.instance)
    except CallCacheError as error:
        return JsonResponse({"error": str(error)}, status=503)
    return JsonResponse(vars(recorded), status=201)


def _cached(key: str, load: Callable[[], Record]) -> Record:
    record: Record | None = cache.get(key)
    if record is None:
        record = load()
        # The record is in the database; a reader need not hear that Redis did not take it.
        with suppress(CallCacheError):
            # Not `set`: a call recorded since the database was read has cached something newer.
            cache.add(key, record)
    return record


@cached(key="stats:{pk}")
def figures(pk: int) -> Record:
    """Return figures over a campaign's calls.

    Raises:
        Http404: There is no such campaign.
    """
    return get_object_or_404(Campaign, pk=pk).calls.aggregate(
        calls=Count("pk"),
        subscriptions=Count("pk", filter=Q(subscribed=True)),
        contacts=Count("contact", distinct=True),
        mean_duration_seconds=Avg("duration_seconds"),
    )
