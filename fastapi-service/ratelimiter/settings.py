"""The only reader of the environment."""

import re
import sys
from ipaddress import ip_network
from typing import Annotated, Literal, TypeVar

from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio.connection import parse_url
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .database import libpq_url, sqlalchemy_url


class DrainSettings(BaseSettings):
    """What a drain that runs by itself reads; secrets and addresses have no default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    api_database_url: SecretStr = Field(description="PostgreSQL, as the API's role.")
    redis_url: SecretStr = Field(description="Redis: redis://[:password@]host:port/0.")
    redis_shards: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="Shards of buckets and streams; all keys of a shard share a hash tag."
    )
    request_log_retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    request_log_require_archive: bool = Field(
        default=False, description="Whether a day of the log is dropped only once it is archived."
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    api_host: str = Field("127.0.0.1", description="The address to listen on.")
    drain_metrics_port: Annotated[int | None, Field(ge=1, le=65535)] = Field(
        None, description="Where a drain that runs by itself serves its metrics; unset: nowhere."
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_any_case(cls, level: object) -> object:
        return level.lower() if isinstance(level, str) else level

    @field_validator("api_database_url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr) -> SecretStr:
        try:
            make_url(sqlalchemy_url(url.get_secret_value()))
            parse_dsn(libpq_url(url.get_secret_value()))
        except (ArgumentError, ProgrammingError, ValueError):
            # Not their words: they quote the address, and so the password.
            raise ValueError("expected postgresql://user:password@host:port/database") from None
        return url

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        try:
            parse_url(url.get_secret_value())
        except ValueError:
            raise ValueError("expected redis://:password@host:port/0") from None
        return url


class Settings(DrainSettings):
    """What the API reads."""

    admin_api_token: SecretStr = Field(
        min_length=16, description="The bearer token of the management API; at least 16 characters."
    )

    @field_validator("admin_api_token")
    @classmethod
    def _fits_a_header(cls, token: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[!-~]+", token.get_secret_value()):
            raise ValueError("expected visible ASCII characters only, as a header can carry")
        return token

    metrics_require_token: bool = Field(
        default=False, description="Whether /metrics asks for a management token with metrics:read."
    )
    api_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    web_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Worker processes.")
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        description="Proxies whose X-Forwarded-For is believed: addresses or networks, separated by commas.",
    )

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        for word in filter(None, map(str.strip, text.split(","))):
            try:
                ip_network(word)
            except ValueError as exc:
                # uvicorn would take a slip for the name of a host, and believe nobody without a word.
                raise ValueError(
                    f"{exc}; expected addresses and networks such as 10.0.0.0/8, separated by commas"
                ) from None
        return text

    client_ip_truncate: bool = Field(
        default=False, description="Whether of a client's address only its network is kept: /24 or /48."
    )
    http_header_bytes: Annotated[int, Field(ge=1024, le=65_536)] = Field(
        16_384, description="Bytes of a request's line and headers."
    )
    http_header_seconds: Annotated[float, Field(ge=1, le=60)] = Field(
        10,
        description="How long a request's headers may take, from its first byte or the connection's start.",
    )
    http_idle_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        5, description="How long a connection may wait for its next request."
    )
    http_connections: Annotated[int, Field(ge=10, le=1_000_000)] = Field(
        16_384, description="Connections of each worker; fewer where the system allows fewer open files."
    )
    key_environment: Annotated[str, Field(pattern=r"^[a-z]{1,10}$")] = Field(
        "live", description="The word in the middle of the keys issued here."
    )
    decision_timeout_seconds: Annotated[float, Field(gt=0, le=10)] = Field(
        0.05, description="How long a decision may wait for Redis, counted from the request's arrival."
    )
    request_log_drain: bool = Field(
        default=True, description="Whether this service copies the log; off where a drain runs by itself."
    )


S = TypeVar("S", bound=DrainSettings)


def load_settings(kind: type[S]) -> S:
    """The settings of a kind; a wrong or missing one ends the process with one line that names it."""
    try:
        return kind()
    except ValidationError as exc:
        lines = []
        for error in exc.errors(include_url=False, include_input=False):
            name = str(error["loc"][0]).upper()
            missing = error["type"] == "missing"
            lines.append(f"{name}: {'is not set, and has no default' if missing else error['msg']}")
        sys.exit("Cannot start: " + "; ".join(lines) + ".")
