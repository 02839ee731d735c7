"""Django settings, read from the environment (and nowhere else).

Secrets have no default: a missing one stops the service with its name (see ``startup``).
"""

from pathlib import Path

import environ  # type: ignore[import-untyped]  # it has no annotations
from django.core.exceptions import ImproperlyConfigured

from config.logs import logging_config

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = False
SECRET_KEY = env.str("DJANGO_SECRET_KEY")
if not SECRET_KEY:
    raise ImproperlyConfigured("Set the DJANGO_SECRET_KEY environment variable: it is empty")

# The container's own health check asks for localhost, whatever name the site has outside.
ALLOWED_HOSTS = [*env.list("DJANGO_ALLOWED_HOSTS", default=[]), "localhost", "127.0.0.1"]
CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS", default=[])

# Looked at before it is parsed, for the parser's own complaints show the password.
if not env.str("DATABASE_URL").startswith(("postgresql://", "postgres://")):
    raise ImproperlyConfigured("DATABASE_URL must be a postgresql:// URL")
try:
    DATABASES = {"default": env.db("DATABASE_URL")}
except ValueError:
    raise ImproperlyConfigured("DATABASE_URL is not a valid URL; is the password URL-encoded?") from None
DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 3)
API_DATABASE_ROLE = env.str("API_DATABASE_ROLE", default="ratelimiter_api")
KEY_ENVIRONMENT = env.str("KEY_ENVIRONMENT", default="live")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "api_manager",  # first, because its templates override the admin's
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.RequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]

# Development serves the apps' files as they lie. An image sets DJANGO_STATIC_COLLECTED, at its
# build (collectstatic) and when it runs, and serves hashed, compressed files cached for ever.
STATIC_URL = "static/"
STATIC_COLLECTED = env.bool("DJANGO_STATIC_COLLECTED", default=False)
STATIC_ROOT = BASE_DIR / "staticfiles" if STATIC_COLLECTED else None
WHITENOISE_USE_FINDERS = not STATIC_COLLECTED
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_COLLECTED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
SESSION_COOKIE_AGE = 12 * 60 * 60
X_FRAME_OPTIONS = "DENY"

# How many proxies of ours stand in front and append to X-Forwarded-For; 0: nobody's word is taken.
TRUSTED_PROXIES = env.int("DJANGO_TRUSTED_PROXIES", default=0)

# Set where a proxy of ours terminates TLS, and sets or removes X-Forwarded-Proto itself.
SECURE = env.bool("DJANGO_SECURE", default=False)
SESSION_COOKIE_SECURE = SECURE
CSRF_COOKIE_SECURE = SECURE
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None

LOGGING = logging_config(env.str("LOG_LEVEL", default="info"))
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = 10  # one line a request: the one at its end
DJANGO_STRUCTLOG_USER_ID_FIELD = "username"
