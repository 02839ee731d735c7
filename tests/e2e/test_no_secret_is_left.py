"""Nothing usable as a key is left: in the database, Redis, a log, a metric, a backup, a command line.

One platform lives through everything that handles a secret, and through what happens when a secret is sent to
the wrong place or a dependency is away; all at the level `debug`. Then every file that it has written is
searched for every secret, in each form that could carry it, but for the files that are there to hold them.
"""

import base64
import gzip
import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
import redis
from django_otp.oath import totp

from local.stack import Embedded
from tests.runs import running
from tests.servers import PROJECT, execute, manage
from tests.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(240)

HOLD_SECRETS = {"env", "redis.conf", "superuser-password", "state.out"}
"""Files of a run that have them on purpose, and are their owner's alone; the last is a terminal's."""
KNOWN_TO_POSTGRES = {"the operator's TOTP secret", "a backup code"}
"""What codes are computed of, or compared with, as docs/security.md says."""
_GZIP = re.compile(rb"\x1f\x8b\x08")
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")


@dataclass
class Life:
    """What a platform was told and has said, and what must be found nowhere."""

    values: dict
    state: Path
    secrets: dict
    texts: dict


@pytest.fixture(scope="module")
def life():
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-secrets-"))
    folder.chmod(0o755)
    variables = {"LOG_LEVEL": "debug", "DECISION_TIMEOUT_SECONDS": "0.2"}
    with running(folder / "state", **variables) as run:
        values = run.wait_until_up()
        life = Life(values, run.state, _secrets_of(values, run.state), {})
        _live(life)
        life.texts["command lines"] = b"\n".join(
            Path(f"/proc/{pid}/cmdline").read_bytes() for pid in run.family()
        )
        with _frozen(run.child("redis-server")):
            _use(life, "redis-away")
        with _postgres_away(run.state):
            _use(life, "postgres-away")
            _manage(life, "postgres-away", expected={503})
            with redis.Redis.from_url(values["REDIS_URL"]) as client:  # the records wait there now
                client.config_set("rdbcompression", "no")  # LZF would break what we look for into pieces
                client.save()
        _write_everything_down(life, folder / "written")
    life.texts = _readable(life.texts | {str(path): path.read_bytes() for path in _files(folder)})
    yield life
    shutil.rmtree(folder, ignore_errors=True)


def test_no_secret_is_left_anywhere(life):
    found = {(name, place) for name, secret in life.secrets.items() for place in _places(secret, life.texts)}
    known = {(name, place) for name, place in found if name in KNOWN_TO_POSTGRES and _is_of_postgres(place)}
    assert found - known == set()


def test_the_search_saw_what_it_is_about(life):
    """Each kind of file was there, and had the life in it: a search of nothing finds nothing."""
    names = "\n".join(life.texts)
    for part in (
        "api.log",
        "admin.log",
        "redis.log",
        "postgres.log",
        "appendonly.aof",
        ".rdb",
        ".dump",
        ".csv.gz",
    ):
        assert part in names, part
    for part in ("metrics of the API", "metrics of the admin", "all data"):
        assert life.texts[part], part
    hint = f"{life.secrets['issued by the API'][:13]}…".encode()
    assert hint in life.texts["all data"]
    for kind, part in (
        (".csv.gz", b"/v1/lived"),
        (".dump", hint),
        (".rdb", b"/v1/postgres-away"),
        (".aof", b"/v1/lived"),
    ):
        assert any(name.endswith(kind) and part in text for name, text in life.texts.items()), kind
    logs = b"".join(text for name, text in life.texts.items() if name.endswith(".log"))
    for event in (
        b'"level": "debug"',
        b"no_decision",
        b"drain_interrupted",
        b'"status": 401',
        b'"status": 503',
    ):
        assert event in logs, event


@pytest.mark.parametrize(
    "write",
    [
        lambda secret: b"x" + secret + b"y",
        lambda secret: b"xy" + base64.b64encode(b"user:" + secret + b":"),
        lambda secret: base64.urlsafe_b64encode(b"4" + secret),
        lambda secret: base64.b64encode(b"32" + secret),
        lambda secret: secret.hex().encode(),
        lambda secret: secret.hex().upper().encode(),
        lambda secret: quote(secret, safe="").encode(),
        lambda secret: gzip.compress(b"in a file: " + secret),
        lambda secret: b"PGDMP" + zlib.compress(b"in a dump: " + secret) + b"more",
    ],
)
@pytest.mark.parametrize("secret", [f"rlk_live_{'Key0' * 12}", "with-punctuation/and+signs_inside"])
def test_the_search_finds_every_form(write, secret):
    texts = _readable({"file": write(secret.encode())})
    assert _places(secret, texts) == {"file"}
    assert _places("something-else-altogether", texts) == set()


