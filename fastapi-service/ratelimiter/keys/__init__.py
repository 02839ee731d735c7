"""Who is calling: from the text of ``X-API-Key`` to a key's record.

``credentials`` is pure: shape, checksum, digest. ``store`` is the SQL: it finds keys for the
directory and carries out what the management API asks. ``directory`` keeps the records of the
keys in use, so that a request costs no query. ``news`` listens for edits.

**Freshness.** Every edit of a key or tier, whoever makes it, is announced by a trigger (NOTIFY);
the directory drops that key, or reads all again after an edit of a tier. The listening connection
is asked for a sign of life every second; while none comes, and whenever it has been made anew, all
cached keys are read again, while serving goes on.

**Concurrency.** A key that is not cached is read once however many requests wait for it. News that
arrive while a read is under way make it read again, so that nothing stale is ever cached.

**Failure.** Without PostgreSQL, cached keys keep working; others raise ``KeysUnavailable``.
"""
