"""What a caller of the API may say about a call."""

from __future__ import annotations

from django import forms

from testproject.crm.models import Call


class CallForm(forms.ModelForm):
    """A call that was just made; the site itself says when."""

    class Meta:
        model = Call
        fields = (
            "campaign",
            "contact",
            "duration_seconds",
            "channel",
            "attempt",
            "days_since_previous",
            "previous_attempts",
            "subscribed",
        )
