"""The forms that pin a TTL, and pause what adapts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.numbers import lifetime
from django_callcache.cache.operations.overrides import PinBounds
from django_callcache.pinning import REASON_LENGTH

LASTS = (
    ("900", _("15 minutes")),
    ("3600", _("an hour")),
    ("14400", _("four hours")),
    ("86400", _("a day")),
    ("604800", _("a week")),
    ("", _("until somebody ends it")),
)
"""How long a pin or a pause may last, in seconds."""


class LastingForm(forms.Form):
    """How long something is to last, and why."""

    lasts = forms.ChoiceField(label=_("For how long"), choices=LASTS, required=False, initial="3600")
    reason = forms.CharField(label=_("Reason, for the others"), max_length=REASON_LENGTH - 50, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    @property
    def lasts_seconds(self) -> float | None:
        """Of a valid form; None where it has no end."""
        return float(self.cleaned_data["lasts"]) if self.cleaned_data["lasts"] else None


class PinForm(LastingForm):
    """Which TTL a prefix is pinned to."""

    seconds = forms.FloatField(
        label=_("Seconds to live"),
        widget=forms.NumberInput(attrs={"dir": "ltr", "step": "any"}),
    )
    field_order = ("seconds", "lasts", "reason")

    def __init__(self, *args: Any, bounds: PinBounds, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        seconds = forms.FloatField(
            label=_("Seconds to live"),
            min_value=bounds.least,
            max_value=bounds.most,
            widget=forms.NumberInput(attrs={"dir": "ltr", "step": "any"}),
            help_text=_("From %(least)s to %(most)s, the bounds of its rule and of the settings.")
            % {"least": lifetime(bounds.least), "most": lifetime(bounds.most)},
        )
        self.fields["seconds"] = seconds
        self.order_fields(self.field_order)
