"""A call that was made: into the database and into the cache, with the counters it changes."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.cache import cache
from django.db import transaction
from django.db.models import F

from testproject.crm.models import Call, Campaign, Contact
from testproject.crm.records import Record, call_record, campaign_record, contact_record


@dataclass(frozen=True)
class Recorded:
    """A call's records as they are after it."""

    call: Record
    campaign: Record
    contact: Record


def record_call(call: Call) -> Recorded:
    """Save a new call, count it for its campaign and contact, and cache all three.

    Raises:
        CallCacheError: The cache could not take what is meant for the remote store; then the
            database has nothing of the call either.
    """
    with transaction.atomic():
        call.save(force_insert=True)
        Campaign.objects.filter(pk=call.campaign_id).update(
            calls_made=F("calls_made") + 1,
            subscriptions=F("subscriptions") + int(call.subscribed),
            talk_seconds=F("talk_seconds") + call.duration_seconds,
        )
        Contact.objects.filter(pk=call.contact_id).update(
            calls_made=F("calls_made") + 1,
            subscriptions=F("subscriptions") + int(call.subscribed),
            last_called_at=call.started_at,
        )
        recorded = Recorded(
            call=call_record(call),
            campaign=campaign_record(Campaign.objects.get(pk=call.campaign_id)),
            contact=contact_record(Contact.objects.get(pk=call.contact_id)),
        )
        # Inside the transaction, while it holds the rows: two calls of one campaign cannot
        # overtake each other on their way to the cache.
        cache.set(f"campaign:{call.campaign_id}", recorded.campaign)
        cache.set(f"contact:{call.contact_id}", recorded.contact)
        cache.set(f"call:{call.pk}", recorded.call)
    return recorded
