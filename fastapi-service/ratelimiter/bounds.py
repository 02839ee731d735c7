"""The bounds of limits; the schema's CHECK constraints say the same."""

from typing import Final

MAX_REQUESTS_PER_HOUR: Final = 10**10
"""The highest rate for which the limiter's arithmetic was shown to be exact."""
MAX_BURST: Final = 10**9
MAX_REFILL_HOURS: Final = 87_600
"""Ten years: a bucket that takes longer to refill is refused."""
MAX_WINDOW_SECONDS: Final = 366 * 86_400
"""The longest window of a bucket: a year."""
