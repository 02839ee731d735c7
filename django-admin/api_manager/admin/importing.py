"""The page that imports the keys of another system: a file, what is wrong with it or what it would do."""

import io
from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from api_manager.audit import Actor
from api_manager.importing.formats import TooManyFormatsError
from api_manager.importing.forms import UploadForm
from api_manager.importing.lines import COLUMNS, REQUIRED
from api_manager.importing.load import ImportRunsError, Report, Source, load

from .key_pages import KeyPages


class ImportPages(KeyPages):
    """A view of its own, behind the admin site's login and permissions."""

    def pages(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        """The pages of keys, and this one."""
        return [("import/", "import", self.import_view), *super().pages()]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Takes a file, tries it, and imports it when it has come back confirmed."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        report = None
        if form.is_valid():
            try:
                report = self._load(request, form, dry_run="confirmed" not in request.POST)
            except (ImportRunsError, TooManyFormatsError) as exc:
                form.add_error(None, str(exc))
        if report is not None and report.is_done:
            self.message_user(request, _summary(report), messages.SUCCESS)
            return HttpResponseRedirect(self.url("changelist"))
        columns = [(name, name in REQUIRED) for name in COLUMNS[1:]]
        return self.page(request, "import", "Import keys", form=form, report=report, columns=columns)

    def _load(self, request: HttpRequest, form: UploadForm, *, dry_run: bool) -> Report:
        source = Source(form.name, io.BytesIO(form.uploaded))
        return load(source, form.stated, Actor.of_request(request), lambda _bytes: None, dry_run=dry_run)


def _summary(report: Report) -> str:
    known = f" Here already, and left as they are: {report.known:,}." if report.known else ""
    return f"Imported: {report.new:,} {'key' if report.new == 1 else 'keys'}.{known}"