def _is_of_postgres(place):
    """Whether a text is what PostgreSQL keeps or a dump of that; its log is not."""
    return "/postgres/data/" in place or place.endswith(".dump") or place == "all data"


def _secrets_of(values, state):
    """The secrets that the platform was started with; each, and each password in an address."""
    found = {
        name: values[name]
        for name in (
            "ADMIN_API_TOKEN",
            "API_TOKEN",
            "DJANGO_SECRET_KEY",
            "WEBHOOK_SECRET_KEY",
            "DJANGO_SUPERUSER_PASSWORD",
            "DEMO_API_KEY",
        )
    }
    for name in ("DATABASE_URL", "API_DATABASE_URL", "REDIS_URL"):
        found[f"password of {name}"] = urlsplit(values[name]).password
    found["PostgreSQL's superuser"] = Embedded(state).environment["PGPASSWORD"]
    return found


def _live(life):
    """Issue, use, deny, rotate and revoke, through every door; and send secrets where they do not belong."""
    site = Site(life.values)
    by_site, life.secrets["issued by the admin"] = site.issue(
        "by the admin", burst="2", requests_per_hour="1"
    )
    issued = _manage(life, "issue", "POST", "", {"name": "by the API", "burst": 2, "requests_per_hour": 1})
    life.secrets["issued by the API"] = issued["key"]
    rotated = _manage(life, "rotate", "POST", f"/{issued['id']}/rotate", {"grace_seconds": 600})
    life.secrets["rotated by the API"] = rotated["key"]
    page = site.post(f"/admin/api_manager/apikey/{by_site}/rotate/", grace_minutes="5").text
    life.secrets["rotated by the admin"] = re.search(r"rlk_live_[0-9A-Za-z]{49}", page)[0]
    out = manage(life.values["DATABASE_URL"], "create_api_key", "--name", "by a command", "--tier", "free")
    life.secrets["issued by a command"] = out.strip()
    scopes = ["keys:read", "keys:write", "metrics:read"]
    page = site.post("/admin/api_manager/managementtoken/add/", name="inventory", scopes=scopes).text
    token = life.secrets["issued as a management token"] = re.search(r"rlm_live_[0-9A-Za-z]{49}", page)[0]
    bearer = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{life.values['API_URL']}/api/keys", headers=bearer, trust_env=False).status_code == 200
    life.secrets["the operator's session"] = site.http.cookies["sessionid"]
    life.secrets["a wrong management token"] = "nearly-the-management-token-of-somebody"
    life.secrets["a wrong password"] = "the-password-of-another-site-9"

    _import(life, site)
    _enrol(life, site)

    _use(life, "lived")
    for key in [secret for name, secret in life.secrets.items() if "issued" in name or "rotated" in name]:
        _mistake(life, site, key)
    site.post("/admin/api_manager/apikey/find/", key=life.secrets["issued by the API"])
    with httpx.Client(base_url=life.values["ADMIN_URL"], trust_env=False) as stranger:
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', stranger.get("/admin/login/").text)[1]
        fields = {"username": life.secrets["issued by the API"], "password": life.secrets["a wrong password"]}
        stranger.post("/admin/login/", data=fields | {"csrfmiddlewaretoken": token})
    wrong = {"Authorization": f"Bearer {life.secrets['a wrong management token']}"}
    assert httpx.get(f"{life.values['API_URL']}/api/keys", headers=wrong, trust_env=False).status_code == 401
    _manage(life, "revoke", "DELETE", f"/{rotated['id']}")
    site.post(f"/admin/api_manager/apikey/revoke/?id={by_site}", confirm="yes")
    _use(life, "revoked")
    site.http.close()


