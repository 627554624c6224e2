"""Addresses of the API."""

from __future__ import annotations

from django.urls import path

from testproject.crm import views

urlpatterns = [
    path("campaigns/<int:pk>/", views.campaign),
    path("campaigns/<int:pk>/overview/", views.campaign_overview),
    path("campaigns/<int:pk>/stats/", views.campaign_stats),
    path("contacts/<int:pk>/", views.contact),
    path("calls/", views.calls),
    path("calls/<int:pk>/", views.call),
]
