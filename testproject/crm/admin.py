"""Admin pages of campaigns, contacts and calls."""

from __future__ import annotations

from django.contrib import admin

from testproject.crm.models import Call, Campaign, Contact


@admin.register(Campaign)
class CampaignAdmin(admin.ModelAdmin):
    list_display = ("name", "starts_on", "calls_made", "subscriptions", "talk_seconds")


@admin.register(Contact)
class ContactAdmin(admin.ModelAdmin):
    list_display = ("id", "age", "job", "education", "calls_made", "subscriptions", "last_called_at")
    list_filter = ("job", "marital_status")


@admin.register(Call)
class CallAdmin(admin.ModelAdmin):
    list_display = ("id", "campaign", "contact", "started_at", "duration_seconds", "subscribed")
    list_filter = ("campaign", "channel", "subscribed")
    list_select_related = ("campaign", "contact")
    raw_id_fields = ("contact",)
    date_hierarchy = "started_at"
