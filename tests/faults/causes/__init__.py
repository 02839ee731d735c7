"""The faults: what each breaks, and how it ends; a module for each part that they break."""

from typing import Final

from . import clock, postgres, process, records, redis

FAULTS: Final = (*redis.FAULTS, *postgres.FAULTS, *process.FAULTS, *records.FAULTS, *clock.FAULTS)
