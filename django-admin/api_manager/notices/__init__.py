"""Notices: webhooks are told what happens to keys, at least once, and each thing under one id.

**Written.** Triggers write a notice of what is done to a key, in the transaction that does it, by whichever
door (``migrations/sql/0024_notices.sql``); a tier rule that notifies writes one by ``ruling``. What only time
brings, an expiry that comes near or a quota that is used up, ``finding`` looks for. A name of what happened
is unique, so it is written once; another trigger makes a delivery for each webhook that wants to hear of it.

**Sent.** ``manage.py send_notices`` (``sender``) takes what is due, posts it (``posting``, ``signature``,
``addresses``) and writes down how that went (``outbox``). One sender works at a time: an advisory lock of
PostgreSQL says which, and any other takes over when its connection ends.

**Failures.** A delivery that fails comes again, later and later, for almost a day; then it is dead, until
an operator retries it. A sender that ends between sending and writing down sends again, under the same
``webhook-id``: receivers tell doubles by it. While PostgreSQL is away nothing is sent, and nothing is lost.
The order is not kept: a notice that failed comes after younger ones.
"""
