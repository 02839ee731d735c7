"""The bounds of what may be stored; the API service has the same, held equal by a contract test."""

from datetime import UTC, datetime
from decimal import Decimal

MAX_REQUESTS_PER_HOUR = 10**10
"""The highest rate for which the limiter's arithmetic was shown to be exact."""
MAX_BURST = 10**9
MAX_REFILL_HOURS = 87_600
"""Ten years: a bucket that takes longer to refill is refused."""
MAX_PRICE = Decimal("99999999.9999")
"""What the column holds; PostgreSQL's NaN, which is above all numbers, it would hold, too."""
MAX_INCLUDED_REQUESTS = 10**15
MAX_WINDOW_SECONDS = 366 * 86_400
MAX_NOTE_LENGTH = 2000
MAX_REASON_LENGTH = 500
FIRST_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime(9000, 1, 1, tzinfo=UTC)
"""A moment outside of these (PostgreSQL knows more of them) could not be read by every part."""
