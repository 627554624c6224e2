"""The use that the specification documents, in the shape that today's libraries allow.

``table`` for ``from_table``, which the supabase client does not have; ``Http404`` for FastAPI's
``HTTPException``; a dataclass for a pydantic model; the server's lifespan for ``on_event``.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import httpx
import psycopg
import pytest
from django.http import Http404
from supabase import AsyncClientOptions, create_async_client

from django_callcache.asgi import lifespan
from django_callcache.service import CacheService
from testproject.parts.missing import PartMissing
from tests.asgi_lifespan import living
from tests.conftest import require
from tests.service.conftest import eventually
from tests.supalite.supalite import SupaLite
from tests.sync.conftest import new_database

CAMPAIGNS = """
create table public.campaigns (id text primary key, name text not null, calls_made int not null);
alter table public.campaigns enable row level security;
do $$ begin
  if exists (select 1 from pg_roles where rolname = 'service_role') then
    grant all on public.campaigns to service_role;
  end if;
end $$;
"""


@dataclass
class Campaign:
    id: str
    name: str
    calls_made: int


class CampaignService:
    def __init__(self, supabase_client, cache_service: CacheService) -> None:
        self.supabase = supabase_client
        self.cache_service = cache_service
        self.cache_prefix = "campaign:"

    async def get_campaign(self, campaign_id: str) -> Campaign:
        cache_key = f"{self.cache_prefix}{campaign_id}"
        cached_data = await self.cache_service.get(cache_key)
        if cached_data is not None:
            return Campaign(**cached_data)
        result = await self.supabase.table("campaigns").select("*").eq("id", campaign_id).execute()
        if not result.data:
            raise Http404("Campaign not found")
        campaign = Campaign(**result.data[0])
        await self.cache_service.set(cache_key, asdict(campaign))
        return campaign


@pytest.fixture(scope="module")
def project_url(postgres_url):
    """Address of the database of a Supabase project that holds campaigns beside our schema."""
    url = new_database(postgres_url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(CAMPAIGNS)
    return url


@pytest.fixture(scope="module")
def project(project_url):
    """The project's server."""
    try:
        with SupaLite(project_url) as server:
            yield server
    except PartMissing as missing:
        require(str(missing))


@pytest.fixture
def database(project_url):
    """The project's database, as its owner sees it; emptied after the test."""
    with psycopg.connect(project_url, autocommit=True) as connection:
        yield connection
        connection.execute("truncate public.campaigns, public.callcache_entries")


@pytest.fixture
def synced(settings, project):
    """Settings by which the cache syncs with the project."""
    settings.CALLCACHE = {
        "SYNC": {
            "REMOTE": "supabase",
            "NAMESPACE": "tests",
            "SUPABASE_URL": project.url,
            "SUPABASE_KEY": project.secret_key,
        }
    }


@asynccontextmanager
async def supabase_client(project):
    """The client of the application, whose connections end with the test."""
    async with httpx.AsyncClient() as connections:
        options = AsyncClientOptions(
            httpx_client=connections, auto_refresh_token=False, persist_session=False
        )
        yield await create_async_client(project.url, project.secret_key, options)


@pytest.mark.django_db(transaction=True)
class TestCampaignService:
    async def test_get_campaign(self, project, database, synced):
        """A campaign is read from Supabase once, then from the cache, and the cache's copy is synced."""
        database.execute("insert into campaigns values ('7', 'May 2008', 12)")
        cache_service = CacheService()

        async with supabase_client(project) as client, living(lifespan(None, cache_service)):
            campaigns = CampaignService(client, cache_service)
            first = await campaigns.get_campaign("7")
            database.execute("delete from campaigns")
            second = await campaigns.get_campaign("7")
            assert first == second == Campaign("7", "May 2008", 12)
            metrics = await cache_service.get_metrics()
            assert (metrics.hit_count, metrics.miss_count, metrics.keys_count) == (1, 1, 1)
            report = await cache_service.sync_now()
            assert (report.outcome, report.errors) == ("ok", [])

        row = database.execute("select value from callcache_entries where key = '1:campaign:7'").fetchone()
        assert row == ({"id": "7", "name": "May 2008", "calls_made": 12},)

    async def test_get_campaign__missing(self, project, synced):
        """A campaign that Supabase does not know is not found, and nothing is cached for it."""
        cache_service = CacheService()
        async with supabase_client(project) as client:
            with pytest.raises(Http404):
                await CampaignService(client, cache_service).get_campaign("8")
        assert await cache_service.get("campaign:8") is None

    async def test_lifespan(self, project, database, synced):
        """Between the server's start and its end the loop syncs what is written, by itself."""
        cache_service = CacheService(sync_interval=1)
        async with living(lifespan(None, cache_service)):
            await cache_service.set("campaign:9", {"name": "June"})
            await eventually(
                lambda: database.execute(
                    "select 1 from callcache_entries where key = '1:campaign:9'"
                ).fetchone()
            )
        assert cache_service.sync_task.done()
