"""What is asked: of which tier or key, under which limits, in which time; for the page and the command.

A limit is written ``name:requests/window[:burst][@prefix]``: the window in seconds, or ``day`` or ``month``
for a quota; ``~`` before the name makes it a shadow.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from api_manager.forms import _bounded, _refill_error
from api_manager.limit_forms import MAX_LIMITS, TierLimitForm
from api_manager.models import MAX_BURST, MAX_REQUESTS_PER_HOUR, APIKey, KeyLimit, Tier, TierLimit
from api_manager.request_log.criteria import LONGEST, Span

from . import kept

SYNTAX: Final = "name:requests/window[:burst][@prefix]"
RANGES: Final = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
DEFAULT_RANGE: Final = "24h"
_HOUR: Final = timedelta(hours=1)
_LIMIT: Final = re.compile(
    r"(?P<shadow>~?)(?P<name>[^:/@]+):(?P<requests>\d{1,18})/(?P<window>\w{1,18})(?::(?P<burst>\d{1,18}))?"
    r"(?:@(?P<prefix>.+))?",
    re.ASCII,
)
_PERIODS: Final = frozenset(TierLimit.Period.values)


@dataclass(frozen=True)
class Question:
    """A tier, or one key of it, and the limits that it would have; ``limits`` are of no row."""

    tier: Tier
    key: APIKey | None
    rate: int
    burst: int | None
    limits: tuple[TierLimit, ...]
    span: Span


def written(limit: TierLimit, own: KeyLimit | None = None) -> str:
    """A limit as it is typed, with a key's own numbers laid over."""
    burst = (own and own.burst) or limit.burst
    return (
        f"{'~' if limit.is_shadow else ''}{limit.name}:{own.requests if own else limit.requests}"
        f"/{limit.window_seconds or limit.period}"
        f"{f':{burst}' if burst else ''}{f'@{limit.endpoint_prefix}' if limit.endpoint_prefix else ''}"
    )


def present(tier: Tier, key: APIKey | None = None) -> dict[str, Any]:
    """What the form says before anything is changed: the limits as they are."""
    own = {limit.name: limit for limit in key.limits.all()} if key else {}
    return {
        "requests_per_hour": key.requests_per_hour if key else tier.requests_per_hour,
        "burst": key.burst if key else tier.burst,
        "limits": "\n".join(written(limit, own.get(limit.name)) for limit in tier.limits.all()),
    }


def name_of(text: str) -> str:
    """The name in a limit that is written down."""
    return text.strip().removeprefix("~").partition(":")[0]


def with_limits(limits: str, changed: Iterable[str]) -> str:
    """Limits, one a line, of which those of the same name are replaced; others are added."""
    by_name = {name_of(line): line for line in limits.splitlines()}
    by_name |= {name_of(line): line for line in changed}
    return "\n".join(by_name.values())


