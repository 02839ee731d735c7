"""The data plane: decide, and record every decision.

The architecture on one page. Imports point one way::

    app -> api -> health, usage, spent -> keys | limiter | request_log -> models, metrics, errors …

``keys``, ``limiter`` and ``request_log`` never import each other; ``limiter`` knows neither FastAPI
nor SQLAlchemy; only ``app`` and the entry points read ``settings``. import-linter holds this.

**A request** (``api.decisions``). ``X-API-Key`` → SHA-256 → ``keys.directory`` (in this process; on a
miss shape and checksum are looked at, or the formats of imported keys, and garbage ends there; else it is
one indexed SELECT in a thread) → ``limiter.policy`` → ``limiter.denials`` (what Redis would only repeat),
else ``limiter.token_bucket`` (one round trip, shared by all that arrive together) → ``limiter.decision``
→ ``api.answers`` → ``protocol``.

**A log row** (``request_log``). The record rides with the take: the script debits and appends in one
atomic call. Cached denials are appended by themselves, coalesced when there are many. One drain, a process
beside the workers, copies the stream into PostgreSQL and moves its cursor in one transaction.

**An operator's edit** (``keys.news``). A trigger announces every change, by Django, this API or psql;
each worker drops what it cached.

**A management call** (``api.authorization``). ``Authorization`` → has its address failed too often
(``limiter.throttle``)? → the environment's token, else one of ``keys.tokens``, looked up each time → its
scopes → ``keys.management``, which audits it under the token's name.

**When something is away.** Redis: within the decision timeout the worker decides as the key's tier chose
(``limiter.fallback``), says so, and records it later. PostgreSQL: keys in use keep working, also in a worker
that starts meanwhile (``keys.copies``), others get 503, the log waits in its stream.
"""

__version__ = "0.1.0"
