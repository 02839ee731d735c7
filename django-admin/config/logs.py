"""Logs: one JSON object a line on stderr (stdout belongs to what a command prints).

Every line has ``time`` (ISO 8601, UTC), ``level``, ``logger`` and ``event``, and ``request_id``
while a request is served. Django's, gunicorn's and our own records take the same way out.
"""

import re
from typing import Any

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

_SECRET = re.compile(r"(rl[km]_[a-z]{1,10}_[0-9A-Za-z]{4})[0-9A-Za-z]{8,}")


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Shortens anything like a key or management token: the last line of defence, for no caller logs one."""
    return {
        name: _SECRET.sub(r"\1…", text) if isinstance(text, str) else text for name, text in event.items()
    }


def logging_config(level: str) -> dict[str, Any]:
    """The ``dictConfig`` of this service, for Django and gunicorn alike; configures structlog too."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    ours: dict[str, Any] = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    # Plain tracebacks: the ones in dictionaries carry local variables, and so secrets.
                    structlog.processors.format_exc_info,
                    redact,
                    # In ASCII: beyond it there are line ends and terminal codes, and halves of characters.
                    structlog.processors.JSONRenderer(),
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            "django": ours,
            # Says again, and less well, what the request's own line says.
            "django.request": {**ours, "level": "CRITICAL"},
            # Says in its words what api_manager.logins says in ours.
            "axes": {**ours, "level": "ERROR"},
            "gunicorn.error": ours,
            # Says each call of the API; who calls says what failed.
            "httpx": {**ours, "level": "WARNING"},
            # The request's own line stands for it; this one would hold the query string.
            "gunicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
        },
    }
