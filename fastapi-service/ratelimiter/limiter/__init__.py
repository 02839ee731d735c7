"""Deciding: a policy, a bucket in Redis, a decision. Knows neither FastAPI nor SQLAlchemy.

**The bucket is one number**: the time at which it will be full again. With ``interval`` the time
in which one token comes back, ``tokens = capacity - (full_at - now) / interval``. A take moves
``full_at`` on by ``cost * interval`` unless that passes ``now + capacity * interval``; this is the
generic cell rate algorithm (GCRA, ITU-T I.371). One value to read and one to write, it expires by
itself exactly when the bucket is full, and no idle wait is ever rounded away.

**Units.** Time is counted in ticks of 1/16 µs since 2025-01-01, in integers below 2^53, which
Lua's doubles hold exactly. ``interval`` is rounded *up* to whole ticks: never faster than the rate,
0.7% slower at 10^9 requests an hour, exact to 0.01% below 10^8. Redis's ``TIME`` is the only clock.

**Concurrency.** The script is atomic, so any number of workers share a bucket exactly. What arrives in
one turn of the event loop shares a call; a few calls may be under way on one connection, so that Redis
and the worker work at the same time, and beyond them what arrives waits for the next. There is no
timer, no added latency when idle, and the calls per request get fewer as load rises.

**Plans.** A tier may have further limits (``plan``): buckets of the same kind, and quotas, which count what a
calendar period has spent. Their levels stand in the value of the one key, behind the bucket's, so that one
call reads, decides and debits all of a request's limits, or none. They stand in the plan's order, as numbers:
names are compared only where the plan has changed since. An edit keeps each level by the limit's name: of a
bucket the time until it is full, clamped to the new limit's refill, of a quota what is spent.

**Denials.** A denial that Redis would only repeat is found in ``denials`` instead, by whoever asks there
before a take. What adds tokens besides time (a reset, other limits) must clear it.

**Failed attempts** to authenticate have buckets of the same kind, by client (``throttle``).

**Failure.** A take is never retried and has a deadline counted from its arrival. The deadline, on
Redis's clock, is an argument of the script, so that a call which reaches Redis late does nothing.
When Redis cannot decide in time, ``LimiterUnavailable`` is raised; a denial is a value. The first such
failure opens a shard's circuit breaker: then it is raised at once, until a probe finds Redis well again.
Openings are counted, and each failed call and probe, by what ``failures`` takes for its reason.
What is decided meanwhile is ``fallback``'s; it is appended to the stream later, with its time.
"""
