"""A web server on loopback that serves files as a good server does, and misbehaves where a test asks it to."""

import contextlib
import http.server
import re
import threading
from dataclasses import dataclass, field


@dataclass
class Answer:
    """How to misbehave once.

    Attributes:
        status, headers: answer this, with no content.
        cut: close the connection after so many bytes of the content.
        claim: Content-Length, whatever is sent.
        ignore_range: send everything to a request for a part.
        mind_if_range: False sends the part although the file is another by now.
        unsaid: no Content-Length; the end is where the connection is closed.
        times: send the content so often.
        piece: of a part no more than so many bytes, as the answer's headers say.
    """

    status: int | None = None
    headers: dict = field(default_factory=dict)
    cut: int | None = None
    claim: int | None = None
    ignore_range: bool = False
    mind_if_range: bool = True
    unsaid: bool = False
    times: int = 1
    piece: int | None = None


@dataclass
class Request:
    path: str
    headers: dict
    status: int = 0
    sent: int = 0


class Site:
    """Files by path, what to do wrong with the next requests for them, and what was asked for."""

    def __init__(self):
        self.files, self.tags, self.plan, self.requests = {}, {}, {}, []

    def put(self, path, content, tag='"1"'):
        self.files[path], self.tags[path] = content, tag
        return self.url + path

    def misbehave(self, path, *answers):
        self.plan[path] = list(answers)

    def asked(self, path):
        return [request for request in self.requests if request.path == path]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        site = self.server.site
        request = Request(self.path, dict(self.headers))
        site.requests.append(request)
        waiting = site.plan.get(self.path)
        answer = waiting.pop(0) if waiting else Answer()
        if answer.status or self.path not in site.files:
            self._head(request, answer.status or 404, {"Content-Length": 0, **answer.headers})
            return
        content, tag = site.files[self.path], site.tags[self.path]
        headers = {"ETag": tag} if tag else {}
        start = self._start(answer, tag)
        if start is not None and start >= len(content):
            headers |= {"Content-Range": f"bytes */{len(content)}", "Content-Length": 0}
            self._head(request, 416, headers)
            return
        body = content[start or 0 :]
        if start is not None:
            body = body[: answer.piece]
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(content)}"
        if not answer.unsaid:
            headers["Content-Length"] = len(body) if answer.claim is None else answer.claim
        self._head(request, 200 if start is None else 206, {**headers, **answer.headers})
        body = body[: answer.cut]
        for _ in range(answer.times):
            self.wfile.write(body)
            request.sent += len(body)
        if answer.cut is not None or answer.claim is not None or answer.unsaid:
            self.close_connection = True

    def _start(self, answer, tag):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") == tag or not answer.mind_if_range
        return int(asked[1]) if asked and same and not answer.ignore_range else None

    def _head(self, request, status, headers):
        request.status = status
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()


@contextlib.contextmanager
def serving(tls=None):
    """A running site; with an ssl.SSLContext over https."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.handle_error = lambda *arguments: None  # a client that hangs up is no news here
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.site = Site()
    server.site.url = f"{'https' if tls else 'http'}://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
