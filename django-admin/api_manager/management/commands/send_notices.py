"""``manage.py send_notices``: tells webhooks what happened to keys."""

import signal
import threading
from typing import Any

import structlog
from django.core.management import BaseCommand, CommandError, CommandParser

from api_manager.notices import signature
from api_manager.notices.sender import Sender

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class Command(BaseCommand):
    """Says nothing on stdout; how each attempt went is in the log of deliveries, and a line on stderr."""

    requires_system_checks = ()  # those of the site's pages, which it does not serve
    help = "Find what webhooks are to be told, and send what is due."

    def add_arguments(self, parser: CommandParser) -> None:
        """Once, or for good."""
        parser.add_argument(
            "--forever", action="store_true", help="go on until SIGTERM or SIGINT; default: send what is due"
        )

    def handle(self, *, forever: bool, **_options: Any) -> None:
        """Sends; of several senders one works, and with --forever the others wait to take over."""
        if not signature.is_possible():
            raise CommandError(str(signature.NoSecretKeyError()))
        sender = Sender()
        if forever:
            stop = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
            sender.send_forever(stop)
        elif sender.lead():
            while sender.step():
                pass
        else:
            raise CommandError("Another sender is at work; it sends whatever is due.")
