"""Who is calling: from the text of ``X-API-Key`` to a key's record.

``credentials`` is pure: shape, checksum, digest; so are ``foreign``: which strings may be keys that were
imported from another system, and ``cidrs``: the networks a key may be used from. ``directory`` keeps the
records of the keys in use, so that a request costs no query; ``store`` reads them for it, ``news`` listens
for edits.
``management`` is what the management API does to keys, ``tokens`` who may ask it to.

**Freshness.** Every edit of a key, a tier or their limits, whoever makes it, is announced by a trigger
(NOTIFY), and with a key those that it replaced, since a chain of rotations has the limits of its newest
key; the directory drops that key, or reads all again after an edit of a tier or its limits.
The listening connection is asked for a sign of life every second; while none comes, and whenever it has
been made anew, all cached keys are read again, while serving goes on; if that fails, it is tried again until
it is done.

**Concurrency.** A key that is not cached is read once however many requests wait for it. News that
arrive while a read is under way make it read again, so that nothing stale is ever cached.

**Foreign formats** are read at the start, and again with all keys whenever everything may have changed. Until
they have been read once, whatever could have one is looked up, at the same bounded rate.

**Load.** Keys that are not cached are looked up together: one query at a time, 20 a second at most, each for
256 keys at most. Who comes beyond that is answered 503 at once. What nobody has is remembered as such, 10 000
of it at most. Lookups have threads and connections of their own, so that a flood of them cannot hold up what
keeps the known ones fresh.

**Failure.** Without PostgreSQL, cached keys keep working, and so do those that any worker used within the
last day (``copies``, in Redis); others raise ``KeysUnavailable``.
"""
