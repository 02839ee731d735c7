"""What the operator asks of the request log, which may hold hundreds of millions of rows.

No answer may depend on how many rows there are, so each part says what bounds it:

``criteria``   which rows are meant: a time range, which is always in force, and what else they must have
``search``     one page of them by keyset, newest first; where filters match few rows, it looks at windows
               of rows one after the other, for a bounded time, and says how far back it came
``drilldown``  how many there were by day, hour and minute: read from the roll-ups, never from the log
``origins``    from which addresses a key was used, and at which endpoints: of a bounded number of its rows
``export``     all of them, as a stream from one snapshot; the only part that reads as much as there is

Each statement of a page is ended by PostgreSQL after ``bounds.STATEMENT_TIMEOUT``; a page then says so. Rows
arrive while somebody turns pages: a keyset names the row at which a page ended, so no row is shown twice and
none that was there is left out.
"""
