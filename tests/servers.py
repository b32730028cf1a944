"""A local HTTP server that misbehaves as told: one Reply per request, the last one for all that follow."""

import contextlib
import dataclasses
import http.server
import re
import socket
import threading


@dataclasses.dataclass(frozen=True)
class Reply:
    """How one request is answered; the defaults make an honest server."""

    status: int | None = None  # this error instead of the file
    headers: tuple = ()  # (name, value) pairs that replace the honest ones
    body: bytes | None = None  # instead of the file's bytes
    ranges: bool = True  # honour a Range header
    cut_at: int | None = None  # close the connection before this byte of the file
    stall_at: int | None = None  # say nothing more from this byte on, but keep the connection
    pace: float | None = None  # bytes per second
    hang_up: bool = False  # close without an answer


class Server(http.server.ThreadingHTTPServer):
    """Serve `content` by the replies, and keep the first byte of every request in `starts`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, content, *replies):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.replies = content, replies or (Reply(),)
        self.starts, self.closing = [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/archive.tar.gz"

    def handle_error(self, request, client_address):
        """Keep quiet: clients that go away in the middle are what the tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.server.starts.append(start)
        reply = self.server.replies[min(len(self.server.starts), len(self.server.replies)) - 1]
        if reply.hang_up:
            return
        content = self.server.content if reply.body is None else reply.body
        if not reply.ranges or reply.body is not None:
            asked, start = None, 0
        head = {"Content-Type": "application/x-gzip", "Content-Length": len(content) - start}
        if asked:
            head["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(reply.status or (206 if asked else 200))
        for name, value in (head | dict(reply.headers)).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.send_slowly(content, start, reply)

    def send_slowly(self, content, start, reply):
        ends = [end for end in (reply.cut_at, reply.stall_at) if end is not None]
        content = content[: max(start, *ends)] if ends else content
        step = max(1, int(reply.pace * 0.02)) if reply.pace else 1 << 20
        while start < len(content):
            self.wfile.write(content[start : start + step])
            start += step
            if reply.pace and self.server.closing.wait(0.02):
                return
        if reply.stall_at is not None:
            self.server.closing.wait()

    def log_message(self, *args):
        """Keep quiet."""


@contextlib.contextmanager
def serving(content, *replies):
    """Run a Server on a free local port."""
    with Server(content, *replies) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def closed_port():
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/archive.tar.gz"
