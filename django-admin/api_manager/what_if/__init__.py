"""What other limits would have done: the request log, decided once more under them.

``policy``    what a bucket and a quota are: the API's module, which a contract test holds the same
``limiter``   the arithmetic of the API's script, in the same integers; a property test holds the two equal
``question``  which tier or key, which limits, which time: the form of the page and of the command
``kept``      how far back the log goes
``doubt``     what the log does not tell of a key's levels
``subjects``  whose rows these are, and the limits that each would have had
``replay``    reads the log in the order in which it happened, and counts
``result``    what came of it
``formats``   the answer as CSV, JSON, and a table for a terminal

As Redis does, it knows time to a 1/16 µs, keeps one level for each limit and chain of rotations, and debits
all limits or none. A recorded run that is replayed under its own limits has the outcomes it had. What the log
does not tell is not guessed, but bounded:

- Denials that share a row (``count``) came within ``SHARED_WITHIN`` before it; they are asked at its time, at
  the cost that it has. So much as came back meanwhile may have been theirs.
- A single denial may be late by as much: a worker gave it from memory, and it is dated when it was recorded.
  Where it is admitted now, and would not have been ``SHARED_WITHIN`` before, that is in doubt.
- What the buckets held when the range begins is not known. Rows of one refill before it (``MOST_WARM_UP`` at
  most) are decided, too, but not counted: once with buckets that are full at their beginning, and once with
  empty ones. Where the two still differ when the range begins, that is in doubt. Quotas begin with what
  ``usage_hourly`` has.

``doubt`` makes a number of requests of either, and ``Result.error`` says by how many of all the answer may be
off at most. Of a key whose requests differ in cost it takes what came in the second of a shared row to have
come before the denials.

Not simulated: requests that were refused (403), and what clients would have done otherwise had they been told
otherwise. What was decided while Redis was away is decided as if it had been there.
"""
