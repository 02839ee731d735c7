"""The ASGI application, for ``uvicorn main:app``; ``python -m ratelimiter.server`` starts it whole."""

import gc

from ratelimiter import logs
from ratelimiter.app import create_app
from ratelimiter.settings import Settings, load_settings

settings = load_settings(Settings)
logs.configure(settings.log_level)
app = create_app(settings)
# What has been loaded stays, and requests leave no cycles: the collector need not look often.
gc.freeze()
gc.set_threshold(50_000, 20, 20)
