"""That a tier rule which notifies holds of a key."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Final

from django.db import connection

_HOLDS: Final = """
    INSERT INTO notice (kind, api_key_id, dedupe_key, data)
    SELECT 'key.rule', %(key)s, %(once)s,
        jsonb_build_object('key', key_in_notice(%(key)s)) || %(figures)s::jsonb
    WHERE EXISTS (SELECT FROM webhook WHERE is_active AND 'key.rule' = ANY(kinds))
    ON CONFLICT (dedupe_key) DO NOTHING
"""


def note(rule_id: int, key_id: int, day: date, figures: Mapping[str, object]) -> None:
    """Writes that a rule held of a key on a day, with its name and the figures, once.

    Nothing is written that no active webhook wants to hear of. On which days a rule tells is its own
    affair: after one it keeps still for its cool-down.
    """
    once, said = f"key.rule:{rule_id}:{key_id}:{day}", json.dumps(figures)
    with connection.cursor() as cursor:
        cursor.execute(_HOLDS, {"key": key_id, "once": once, "figures": said})
