"""What a key has used, from the roll-up that the drain keeps."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from .models import UsageHourly


def hourly(
    engine: Engine, api_key_id: int, start: datetime, end: datetime, limit: int
) -> Sequence[UsageHourly]:
    """A key's usage by hour and endpoint, from ``start`` to before ``end``; at most ``limit`` rows."""
    query = (
        select(UsageHourly)
        .where(UsageHourly.api_key_id == api_key_id, UsageHourly.hour >= start, UsageHourly.hour < end)
        .order_by(UsageHourly.hour, UsageHourly.endpoint)
        .limit(limit)
    )
    with Session(engine) as session:
        return session.scalars(query).all()
