"""SQLAlchemy's mirror of the shared tables; Django's migrations own their DDL.

``tests/contract`` compares the two to the letter: columns, types, defaults, constraints, indexes.
"""

from .audit_event import AuditEvent
from .base import Base
from .foreign_format import ForeignFormat
from .key import APIKey, ErasedKey, KeyActivity, KeyLimit
from .notice import Delivery, Notice, Webhook
from .request_log import DrainCursor, RequestLog, RequestLogArchive
from .rollups import EndpointHourly, UsageDaily, UsageHourly, UsageMinutely
from .statement import KeyTerms, TierPrice
from .tier import Tier, TierLimit
from .tier_rule import TierRule, TierSuggestion
from .token import ManagementToken

__all__ = [
    "APIKey",
    "AuditEvent",
    "Base",
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
