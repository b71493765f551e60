"""A web server on this machine for tests of downloads."""

import http.server
import threading
from contextlib import contextmanager


class RangeHandler(http.server.BaseHTTPRequestHandler):
    """Answers requests for a file or the rest of one; says nothing on stderr."""

    def begin(self, content: bytes, ranges: bool = True) -> int:
        """Send the headers of `content` from where it was asked for, and return where that is."""
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and ranges else 0
        if start >= len(content):
            self.send_error(416)
            return start
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return start

    def log_message(self, *args):
        pass


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]):
    """A server of `handler` on the loopback, stopped at the end; the handler may note in `requests` what was asked."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.requests = []
        server.root = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
