"""Django settings, read from the environment (and nowhere else).

Secrets have no default: what is missing or wrong stops the service with its name (see ``startup``).
"""

from datetime import timedelta
from pathlib import Path

from config import environment, theme
from config.logs import logging_config

ENVIRONMENT = environment.read()

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = False
SECRET_KEY = ENVIRONMENT.django_secret_key.get_secret_value()

# Health checks on this host ask for localhost, whatever name the site has outside.
ALLOWED_HOSTS = [*ENVIRONMENT.django_allowed_hosts, "localhost", "127.0.0.1"]
CSRF_TRUSTED_ORIGINS = ENVIRONMENT.django_csrf_trusted_origins

DATABASES = {"default": ENVIRONMENT.database()}
DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 3)
API_DATABASE_ROLE = ENVIRONMENT.api_database_role
KEY_ENVIRONMENT = ENVIRONMENT.key_environment
CURRENCY = ENVIRONMENT.currency
# The API's own address and a management token for it; without both nothing is asked there.
API_URL = ENVIRONMENT.api_url
API_TOKEN = ENVIRONMENT.api_token
# What webhooks' secrets are derived from; without it there are none. See api_manager.notices.
WEBHOOK_SECRET_KEY = ENVIRONMENT.webhook_secret_key
WEBHOOK_ALLOW_PRIVATE = ENVIRONMENT.webhook_allow_private
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "api_manager",  # first, because its templates override the theme's
    "unfold",  # before the admin, whose templates and site it replaces
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_static",
    "django_otp.plugins.otp_totp",
]

MIDDLEWARE = [
    "config.middleware.ProxyMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "config.middleware.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.RequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "config.sessions.SessionLifeMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.metrics.ViewMetricsMiddleware",
    "config.middleware.SecondFactorMiddleware",
    "axes.middleware.AxesMiddleware",
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

UNFOLD = theme.UNFOLD

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]

# Development serves the apps' files as they lie. A deployment sets DJANGO_STATIC_COLLECTED, for
# collectstatic and when it runs, and serves hashed, compressed files cached for ever.
STATIC_URL = "static/"
STATIC_COLLECTED = ENVIRONMENT.django_static_collected
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

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # first, since it lets nobody who must wait come to the next
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in {
        "UserAttributeSimilarityValidator": {},
        "MinimumLengthValidator": {"min_length": 12},
        "CommonPasswordValidator": {},
        "NumericPasswordValidator": {},
    }.items()
]
LOGIN_REDIRECT_URL = (
    "admin:index"  # for whoever asks for the login itself; the theme's form names no other page
)
SESSION_ENGINE = "config.sessions"
SESSION_COOKIE_AGE = 60 * 60  # of idleness; see config.sessions
SESSION_LONGEST_AGE = 12 * 60 * 60
# Not Strict: a link from a mail or a dashboard would lead to the login, whoever is logged in.
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"

# See api_manager.lockout.
AXES_HANDLER = "api_manager.lockout.Handler"
AXES_CLIENT_IP_CALLABLE = "api_manager.lockout.address"
AXES_USERNAME_CALLABLE = "api_manager.lockout.name"
AXES_LOCKOUT_CALLABLE = "api_manager.lockout.page"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
LOGIN_FAILURES_PER_ADDRESS = 20
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True  # the audit tells of logins
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# See api_manager.second_factor.
OTP_TOTP_ISSUER = theme.NAME
REQUIRE_2FA = ENVIRONMENT.django_require_2fa

# Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; nobody else's are.
FORWARDED_ALLOW_IPS = ENVIRONMENT.proxies()

# Set where a proxy of ours terminates TLS, and sets or removes X-Forwarded-Proto itself.
SECURE = ENVIRONMENT.django_secure
SESSION_COOKIE_SECURE = SECURE
CSRF_COOKIE_SECURE = SECURE
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # whether HSTS holds for subdomains, too, is for the owner of the domain to say
    "security.W021",  # and so is whether browsers know it beforehand
    "security.W008",  # nginx redirects to HTTPS; the health check asks this service itself, without
]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None

LOGGING = logging_config(ENVIRONMENT.log_level)
