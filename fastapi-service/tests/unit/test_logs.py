"""Whatever text reaches the log, a line stays one JSON object of printable characters."""

import io
import json
import logging

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ratelimiter import logs


@pytest.fixture
def logger():
    """A logger that writes as `configure` has it, into a stream of its own, and structlog's upon it."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    logs.configure("debug")
    formatter, config = root.handlers[0].formatter, structlog.get_config()
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.configure(**before)

    # Apart from the tree of loggers: pytest-xdist cannot hand on halves of characters that pytest captures.
    library = logging.Logger("a.library", logging.DEBUG)  # noqa: LOG001
    library.addHandler(logging.StreamHandler(io.StringIO()))
    library.handlers[0].setFormatter(formatter)
    ours = structlog.wrap_logger(
        library, processors=config["processors"], wrapper_class=config["wrapper_class"]
    )
    return library, ours


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec=None)))
@example('\n{"level": "critical"}\r\n')
@example("\x1b[2J\x9b31m\x07\x00\x7f\u2028\u202e\ud800")
def test_no_text_breaks_a_line_or_hides_in_it(logger, text):
    library, ours = logger
    stream = library.handlers[0].stream = io.StringIO()
    error = ValueError(text)
    ours.warning("request", path=text, names=[text], cause=repr(error))
    ours.error(text, exc_info=error)
    library.warning("it says %s", text, exc_info=error)
    lines = stream.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(lines) == 3
    assert all(" " <= character <= "~" for line in lines for character in line)
    assert [json.loads(line)["level"] for line in lines] == ["warning", "error", "warning"]
    assert json.loads(lines[0])["path"] == text
