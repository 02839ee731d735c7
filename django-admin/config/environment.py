"""The environment, read once and strictly: a value that is not understood is an error, never a default."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.currency import is_currency

Network = IPv4Network | IPv6Network

_PRINTABLE: Final = re.compile(r"[!-~]+")
"""What a header may hold, without spaces."""


_LEAST_OF_A_SECRET: Final = 32
"""Characters; as many as 192 random bits have in base64."""


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


def _unset(text: object) -> object:
    # Compose hands on what is not set as an empty text.
    return None if text == "" else text


def _is_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = (
            parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
        )
        if known and not (parts.username or parts.password or parts.query or parts.fragment):
            return url.rstrip("/")
    except ValueError:
        pass  # not in its words: they quote the address
    raise ValueError("expected http://host:port or https://host:port, without a user")


def _is_printable(token: SecretStr) -> SecretStr:
    if _PRINTABLE.fullmatch(token.get_secret_value()) is None:
        raise ValueError("expected a management token: letters, digits and signs, without spaces")
    return token


def _is_long(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < _LEAST_OF_A_SECRET:
        raise ValueError(f"expected {_LEAST_OF_A_SECRET} characters at least: openssl rand -base64 48")
    return secret


def _are_networks(text: str) -> str:
    _networks(text)
    return text


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())
    except ValueError as exc:
        raise ValueError(
            f"{exc}; expected addresses and networks such as 10.0.0.0/8, separated by commas"
        ) from None


Words = Annotated[list[str], NoDecode, BeforeValidator(_words)]


class Environment(BaseSettings):
    """What the environment may say; secrets and addresses have no default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    django_secret_key: SecretStr = Field(min_length=1)
    database_url: Annotated[SecretStr, AfterValidator(_is_postgresql)]
    django_allowed_hosts: Words = []
    django_csrf_trusted_origins: Words = []
    django_secure: bool = False
    django_require_2fa: bool = False
    django_static_collected: bool = False
    forwarded_allow_ips: Annotated[str, AfterValidator(_are_networks)] = "127.0.0.1"
    api_database_role: Annotated[str, Field(min_length=1, max_length=63)] = "ratelimiter_api"
    key_environment: Annotated[str, Field(pattern=r"^[a-z]{1,10}$")] = "live"
    api_url: Annotated[Annotated[str, AfterValidator(_is_address)] | None, BeforeValidator(_unset)] = None
    api_token: Annotated[
        Annotated[SecretStr, AfterValidator(_is_printable)] | None, BeforeValidator(_unset)
    ] = None
    currency: Annotated[str, AfterValidator(is_currency)] = "EUR"
    webhook_secret_key: Annotated[
        Annotated[SecretStr, AfterValidator(_is_long)] | None, BeforeValidator(_unset)
    ] = None
    webhook_allow_private: bool = False
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

    def proxies(self) -> tuple[Network, ...]:
        """The networks of ``forwarded_allow_ips``; a single address is a network of one."""
        return _networks(self.forwarded_allow_ips)


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
