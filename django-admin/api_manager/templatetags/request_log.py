"""How the request log's pages write numbers, and draw the drill-down."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django import template
from django.utils.formats import date_format

from api_manager.request_log.criteria import Span
from api_manager.request_log.drilldown import Drilldown
from api_manager.request_log.form import CriteriaForm

register = template.Library()

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_BAR: Final = 40
"""The height of the highest bar, in the units of its drawing."""
_LABELS: Final = {_DAY: ("day", "j M"), _HOUR: ("hour", "H:i")}
_MINUTE_LABEL: Final = ("minute", "H:i")


@dataclass(frozen=True)
class _Column:
    """A bucket as it is drawn: heights from 0 to ``_BAR``, and the top of each."""

    title: str
    label: str
    link: str
    requests: int
    allowed_height: float
    limited_height: float

    @property
    def limited_top(self) -> float:
        return _BAR - self.limited_height

    @property
    def allowed_top(self) -> float:
        return self.limited_top - self.allowed_height


@register.filter
def about(number: int) -> str:
    """A number in two digits or three: 950, 12 k, 9.8 M."""
    for unit, sign in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            share = number / unit
            return f"{share:.0f} {sign}" if share >= 10 else f"{share:.1f} {sign}"  # noqa: PLR2004
    return str(number)


@register.inclusion_tag("admin/api_manager/requestlog/drilldown.html")
def drilldown(found: Drilldown, form: CriteriaForm) -> dict[str, Any]:
    """The buckets as links into them, with the way to a wider range."""
    name, pattern = _LABELS.get(found.step, _MINUTE_LABEL)
    scale = _BAR / found.most if found.most else 0
    columns = []
    for bucket in found.buckets:
        span = found.span(bucket)
        columns.append(
            _Column(
                title=date_format(bucket.start, "j M Y, H:i"),
                label=date_format(bucket.start, pattern),
                link=form.link(span=span),
                requests=bucket.sums.requests,
                allowed_height=round(bucket.sums.allowed * scale, 1),
                limited_height=round(bucket.sums.limited * scale, 1),
            )
        )
    return {"step": name, "columns": columns, "bar": _BAR, "wider": _wider(found.step, form)}


def _wider(step: timedelta, form: CriteriaForm) -> tuple[str, str] | None:
    """What it is called, and the query of it."""
    if step == _DAY:
        return None
    if step == _HOUR:
        return "30 days", form.link(range="30d", since="", until="")
    start = form.criteria.span.start.astimezone(UTC)
    day = datetime(start.year, start.month, start.day, tzinfo=UTC)
    return date_format(day, "j M Y"), form.link(span=Span(day, day + _DAY))
