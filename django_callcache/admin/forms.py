"""The forms of the pages: what to clear, and how long a key is to live."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from django_callcache.clearing import Scope, Target
from django_callcache.models import PATTERN_LENGTH


class TtlForm(forms.Form):
    """How long a key is to live from now on."""

    seconds = forms.FloatField(
        label=_("Seconds to live"),
        min_value=1,
        max_value=315_360_000,
        required=False,
        help_text=_("From now on. Left empty, the key never expires."),
        widget=forms.NumberInput(attrs={"dir": "ltr", "step": "any"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


class TrialForm(forms.Form):
    """A channel that is to be tried.

    Args:
        channels: Names of those that there are.
    """

    channel = forms.ChoiceField(label=_("Channel"))

    def __init__(self, *args: Any, channels: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["channel"].choices = [(name, name) for name in channels]  # type: ignore[attr-defined]


class AlertForm(forms.Form):
    """What somebody does about an alert."""

    alert = forms.IntegerField(label=_("Alert"), min_value=1, widget=forms.HiddenInput)
    act = forms.ChoiceField(
        label=_("Operation"), choices=[("acknowledge", _("Acknowledge")), ("silence", _("Silence"))]
    )
    hours = forms.FloatField(label=_("Hours"), min_value=0.1, max_value=24, required=False)
    note = forms.CharField(label=_("Note"), max_length=500, required=False)

    def clean_hours(self) -> float:
        """An hour, unless another time was given."""
        hours: float | None = self.cleaned_data["hours"]
        return 1.0 if hours is None else hours


class ClearForm(forms.Form):
    """A cache, a scope, and a prefix or a pattern unless all of it is meant."""

    alias = forms.ChoiceField(label=_("Cache"))
    scope = forms.ChoiceField(label=_("What"), choices=Scope, widget=forms.RadioSelect)
    text = forms.CharField(
        label=_("Key, prefix or pattern"),
        max_length=PATTERN_LENGTH,
        required=False,
        strip=False,
        help_text=_(
            "A key and a prefix are taken literally. In a pattern, * stands for any characters, ? for one, "
            "and [abc] for one of these."
        ),
        widget=forms.TextInput(attrs={"dir": "ltr", "autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, aliases: Iterable[str], scopes: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        allowed = set(scopes)
        self.fields["alias"].choices = [(name, name) for name in aliases]  # type: ignore[attr-defined]
        self.fields["scope"].choices = [  # type: ignore[attr-defined]
            choice for choice in Scope.choices if choice[0] in allowed
        ]

    def clean(self) -> dict[str, Any]:
        """Refuse a scope without its text, and a pattern that is everything in disguise."""
        cleaned = super().clean() or {}
        scope, text = cleaned.get("scope"), cleaned.get("text", "")
        if scope == Scope.ALIAS:
            cleaned["text"] = ""
        elif (
            scope is not None
            and "text" not in self.errors
            and not (text if scope == Scope.KEY else text.strip("*"))
        ):
            self.add_error("text", _("Write a key, a prefix or a pattern, or choose the whole cache."))
        return cleaned

    @property
    def target(self) -> Target:
        """What a valid form means."""
        return Target(self.cleaned_data["alias"], self.cleaned_data["scope"], self.cleaned_data["text"])