def _import(life, site):
    """Bring keys of another system, one of which stands in every column before it is left out."""
    good, stray = (f"sk_live_{secrets.token_hex(16)}" for _ in range(2))
    life.secrets |= {"a key of another system": good, "one in a wrong column": stray}
    line = f"{hashlib.sha256(good.encode()).hexdigest()},brought,free,,,\n"
    heading = "digest,name,tier,owner_email,allowed_cidrs,note\n"
    cells = [hashlib.sha256(stray.encode()).hexdigest(), "x", "free", "", "", ""]
    wrong = "".join(",".join([*cells[:at], stray, *cells[at + 1 :]]) + "\n" for at in range(len(cells)))
    said = {"prefix": "sk_live_", "min_length": "40", "max_length": "40", "alphabet": "hex"}
    for text, status in ((heading + wrong, 200), (f"{stray}\n", 200), (heading + line, 302)):
        content = base64.b64encode(text.encode()).decode()
        fields = said | {"content": content, "file_name": "keys.csv", "confirmed": "1"}
        assert site.post("/admin/api_manager/apikey/import/", **fields).status_code == status
    site.post("/admin/api_manager/apikey/find/", key=good)
    site.post("/admin/api_manager/apikey/find/", key=stray)
    site.get("/admin/api_manager/apikey/", q=stray)


def _enrol(life, site):
    """Set up a second factor, mistype a backup code, and have new ones shown."""
    page = "/admin/second-factor/"
    secret = re.search(r"(?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}", site.get(page))[0].replace(" ", "")
    life.secrets["the operator's TOTP secret"] = base64.b32decode(secret).hex()
    life.secrets["the same, as it is typed"] = secret
    shown = site.post(page, code=f"{totp(base64.b32decode(secret)):06}").text
    life.secrets["a backup code"] = re.search(r"<li><code>([a-z2-7]{8})</code>", shown)[1]


def _use(life, endpoint):
    """Let every key ask for more than it may, and look."""
    with httpx.Client(base_url=life.values["API_URL"], trust_env=False, timeout=30) as api:
        for name, key in life.secrets.items():
            if key.startswith(("rlk_", "sk_live_")):
                sent = {"X-API-Key": key}
                codes = {
                    api.post("/api/request", headers=sent, json={"endpoint": f"/v1/{endpoint}"}).status_code
                    for _ in range(4)
                }
                unknown = {401} if name == "one in a wrong column" else set()
                assert codes <= {200, 403, 429, 503} | unknown, (name, codes)
                api.get("/api/check", headers=sent)
                api.get("/api/usage", headers=sent)


def _mistake(life, site, key):
    """Send a key in every wrong place that a person or a program may think of."""
    damaged = f"{key[:-1]}{'A' if key[-1] != 'A' else 'B'}"
    basic = base64.b64encode(f"user:{key}".encode()).decode()
    with httpx.Client(base_url=life.values["API_URL"], trust_env=False, timeout=30) as api:
        for path in (
            "/api/request",
            "/api/check",
            "/api/usage",
            "/api/keys",
            "/nowhere",
            f"/api/keys/{key}",
            f"/{key}",
        ):
            api.get(path, params={"api_key": key})
            api.post(path, params={"key": key}, json={"key": key})
        for headers in (
            {"Authorization": f"Bearer {key}"},
            {"Authorization": f"Basic {basic}"},
            {"Authorization": key},
            {"X-API-Key": damaged},
            {"X-API-Key": f"{key} {key}"},
            {"X-API-Key": key, "X-Request-ID": key},
            {"User-Agent": key, "Referer": f"https://example.com/?key={key}", "Cookie": f"key={key}"},
        ):
            api.get("/api/check", headers=headers)
            api.get("/api/keys", headers=headers)
        own = {"X-API-Key": life.secrets["issued by the API"]}
        for body in ({"endpoint": f"/v1/orders?key={key}"}, {"endpoint": key}, {"cost": key}, {key: 1}):
            assert api.post("/api/request", headers=own, json=body).status_code == 422
        assert api.post("/api/request", headers=own, content=f"key={key}").status_code == 400
    for fields in ({"name": key}, {"name": f"for {key}"}, {"name": "x", "owner_email": f"{key}@example.com"}):
        _manage(life, "a key in a field", "POST", "", fields, expected={422})
        site.post("/admin/api_manager/apikey/add/", tier=site.tier_id("free"), is_active="on", **fields)
    manager = {"Authorization": f"Bearer {life.values['ADMIN_API_TOKEN']}", "X-Request-ID": key}
    httpx.post(f"{life.values['API_URL']}/api/keys", json={"name": "x"}, headers=manager, trust_env=False)
    site.get("/admin/api_manager/apikey/", q=key)
    site.get("/admin/api_manager/requestlog/", endpoint=key)
    site.http.get(f"/admin/{key}/", headers={"X-Request-ID": key})
    site.post("/admin/api_manager/apikey/find/", key=damaged)