class QuestionForm(forms.Form):
    """The limits that a tier or key would have, and the time; what cannot be meant is its field's error."""

    requests_per_hour = _bounded("Requests per hour", MAX_REQUESTS_PER_HOUR)
    burst = _bounded(
        "Burst",
        MAX_BURST,
        required=False,
        help_text="The bucket's capacity; empty: as many as requests per hour.",
    )
    limits = forms.CharField(
        label="Further limits",
        required=False,
        max_length=4000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text=f"One a line, {SYNTAX}: exports:20/3600@/v1/export, or monthly:100000/month."
        " The window is in seconds, or day or month; a ~ before the name makes it a shadow.",
    )
    range = forms.ChoiceField(
        label="Time",
        required=False,
        choices=[(name, title) for name, (title, _) in RANGES.items()],
        widget=UnfoldAdminSelectWidget,
    )
    since = forms.DateTimeField(label="Or from (UTC)", required=False, widget=UnfoldAdminTextInputWidget)
    until = forms.DateTimeField(label="To (UTC)", required=False, widget=UnfoldAdminTextInputWidget)

    def __init__(self, data: Any, tier: Tier, key: APIKey | None = None) -> None:
        super().__init__(data)
        self.tier, self.key = tier, key
        for name in ("since", "until"):
            self.fields[name].widget.input_type = "datetime-local"
        if key is not None:
            self.fields["requests_per_hour"].required = False
            for name in ("requests_per_hour", "burst"):
                self.fields[name].help_text = "Overrides the tier's; empty: the tier's."

    def clean_limits(self) -> tuple[TierLimit, ...]:
        """The limits; of a key they are its tier's, with other numbers."""
        lines = [line.strip() for line in self.cleaned_data["limits"].splitlines() if line.strip()]
        limits = tuple(_parsed(line) for line in lines)
        names = [limit.name for limit in limits]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValidationError(f"{twice}: two limits have this name; each needs one of its own.")
        if len(limits) > MAX_LIMITS:
            raise ValidationError(f"A tier has {MAX_LIMITS} further limits at most.")
        if self.key is not None:
            self._refuse_others(limits)
        return limits

    def _refuse_others(self, limits: Sequence[TierLimit]) -> None:
        """Of a key only requests and burst are its own; the rest of a limit is the tier's."""
        has = {limit.name: limit for limit in self.tier.limits.all()}
        if {limit.name for limit in limits} != set(has):
            names = ", ".join(has) or "none"
            raise ValidationError(f"A key has the limits of its tier, which are: {names}. Name each of them.")
        for limit in limits:
            of_tier = has[limit.name]
            if any(
                getattr(limit, name) != getattr(of_tier, name)
                for name in ("window_seconds", "period", "endpoint_prefix", "is_shadow")
            ):
                raise ValidationError(
                    f"{limit.name}: a key may have its own requests and burst; the rest is the tier's:"
                    f" {written(of_tier)}"
                )

    def clean(self) -> dict[str, Any]:
        """Refuses a burst that takes too long to refill, and a time that is none."""
        data = super().clean() or self.cleaned_data
        if not {"requests_per_hour", "burst"} & set(self.errors):
            error = _refill_error(self._burst or self._rate, self._rate)
            if error:
                self.add_error("burst" if data["burst"] else "requests_per_hour", error)
        if not {"range", "since", "until"} & set(self.errors):
            self._clean_span()
        return data

    def _clean_span(self) -> None:
        since, until, now = self.cleaned_data["since"], self.cleaned_data["until"], timezone.now()
        _, length = RANGES[self.cleaned_data["range"] or DEFAULT_RANGE]
        # As long as the log may be asked for at once; the first hour counts as a whole.
        try:
            until = min(until or now, now).astimezone(UTC)
            start = (since or until - length).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        except OverflowError:
            self.add_error("since" if since else "until", "Expected a time of this century.")
            return
        if start >= until:
            self.add_error("since", "It must begin before it ends, and before now.")
        elif until - start > LONGEST + _HOUR:
            self.add_error(
                "since", f"At most {LONGEST.days} days at once; what is older may be in the archive."
            )
        else:
            self._clean_kept(Span(start, until), may_shorten=since is None)

    def _clean_kept(self, span: Span, *, may_shorten: bool) -> None:
        """Refuses a time of which the log has dropped days, or leaves them out where no time was named."""
        begin = kept.begin(span)
        if begin >= span.end:
            self.add_error(
                "since", "The log has dropped this time (retention); load_archive brings archived days back."
            )
        elif begin > span.start and not may_shorten:
            self.add_error(
                "since",
                f"The log has dropped days of this time (retention). Begin with {begin:%Y-%m-%d %H:%M}, or"
                " load archived days back with load_archive.",
            )
        else:
            self.span, self.is_shortened = Span(begin, span.end), begin > span.start

    @property
    def _rate(self) -> int:
        return int(self.cleaned_data["requests_per_hour"] or self.tier.requests_per_hour)

    @property
    def _burst(self) -> int | None:
        burst: int | None = self.cleaned_data["burst"]
        return burst or (self.tier.burst if self.key else None)

    @property
    def numbers(self) -> dict[str, str]:
        """What is asked about, as another form of these fields is sent it; only of a valid form."""
        limits = "\n".join(written(limit) for limit in self.cleaned_data["limits"])
        said = {name: self.cleaned_data[name] for name in ("requests_per_hour", "burst")}
        return {name: str(value or "") for name, value in said.items()} | {"limits": limits}

    @property
    def proposed(self) -> dict[str, dict[str, Any]]:
        """The limits as the form of the tier, or of the key, has them, by name; only of a valid form."""
        limits = {limit.name: limit for limit in self.cleaned_data["limits"]}
        if self.key is None:
            return {
                name: {field: getattr(limit, field) for field in TierLimit.FIELDS}
                for name, limit in limits.items()
            }
        own = {limit.name for limit in self.key.limits.all()}
        of_tier = {limit.name: limit for limit in self.tier.limits.all()}
        return {
            name: {
                "name": name,
                "requests": limit.requests,
                "burst": limit.burst if limit.burst != of_tier[name].burst else None,
            }
            for name, limit in limits.items()
            if name in own or written(limit) != written(of_tier[name])
        }

    @property
    def question(self) -> Question:
        """What is asked; only of a valid form."""
        return Question(self.tier, self.key, self._rate, self._burst, self.cleaned_data["limits"], self.span)


def _parsed(line: str) -> TierLimit:
    found = _LIMIT.fullmatch(line)
    if found is None:
        raise ValidationError(f"{line[:100]}: expected {SYNTAX}, such as second:10/1:20.")
    is_period = found["window"] in _PERIODS
    form = TierLimitForm(
        {
            "name": found["name"],
            "requests": found["requests"],
            "window_seconds": "" if is_period else found["window"],
            "burst": found["burst"],
            "period": found["window"] if is_period else "",
            "endpoint_prefix": found["prefix"],
            "is_shadow": bool(found["shadow"]),
        }
    )
    if not form.is_valid():
        name, errors = next(iter(form.errors.items()))
        label = form.fields[name].label or name if name in form.fields else "limit"
        raise ValidationError(f"{line[:100]}: {str(label).lower()}: {errors[0]}")
    return form.instance
