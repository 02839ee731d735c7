"""Pages of a table too large to be counted."""

import json
from functools import cached_property
from typing import Any, Final, cast

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet

from api_manager.generic import Paginator

EXACT_UP_TO: Final = 10_000
"""Rows; more than this are estimated."""
COUNT_TIMEOUT_MS: Final = 50
MAX_PAGES: Final = 1_000
"""A page far back costs as much as everything before it; filters lead there sooner."""


class EstimatedPaginator(Paginator[Any]):
    """Takes the planner's estimate for the number of rows where counting them would take long."""

    is_estimate = False

    @cached_property
    def count(self) -> int:
        """The number of rows: exact when they are few and quickly counted, else the estimate."""
        rows = cast("QuerySet[Any]", self.object_list).order_by().select_related(None)
        if rows.query.is_empty():
            return 0
        estimate = int(json.loads(rows.explain(format="json"))[0]["Plan"]["Plan Rows"])
        if estimate <= EXACT_UP_TO:
            try:
                return _count_quickly(rows)
            except OperationalError:  # the planner was wrong, or the filter matches few rows of many
                pass
        self.is_estimate = True
        return estimate

    @cached_property
    def num_pages(self) -> int:
        """The number of pages that can be reached."""
        return min(super().num_pages, MAX_PAGES)


def _count_quickly(rows: QuerySet[Any]) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {COUNT_TIMEOUT_MS}")
        count = rows.count()
        cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
        return count
