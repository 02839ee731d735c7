"""Lists that may be looked at only."""

from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model
from django.http import HttpRequest

from api_manager.generic import ModelAdmin

from .paginator import EstimatedPaginator

Row = TypeVar("Row", bound=Model)


class UncountedChangeList(ChangeList):
    """A list that is never counted a second time, without its filters."""

    def get_results(self, request: HttpRequest) -> None:
        """Fetches the page; without filters there is nothing to show all of."""
        super().get_results(request)
        if not self.filter_params:
            self.full_result_count = self.result_count


class ReadOnlyAdmin(ModelAdmin[Row]):
    """Rows that services write: nothing is added, changed or deleted here, and nothing counted whole."""

    actions = None
    paginator = EstimatedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would be a count of the whole table
    sortable_by = ()  # only the order of an index is affordable

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002  # Django names them
        """Ours."""
        return UncountedChangeList

    def has_add_permission(self, _request: HttpRequest, *_: Any) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Row | None = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Row | None = None) -> bool:
        """Nobody may."""
        return False
