"""Models as the dictionaries that are cached, answered as JSON and replicated to the remote store."""

from __future__ import annotations

from typing import Any, TypeAlias

from testproject.crm.models import Call, Campaign, Contact

Record: TypeAlias = dict[str, Any]


def campaign_record(campaign: Campaign) -> Record:
    """Everything about a campaign."""
    return {
        "id": campaign.pk,
        "name": campaign.name,
        "starts_on": campaign.starts_on.isoformat(),
        "calls_made": campaign.calls_made,
        "subscriptions": campaign.subscriptions,
        "talk_seconds": campaign.talk_seconds,
    }


def contact_record(contact: Contact) -> Record:
    """Everything about a contact."""
    return {
        "id": contact.pk,
        "age": contact.age,
        "job": contact.job,
        "marital_status": contact.marital_status,
        "education": contact.education,
        "credit_default": contact.credit_default,
        "housing_loan": contact.housing_loan,
        "personal_loan": contact.personal_loan,
        "calls_made": contact.calls_made,
        "subscriptions": contact.subscriptions,
        "last_called_at": contact.last_called_at and contact.last_called_at.isoformat(),
    }


def call_record(call: Call) -> Record:
    """Everything about a call."""
    return {
        "id": call.pk,
        "campaign": call.campaign_id,
        "contact": call.contact_id,
        "started_at": call.started_at.isoformat(),
        "duration_seconds": call.duration_seconds,
        "channel": call.channel,
        "attempt": call.attempt,
        "days_since_previous": call.days_since_previous,
        "previous_attempts": call.previous_attempts,
        "subscribed": call.subscribed,
    }
