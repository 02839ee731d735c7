"""The ASGI application, for ``uvicorn main:app``; ``python -m ratelimiter.server`` starts it whole."""

from ratelimiter import logs
from ratelimiter.app import create_app
from ratelimiter.settings import load_settings

settings = load_settings()
logs.configure(settings.log_level)
app = create_app(settings)
