"""The ASGI application, for ``uvicorn main:app``; ``python -m ratelimiter.server`` starts it whole."""

from ratelimiter import logs
from ratelimiter.app import create_app
from ratelimiter.settings import Settings, load_settings

settings = load_settings(Settings)
logs.configure(settings.log_level)
app = create_app(settings)
