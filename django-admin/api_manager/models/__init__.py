"""The shared schema.

These models and the migrations made from them are the only definition of the tables;
the API service mirrors them in ``ratelimiter.models``, and a contract test proves the two
equal. Constraints and indexes are named, and defaults stand in the database, because both
services and psql write here.
"""

from .audit_event import AuditEvent
from .bounds import (
    FIRST_MOMENT,
    LAST_MOMENT,
    MAX_BURST,
    MAX_INCLUDED_REQUESTS,
    MAX_NOTE_LENGTH,
    MAX_PRICE,
    MAX_REASON_LENGTH,
    MAX_REFILL_HOURS,
    MAX_REQUESTS_PER_HOUR,
    MAX_WINDOW_SECONDS,
)
from .foreign_format import ForeignFormat
from .key import APIKey, ErasedKey, KeyActivity
from .limit import KeyLimit, TierLimit
from .notice import Delivery, Notice, Webhook
from .request_log import DrainCursor, RequestLog, RequestLogArchive
from .rollups import EndpointHourly, UsageDaily, UsageHourly, UsageMinutely
from .statement import KeyTerms, Statement, TierPrice
from .tier import Tier
from .tier_rule import MAX_PERIOD_DAYS, TierRule, TierSuggestion
from .token import ManagementToken

__all__ = [
    "FIRST_MOMENT",
    "LAST_MOMENT",
    "MAX_BURST",
    "MAX_INCLUDED_REQUESTS",
    "MAX_NOTE_LENGTH",
    "MAX_PERIOD_DAYS",
    "MAX_PRICE",
    "MAX_REASON_LENGTH",
    "MAX_REFILL_HOURS",
    "MAX_REQUESTS_PER_HOUR",
    "MAX_WINDOW_SECONDS",
    "APIKey",
    "AuditEvent",
    "Delivery",
    "DrainCursor",
    "EndpointHourly",
    "ErasedKey",
    "ForeignFormat",
    "KeyActivity",
    "KeyLimit",
    "KeyTerms",
    "ManagementToken",
    "Notice",
    "RequestLog",
    "RequestLogArchive",
    "Statement",
    "Tier",
    "TierLimit",
    "TierPrice",
    "TierRule",
    "TierSuggestion",
    "UsageDaily",
    "UsageHourly",
    "UsageMinutely",
    "Webhook",
]
