"""What a call centre knows: its campaigns, the people it calls, and the calls.

The columns are those of the data set beside the project (``testproject/data/README.md``), under
names that say what they hold; the counters are kept up to date by `testproject.crm.recording`.
"""

from __future__ import annotations

from django.db import models


class Campaign(models.Model):
    """One month of calls for one product, a term deposit."""

    name = models.CharField(max_length=40, help_text="Month and year, such as May 2008.")
    starts_on = models.DateField()
    calls_made = models.PositiveIntegerField(default=0)
    subscriptions = models.PositiveIntegerField(default=0, help_text="Calls that ended in a subscription.")
    talk_seconds = models.PositiveBigIntegerField(default=0, help_text="Sum of the calls' durations.")

    class Meta:
        ordering = ("starts_on",)

    def __str__(self) -> str:
        return self.name


class Contact(models.Model):
    """A client of the bank, known by a profile; "unknown" is an answer of the data set."""

    age = models.PositiveSmallIntegerField()
    job = models.CharField(max_length=20)
    marital_status = models.CharField(max_length=10)
    education = models.CharField(max_length=20)
    credit_default = models.CharField(max_length=7, help_text="Has credit in default: yes, no or unknown.")
    housing_loan = models.CharField(max_length=7, help_text="Has a housing loan: yes, no or unknown.")
    personal_loan = models.CharField(max_length=7, help_text="Has a personal loan: yes, no or unknown.")
    calls_made = models.PositiveIntegerField(default=0)
    subscriptions = models.PositiveIntegerField(default=0)
    last_called_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.job}, {self.age} (contact {self.pk})"


class Call(models.Model):
    """One telephone call and what became of it."""

    class Channel(models.TextChoices):
        CELLULAR = "cellular"
        TELEPHONE = "telephone"

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="calls")
    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="calls")
    started_at = models.DateTimeField()
    duration_seconds = models.PositiveIntegerField()
    channel = models.CharField(max_length=10, choices=Channel)
    attempt = models.PositiveSmallIntegerField(
        default=1, help_text="How many times this campaign has called the contact, this call included."
    )
    days_since_previous = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Days since an earlier campaign's last call; empty without one."
    )
    previous_attempts = models.PositiveSmallIntegerField(
        default=0, help_text="Calls to this contact in earlier campaigns."
    )
    subscribed = models.BooleanField(default=False, help_text="Whether the client subscribed the deposit.")

    def __str__(self) -> str:
        return f"call {self.pk}"
