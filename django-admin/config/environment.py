"""The environment, read once and strictly: a value that is not understood is an error, never a default."""

from typing import Annotated, Any, Literal

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _words(text: object) -> object:
    return [word.strip() for word in text.split(",") if word.strip()] if isinstance(text, str) else text


def _lower(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


def _is_postgresql(url: SecretStr) -> SecretStr:
    try:
        known = url.get_secret_value().startswith(("postgresql://", "postgres://"))
        if known and dj_database_url.parse(url.get_secret_value()):
            return url
    except (ValueError, dj_database_url.ParseError):
        pass  # not in its words: they quote the address, and so the password
    raise ValueError("expected postgresql://user:password@host:port/name, the password URL-encoded")


Words = Annotated[list[str], NoDecode, BeforeValidator(_words)]


class Environment(BaseSettings):
    """What the environment may say; secrets and addresses have no default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    django_secret_key: SecretStr = Field(min_length=1)
    database_url: Annotated[SecretStr, AfterValidator(_is_postgresql)]
    django_allowed_hosts: Words = []
    django_csrf_trusted_origins: Words = []
    django_secure: bool = False
    django_static_collected: bool = False
    django_trusted_proxies: Annotated[int, Field(ge=0)] = 0
    api_database_role: Annotated[str, Field(min_length=1, max_length=63)] = "ratelimiter_api"
    key_environment: Annotated[str, Field(pattern=r"^[a-z]{1,10}$")] = "live"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)
    ] = "info"

    def database(self) -> dict[str, Any]:
        """Django's form of the database's address."""
        return dict(
            dj_database_url.parse(
                self.database_url.get_secret_value(), conn_max_age=60, conn_health_checks=True
            )
        )


def read() -> Environment:
    """The environment.

    Raises:
        ImproperlyConfigured: names every variable that is missing or wrong, in one line.

    """
    try:
        return Environment()
    except ValidationError as exc:
        problems = []
        for error in exc.errors(include_url=False, include_input=False):
            name = str(error["loc"][0]).upper()
            missing = error["type"] == "missing"
            problems.append(f"{name}: {'is not set, and has no default' if missing else error['msg']}")
        raise ImproperlyConfigured("; ".join(problems)) from None
