"""The data set into the database, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from itertools import islice

from django.core.management.color import no_style
from django.db import connection, transaction
from django.utils import timezone

from testproject.crm.bank_calls import BankCall, read_calls
from testproject.crm.models import Call, Campaign, Contact

TOTAL_CALLS = 41_188
BATCH = 2_000


@dataclass
class Loaded:
    """How much a load brought."""

    campaigns: int
    contacts: int
    calls: int


@dataclass
class _Seen:
    """Campaigns and contacts met so far, with their counters; written when all calls are read."""

    zone: tzinfo
    campaigns: dict[int, Campaign] = field(default_factory=dict)
    contacts: dict[int, Contact] = field(default_factory=dict)

    def call(self, row: BankCall) -> Call:
        started_at = row.started_at.replace(tzinfo=self.zone)
        campaign = self._campaign_of(row)
        contact = self._contact_of(row)
        campaign.calls_made += 1
        campaign.subscriptions += row.subscribed
        campaign.talk_seconds += row.duration_seconds
        contact.calls_made += 1
        contact.subscriptions += row.subscribed
        contact.last_called_at = started_at
        return Call(
            pk=row.number,
            campaign_id=row.month.number,
            contact_id=row.contact,
            started_at=started_at,
            duration_seconds=row.duration_seconds,
            channel=row.channel,
            attempt=row.attempt,
            days_since_previous=row.days_since_previous,
            previous_attempts=row.previous_attempts,
            subscribed=row.subscribed,
        )

    def _campaign_of(self, row: BankCall) -> Campaign:
        campaign = self.campaigns.get(row.month.number)
        if campaign is None:
            starts_on = row.month.starts_on
            campaign = Campaign(pk=row.month.number, name=f"{starts_on:%B %Y}", starts_on=starts_on)
            self.campaigns[row.month.number] = campaign
        return campaign

    def _contact_of(self, row: BankCall) -> Contact:
        contact = self.contacts.get(row.contact)
        if contact is None:
            contact = self.contacts[row.contact] = Contact(pk=row.contact, **row.profile._asdict())
        return contact


def load_calls(*, limit: int | None = None, on_progress: Callable[[int], object] = lambda n: None) -> Loaded:
    """Fill the empty tables; the ids are the numbers that the rules of `bank_calls` give.

    Args:
        limit: How many calls to load at most, from the first.
        on_progress: Told the number of calls of each batch written.
    """
    seen = _Seen(timezone.get_default_timezone())
    count = 0
    with transaction.atomic():
        for batch in _batches(seen.call(row) for row in read_calls(limit=limit)):
            Call.objects.bulk_create(batch)
            count += len(batch)
            on_progress(len(batch))
        # The database holds its foreign keys against each other when the transaction ends.
        Campaign.objects.bulk_create(list(seen.campaigns.values()))
        Contact.objects.bulk_create(list(seen.contacts.values()), batch_size=BATCH)
        _continue_numbering()
    return Loaded(campaigns=len(seen.campaigns), contacts=len(seen.contacts), calls=count)


def empty_tables() -> None:
    """Remove every campaign, contact and call."""
    for model in (Call, Contact, Campaign):
        model.objects.all().delete()


def _batches(calls: Iterator[Call]) -> Iterator[list[Call]]:
    while batch := list(islice(calls, BATCH)):
        yield batch


def _continue_numbering() -> None:
    """Let the next id follow the loaded ones, where the database does not see to that itself."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [Campaign, Contact, Call]):
            cursor.execute(statement)
