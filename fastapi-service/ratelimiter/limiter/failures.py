"""Why Redis did not decide: in the few words that a metric may carry, and whether it would do so again."""

import re
from typing import Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

_REASONS: Final = {"OOM": "full", "READONLY": "readonly", "LOADING": "loading", "MISCONF": "disk"}
"""By the code of Redis's error; the last is one that cannot write its file and so takes no writes."""
# Up to 6.2 an error inside a script is told as ERR, and its own code stands somewhere in the text.
_CODE: Final = re.compile(rf"\b({'|'.join(_REASONS)})\b")


def reason_of(failure: BaseException) -> str:
    """``timeout``, ``connection``, ``full``, ``readonly``, ``loading``, ``disk`` or ``other``.

    A refused password counts as ``connection``, since there is none then.
    """
    if isinstance(failure, (TimeoutError, RedisTimeoutError)):
        return "timeout"
    if isinstance(failure, (OSError, RedisConnectionError)):
        return "connection"
    code = _CODE.search(str(failure))
    return _REASONS[code[1]] if code else "other"


def is_poison(reply: Exception) -> bool:
    """Whether the script failed by itself, as it would again; not Redis, for want of memory or the like."""
    return isinstance(reply, ResponseError) and str(reply).startswith("ERR") and reason_of(reply) == "other"
