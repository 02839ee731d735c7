"""Recording: from the decision to its row, exactly once.

The limiter's script appends each outcome to a Redis stream in the same atomic call that debits the
bucket, so a decision of Redis's that was answered is a decision that was recorded. Denials that a worker
remembers are appended right after: each by itself, or counted by ``coalescer``. One stream entry carries a
whole batch: a head (epoch, number of records before it, Redis's time), then a pair per record, the
bytes that ``record.encode`` made and the outcome that the script added. ``outbox`` reads it. A record
of denials may count many requests; sequence, position and counters go on counting records.

``drain`` copies entries into PostgreSQL: ``rows`` by COPY, the sums of ``rollups``, and the
cursor, all in one transaction; only then is the stream trimmed. One drain at a time leads, by an
advisory lock; any process can take over, and does so without the lock if the leader stands still.
The cursor moves by compare-and-set, so that neither a ghost that still holds the lock nor a second
drain can write a row twice. It names the stream's epoch: a Redis that comes back empty starts a new
one, and its ids start anew. A take is never retried; but when its reply was lost the worker decides and
records anew, and what was appended in a lost call is sent again. Such records carry their own time, and are
held against the log by the id that every decision has: the first one stays.

**Where it runs.** ``python -m ratelimiter.server`` keeps one drain as a child process (``process``),
however many its workers: in a thread of a worker it would take time from the event loop. Under
``uvicorn main:app`` it is such a thread all the same; ``python -m ratelimiter.request_log`` runs it
alone, and more of them are spares.

**Speed.** The dear part of a row is not itself but the sums it adds to: with many keys, most rows of
a small transaction touch rows of their own in four tables. So the
drain lingers half a second for more, and copies some 30 000 at once if they wait; clients repeat
themselves, so most of a record is looked up rather than parsed. Then the cost of a row is that of its
three indexes. COPY takes text: binary would save PostgreSQL a tenth, but a migration that changes a
column's type would have a drain that still runs the old code refuse every record, or stand still.

**Failure.** PostgreSQL may be away for hours: the stream grows, bounded to half of Redis's
``maxmemory`` by ``bound``, in every worker; beyond, the oldest records are dropped, and as records
are numbered the next drain counts exactly how many. A record takes 64 (a batch of 16) to 116 bytes
(alone) of Redis: half of 256 MB holds 19 minutes at 1 000 lone records a second, and longer the
busier the workers. A record that cannot be read, or that PostgreSQL refuses, is set aside and
counted, and never holds up the others.
"""
