"""The specification's ``CampaignService``: asynchronous code that reads through a CacheService."""

from __future__ import annotations

from django_callcache.service import CacheService
from testproject.crm.models import Campaign
from testproject.crm.records import Record, campaign_record


class CampaignService:
    """Campaigns by id, from the cache where they are there, else from the database.

    Args:
        cache_service: The cache in the specification's words.
    """

    def __init__(self, cache_service: CacheService) -> None:
        self.cache_service = cache_service
        self.cache_prefix = "campaign:"

    async def get_campaign(self, campaign_id: int) -> Record:
        """Return a campaign's record.

        Raises:
            Campaign.DoesNotExist: There is no such campaign.
        """
        cache_key = f"{self.cache_prefix}{campaign_id}"
        cached = await self.cache_service.get(cache_key)
        if cached is not None:
            return cached
        record = campaign_record(await Campaign.objects.aget(pk=campaign_id))
        await self.cache_service.set(cache_key, record)
        return record
