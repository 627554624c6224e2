"""The policy ``peak-hour``: a shorter TTL in hours of the day that are busy as a rule.

An hour of the day is a peak hour if its reads, averaged over the last seven days and today, exceed a
threshold. Only days that have a record for the hour count. Without any record, and also during the
first hours of collection, the office hours 09:00 to 18:59 are peak hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean
from zoneinfo import ZoneInfo

from django_callcache.ttl.policy import Decision, Observation, TtlParameters
from django_callcache.ttl.profile import HOUR, days_back
from django_callcache.ttl.sentence import Sentence, gettext_noop

OFFICE_HOURS = range(9, 19)
DAYS_BACK = 7

_BUSY = gettext_noop(
    "{hour:02}:00 is a peak hour: {average:.1f} reads on average over {samples:.0f} days, "
    "above {threshold:g}."
)
_QUIET = gettext_noop(
    "{hour:02}:00 is no peak hour: {average:.1f} reads on average over {samples:.0f} days, "
    "not above {threshold:g}."
)
_OFFICE_HOURS = {
    (False, True): gettext_noop(
        "{hour:02}:00 is within office hours, which decide since nothing is recorded yet."
    ),
    (False, False): gettext_noop(
        "{hour:02}:00 is outside office hours, which decide since nothing is recorded yet."
    ),
    (True, True): gettext_noop(
        "{hour:02}:00 is within office hours, which decide since collection has just begun."
    ),
    (True, False): gettext_noop(
        "{hour:02}:00 is outside office hours, which decide since collection has just begun."
    ),
}
"""By whether collection has begun, and whether the hour is one of them."""


@dataclass(frozen=True, slots=True)
class PeakAssessment:
    """Whether an hour of the day is a peak hour, and why."""

    is_peak: bool
    reason: str
    terms: Mapping[str, float | str]
    warm_until: float | None
    """Seconds since the epoch at which the warm-up ends; None when it is over or has not begun."""


class PeakHour:
    """A shorter TTL in peak hours."""

    name = "peak-hour"
    learns = False

    def __init__(self, parameters: TtlParameters) -> None:
        try:
            self.zone = ZoneInfo(parameters.time_zone)
        except (KeyError, ValueError, OSError) as error:
            message = f"time_zone is {parameters.time_zone!r}: give a zone that zoneinfo knows."
            raise ValueError(message) from error
        self.parameters = parameters

    def decide(self, observation: Observation) -> Decision:
        """Answer by the hour of the day that it is in the business's time zone."""
        local = datetime.fromtimestamp(observation.now, self.zone)
        assessment = self.assess(local.hour, observation)
        ttl_seconds = self.parameters.peak_ttl if assessment.is_peak else self.parameters.default_ttl
        next_hour = observation.now - (local.minute * 60 + local.second + local.microsecond / 1e6) + HOUR
        valid_until = next_hour if assessment.warm_until is None else min(next_hour, assessment.warm_until)
        return Decision(ttl_seconds, self.name, assessment.reason, assessment.terms, valid_until)

    def assess(self, hour: int, observation: Observation) -> PeakAssessment:
        """Tell whether an hour of the day, 0 to 23, is a peak hour as things stand."""
        today = datetime.fromtimestamp(observation.now, self.zone).date()
        first_day = datetime.combine(today - timedelta(days=DAYS_BACK), datetime.min.time(), self.zone)
        first_hour = observation.profile.first_hour(first_day.timestamp(), observation.now)
        if first_hour is None:
            return self._by_office_hours(hour, False, {}, None)
        warm_until = first_hour * HOUR + self.parameters.warmup_hours * HOUR
        is_warm = observation.now >= warm_until
        samples = observation.profile.samples(hour, days_back(today, DAYS_BACK), self.zone)
        average = fmean(samples) if samples else 0.0
        terms = {"average": average, "samples": float(len(samples))}
        if average > self.parameters.usage_threshold or is_warm:
            return self._by_average(hour, terms, None if is_warm else warm_until)
        return self._by_office_hours(hour, True, terms, warm_until)

    def _by_average(self, hour: int, terms: dict[str, float], warm_until: float | None) -> PeakAssessment:
        threshold = self.parameters.usage_threshold
        is_peak = terms["average"] > threshold
        reason = Sentence(_BUSY if is_peak else _QUIET, hour=hour, threshold=threshold, **terms)
        return PeakAssessment(is_peak, reason, self._terms(hour, is_peak, terms), warm_until)

    def _by_office_hours(
        self, hour: int, has_begun: bool, terms: dict[str, float], warm_until: float | None
    ) -> PeakAssessment:
        is_peak = hour in OFFICE_HOURS
        reason = Sentence(_OFFICE_HOURS[has_begun, is_peak], hour=hour)
        return PeakAssessment(is_peak, reason, self._terms(hour, is_peak, terms), warm_until)

    def _terms(self, hour: int, is_peak: bool, terms: dict[str, float]) -> dict[str, float | str]:
        return {
            "hour": float(hour),
            "peak": float(is_peak),
            **terms,
            "threshold": self.parameters.usage_threshold,
            "time_zone": self.parameters.time_zone,
        }
