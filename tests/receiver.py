"""A receiver of webhooks on loopback: it keeps what it was sent, and answers as a test says."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Received:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers 200, or what ``answer`` makes of a POST: a status and a body."""

    url: str = ""
    answer: Callable[[Received], tuple[int, bytes]] = lambda _: (200, b"")
    received: list[Received] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The ids of what came, in the order in which it came."""
        return [each.headers["webhook-id"] for each in self.received]


@contextmanager
def receiving(certificate: tuple[Path, Path] | None = None) -> Iterator[Receiver]:
    """A receiver at a free port; with a certificate and its key it speaks HTTPS, to ``localhost``."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["content-length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(self.path, headers, self.rfile.read(length))
            receiver.received.append(received)
            status, body = receiver.answer(received)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            if 300 <= status < 400:
                self.send_header("location", f"{receiver.url}/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Keeps quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_):
            """Whoever hangs up, as at a wrong certificate, says so himself."""

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            receiver.url = f"https://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
