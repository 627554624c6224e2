"""The data set in the database."""

from __future__ import annotations

from datetime import datetime
from io import StringIO
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Sum

from testproject.crm.loading import load_calls
from testproject.crm.models import Call, Campaign, Contact

pytestmark = pytest.mark.django_db


class TestLoadCalls:
    def test_load_calls__counters(self):
        """Campaigns and contacts count the calls that were loaded."""
        loaded = load_calls(limit=400)
        assert (loaded.calls, Call.objects.count()) == (400, 400)
        assert (loaded.contacts, Contact.objects.count()) == (loaded.contacts, loaded.contacts)
        for model in (Campaign, Contact):
            assert model.objects.aggregate(Sum("calls_made"))["calls_made__sum"] == 400
        campaign = Campaign.objects.get()
        assert campaign.name == "May 2008"
        assert (
            campaign.talk_seconds == Call.objects.aggregate(Sum("duration_seconds"))["duration_seconds__sum"]
        )

    def test_load_calls__local_time(self):
        """The day begins at 09:00 in the site's time zone."""
        load_calls(limit=1)
        expected = datetime(2008, 5, 5, 9, tzinfo=ZoneInfo("America/Bogota"))
        assert Call.objects.get(pk=1).started_at == expected
        assert Contact.objects.get(pk=1).last_called_at == expected

    def test_load_calls__numbering_goes_on(self):
        """A call saved after the load gets an id of its own."""
        load_calls(limit=3)
        call = Call.objects.get(pk=3)
        call.pk = None
        call.save()
        assert call.pk > 3  # the database may have given away higher ids before
        assert Call.objects.count() == 4


class TestCommand:
    def test_loadcalls__prints_what_it_loaded(self):
        """The command says how much there is now, and shows its progress."""
        output, progress = StringIO(), StringIO()
        call_command("loadcalls", limit=50, stdout=output, stderr=progress)
        assert output.getvalue().startswith("Loaded 50 calls of ")
        assert progress.getvalue() == "Loading calls: 50 of 50 (100%)\n"

    def test_loadcalls__loaded_already(self):
        """Nothing that is there is removed, unless the caller says so."""
        call_command("loadcalls", limit=5, stdout=StringIO(), stderr=StringIO())
        with pytest.raises(CommandError, match="--replace"):
            call_command("loadcalls", limit=6)
        assert Call.objects.count() == 5
        call_command("loadcalls", limit=6, replace=True, stdout=StringIO(), stderr=StringIO())
        assert Call.objects.count() == 6
