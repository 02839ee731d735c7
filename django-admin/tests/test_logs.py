"""Whatever text reaches the log, a line stays one JSON object of printable characters."""

import json
import logging
from logging.config import DictConfigurator

import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from config.logs import logging_config


def formatter():
    """The formatter of the service's log."""
    saved = structlog.get_config()
    config = logging_config("info")
    structlog.configure(**saved)
    return DictConfigurator(config).configure_formatter(config["formatters"]["json"])


FORMATTER = formatter()


@given(st.text(st.characters(codec=None)))
@example('\n{"level": "critical"}\r\n')
@example("\x1b[2J\x9b31m\x07\x00\x7f\u2028\u202e\ud800")
def test_no_text_breaks_a_line_or_hides_in_it(text):
    error = (ValueError, ValueError(text), None)
    line = FORMATTER.format(logging.LogRecord("x", logging.WARNING, "", 0, "it says %s", (text,), error))
    assert all(" " <= character <= "~" for character in line)
    assert json.loads(line)["level"] == "warning"