def _manage(life, name, method="GET", path="", body=None, expected=frozenset({200, 201, 204})):
    answer = httpx.request(
        method,
        f"{life.values['API_URL']}/api/keys{path}",
        json=body,
        headers={"Authorization": f"Bearer {life.values['ADMIN_API_TOKEN']}"},
        trust_env=False,
        timeout=30,
    )
    assert answer.status_code in expected, (name, answer.text)
    return answer.json() if answer.content else None


@contextmanager
def _frozen(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _postgres_away(state):
    stack = Embedded(state)
    stack.sql("ALTER DATABASE ratelimiter WITH ALLOW_CONNECTIONS false")
    try:
        stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ratelimiter'")
        yield
    finally:
        stack.sql("ALTER DATABASE ratelimiter WITH ALLOW_CONNECTIONS true")


def _write_everything_down(life, folder):
    """Metrics, every row, a backup, an archive of all days, and Redis's file, as it has grown and anew."""
    folder.mkdir(mode=0o700)
    for name, address in (("API", "API_URL"), ("admin", "ADMIN_URL")):
        text = httpx.get(f"{life.values[address]}/metrics", trust_env=False).content
        life.texts[f"metrics of the {name}"] = text
    stack = Embedded(life.state)
    wait_for(lambda: _rows(life) > 0, seconds=30)
    life.texts["all data"] = stack.run("pg_dump", "--dbname=ratelimiter").encode()
    make = ["make", "--silent", "backup", f"LOCAL_DIR={life.state}", "STACK=embedded", f"BACKUP_DIR={folder}"]
    subprocess.run(make, cwd=PROJECT, check=True, capture_output=True)
    # Only days that are over are archived: this life was yesterday.
    execute(life.values["DATABASE_URL"], "UPDATE request_log SET timestamp = timestamp - interval '1 day'")
    manage(life.values["DATABASE_URL"], "archive_requests", "--directory", str(folder))
    with redis.Redis.from_url(life.values["REDIS_URL"]) as client:
        shutil.copy(life.state / "redis" / "appendonly.aof", folder / "grown-appendonly.aof")
        client.bgrewriteaof()
        wait_for(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, seconds=30)


def _rows(life):
    [(count,)] = execute(
        life.values["DATABASE_URL"], "SELECT count(*) FROM request_log WHERE endpoint = '/v1/lived'"
    )
    return count


def _files(folder):
    # Bytecode and sockets aside, everything; PostgreSQL's own files are there, too.
    return [path for path in folder.rglob("*") if path.is_file() and path.name not in HOLD_SECRETS]


def _places(secret, texts):
    """The names of the texts that hold a secret, or the random part of one that was issued, in any form."""
    forms = _forms(secret)
    return {name for name, text in texts.items() if any(form in text for form in forms)}


def _forms(secret):
    """What to look for: the secret itself, in base64 wherever it begins there, in hex, in an address."""
    issued = re.fullmatch(r"rl[km]_live_(\w{43})\w{6}", secret)
    raw = (issued[1] if issued else secret).encode()
    forms = {raw, raw.hex().encode(), raw.hex().upper().encode(), quote(raw, safe="").encode()}
    for shift in range(3):
        # Characters at either end depend on the neighbours.
        packed = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
        core = packed[(0, 2, 3)[shift] : -1]
        forms |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    return forms


def _readable(texts):
    """The texts, and behind each packed one what is inside its gzip and zlib streams."""
    return {
        name: text + _unpacked(text) if text.startswith((b"\x1f\x8b", b"PGDMP")) else text
        for name, text in texts.items()
    }


def _unpacked(text):
    parts = []
    for pattern, bits in ((_GZIP, 31), (_ZLIB, 15)):
        for begin in pattern.finditer(text):
            engine = zlib.decompressobj(bits)
            try:
                parts.append(engine.decompress(text[begin.start() :]))
            except zlib.error:
                continue
    return b"".join(parts)
