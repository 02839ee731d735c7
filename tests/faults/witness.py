"""Two keys beside the load that tell what becomes of unknown keys, and of edits, without PostgreSQL."""

import time
from typing import Final

import httpx

from ratelimiter.keys import credentials

from .rig import Rig

REVOKED_WITHIN_SECONDS: Final = 5.0
"""How long a revocation may take when PostgreSQL has just come back.

A connection that was on its way into the void is given up after 3 s, and made anew after another.
"""

GIVEN_UP_SECONDS: Final = 30.0


class Witness:
    """What it finds to be broken is told to the rig."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._unused, self._used = rig.issue(2, per_second=1000, burst=1000)
        rig.ask_all_workers(self._used.secret)

    def ask_for_what_nobody_knows(self) -> None:
        """Nobody can tell whether such a key was issued: 503 is the truth, and when to come again."""
        for secret in (self._unused.secret, credentials.generate()):
            answer = self._rig.ask(secret)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or "retry-after" not in answer.headers:
                self._rig.broken.append(f"an unknown key was answered {answer.status_code}")

    def revoke_and_see(self) -> float:
        """Revoke a key that all workers know; returns the seconds until all of them refuse it."""
        self._rig.revoke(self._used)
        began = time.monotonic()
        while self._rig.ask_all_workers(self._used.secret) != {httpx.codes.FORBIDDEN}:
            if time.monotonic() - began > GIVEN_UP_SECONDS:
                break
            time.sleep(0.02)
        seconds = time.monotonic() - began
        if seconds > REVOKED_WITHIN_SECONDS:
            self._rig.broken.append(f"a revoked key still passed {seconds:.1f} s later")
        return seconds
