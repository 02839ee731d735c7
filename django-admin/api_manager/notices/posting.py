"""Attempts to deliver: a POST to where it may go, within a deadline; how that went is a value."""

import asyncio
import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from time import monotonic, time
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from . import addresses, signature

DEADLINE_SECONDS: Final = 10.0
"""For a whole attempt: name, connection, TLS, and the answer."""
CONNECT_SECONDS: Final = 3.0
"""For each of a name's addresses."""
MAX_ANSWER: Final = 1000
"""Characters of an answer that are kept; four times as many bytes are read."""
MAX_ERROR: Final = 300
"""Characters of an error that are kept: what is wrong with an answer may quote all of it."""
_PORTS: Final = {"http": 80, "https": 443}
_USER_AGENT: Final = "rate-limiter-notices"


@dataclass(frozen=True)
class Message:
    """What is posted, and where to; ``secrets`` sign it."""

    uid: UUID
    kind: str
    created_at: datetime
    data: Mapping[str, object]
    url: str
    secrets: list[str] = field(repr=False)

    @property
    def body(self) -> str:
        """The body; the same bytes on each attempt."""
        moment = self.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json.dumps({"type": self.kind, "timestamp": moment, "data": self.data}, ensure_ascii=False)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: an error is a sentence for an operator, and empty if the receiver took it."""

    status_code: int | None
    duration_ms: int
    error: str
    answer: str = ""


async def post_all(messages: Iterable[Message]) -> list[Outcome]:
    """An attempt for each, all at once. Whatever the network or a receiver does is an outcome."""
    # trust_env=False: no proxy of the environment, which would look the name up by itself. No cookies: they
    # would go to whoever shares an address, such as all behind a CDN.
    async with httpx.AsyncClient(
        verify=_certificates(),
        trust_env=False,
        timeout=CONNECT_SECONDS,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    ) as client:
        return await asyncio.gather(*(_attempt(client, message) for message in messages))


async def _attempt(client: httpx.AsyncClient, message: Message) -> Outcome:
    began = monotonic()
    status, answer, error = None, "", ""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            status, answer = await _post(client, message)
    except addresses.RefusedError as exc:
        error = str(exc)
    except TimeoutError:
        error = f"There was no answer within {DEADLINE_SECONDS:g} s."
    except (OSError, httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
        error = f"{exc.__class__.__name__}: {exc}"
    else:
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            is_redirect = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
            redirects = "; redirects are not followed" if is_redirect else ""
            error = f"The answer was {status}, and not one of 200 to 299{redirects}."
    return Outcome(status, round((monotonic() - began) * 1000), error[:MAX_ERROR], answer)


async def _post(client: httpx.AsyncClient, message: Message) -> tuple[int, str]:
    addresses.check(message.url)
    parts = urlsplit(message.url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    body, now = message.body, int(time())
    headers = {
        "host": parts.netloc,
        "content-type": "application/json",
        "accept-encoding": "identity",  # what is kept of the answer is bounded before it is unpacked
        "user-agent": _USER_AGENT,
        "webhook-id": str(message.uid),
        "webhook-timestamp": str(now),
        "webhook-signature": signature.sign(message.secrets, str(message.uid), now, body),
    }
    found = await addresses.resolve(host, port)
    for address in found:
        # By its address, which was judged; its name is what TLS asks for and verifies.
        place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        request = client.build_request(
            "POST",
            parts._replace(netloc=place).geturl(),
            headers=headers,
            content=body.encode(),
            timeout=httpx.Timeout(DEADLINE_SECONDS, connect=CONNECT_SECONDS),
            extensions={"sni_hostname": host},
        )
        try:
            response = await client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if address == found[-1]:
                raise
        else:
            return response.status_code, await _beginning(response)
    raise OSError(f"{host} has no address")


async def _beginning(response: httpx.Response) -> str:
    """What an answer begins with, as text that PostgreSQL can keep."""
    content = bytearray()
    try:
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) >= 4 * MAX_ANSWER:
                break
    finally:
        await response.aclose()
    return bytes(content[: 4 * MAX_ANSWER]).decode(errors="replace").replace("\0", "\ufffd")[:MAX_ANSWER]


@cache
def _certificates() -> ssl.SSLContext:
    """Whose certificates are believed: httpx's, or those of SSL_CERT_FILE. Reading them takes a while."""
    return httpx.create_ssl_context(trust_env=True)
