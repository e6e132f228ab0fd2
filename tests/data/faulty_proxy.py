"""An HTTP proxy in front of a server that fails as networks and busy servers do, by a seeded schedule."""

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

STATUSES = {"500": 500, "502": 502, "503": 503, "429": 429, "403": 403, "404": 404}
"""Fault -> the status that is answered in place of the server's."""

FAULTS = {"500": 1, "502": 1, "503": 1, "429": 1, "truncated": 2, "short": 1, "reset": 2, "slow": 3, "stalled": 1, "stuck": 1}
"""Fault -> its share among faults.

truncated: the connection ends within the body. short: as truncated, but the header tells this length. reset: the connection is
reset before an answer. slow: the first byte comes late. stalled: no answer comes. stuck: the body stops half way.
"""

CODES = {
    500: "InternalError",
    502: "BadGateway",
    503: "SlowDown",
    429: "TooManyRequests",
    403: "AccessDenied",
    404: "NoSuchKey",
}

HOP = ("connection", "transfer-encoding", "keep-alive", "server", "date")


class FaultyProxy:
    """The proxy; use it in a `with`.

    endpoint: the server's address. rate: share of the tries of a request that fail. faults: as FAULTS. seed: the faults of a
    request depend on it, the request, and how often it was tried. slow, stalled: seconds. only: fault of requests whose path
    contains this text alone. serial: seconds that each request takes, one after another, whether anybody still waits or not.

    requests: (method, path, range) -> how often it was tried. done: fault -> how often. most: requests in work at a time.
    """

    def __init__(self, endpoint, rate=0.0, seed=0, faults=None, slow=0.1, stalled=3.0, only="", serial=0.0):
        self.serial, self.one = serial, threading.Lock()
        self.endpoint, self.rate, self.seed, self.faults = endpoint, rate, seed, FAULTS if faults is None else faults
        self.slow, self.stalled, self.only = slow, stalled, only
        self.requests, self.done = Counter(), Counter()
        self.active = self.most = 0
        self.lock = threading.Lock()
        self.closed = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                with contextlib.suppress(OSError):
                    super().handle_one_request()

            def do_GET(self):
                proxy.handle(self)

            do_HEAD = do_PUT = do_GET  # noqa: N815 - named by http.server

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10.0)

    def fault(self, request):
        """The fault of the next try of a request, or None."""
        with self.lock:
            self.requests[request] += 1
            count = self.requests[request]
        if self.only not in request[1]:
            return None
        rng = random.Random(f"{self.seed} {request} {count}")
        if rng.random() >= self.rate:
            return None
        kind = rng.choices(list(self.faults), list(self.faults.values()))[0]
        with self.lock:
            self.done[kind] += 1
        return kind

    def count(self, method, part=""):
        """Requests of a method whose path contains a text."""
        return sum(n for (how, path, _), n in self.requests.items() if how == method and part in path)

    def handle(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        kind = self.fault((handler.command, handler.path, handler.headers.get("Range", "")))
        with self.lock:
            self.active += 1
            self.most = max(self.most, self.active)
        try:
            if self.serial:
                with self.one:
                    time.sleep(self.serial)
            self.answer(handler, body, kind)
        finally:
            with self.lock:
                self.active -= 1

    def answer(self, handler, body, kind):
        if kind == "reset":
            reset(handler)
            return
        if kind == "stalled":
            self.closed.wait(self.stalled)
            reset(handler)
            return
        if kind in STATUSES:
            status = STATUSES[kind]
            text = f"<Error><Code>{CODES[status]}</Code><Message>injected</Message></Error>".encode()
            send(handler, status, {"Content-Type": "application/xml"}, text, len(text))
            return
        if kind == "slow":
            time.sleep(self.slow)
        upstream = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=30)
        try:
            upstream.request(handler.command, handler.path, body, dict(handler.headers))
            response = upstream.getresponse()
            data = response.read()
            headers = {k: v for k, v in response.getheaders() if k.lower() not in HOP}
        finally:
            upstream.close()
        length = int(headers.pop("Content-Length", len(data)))
        half = len(data) // 2
        if kind in ("truncated", "stuck") and data:
            send(handler, response.status, headers, data[:half], length)
            if kind == "stuck":
                self.closed.wait(self.stalled)
            reset(handler)
        elif kind == "short" and data and response.status == 206:
            send(handler, response.status, headers, data[:half], half)
        else:
            send(handler, response.status, headers, data, length)


def send(handler, status, headers, data, length):
    handler.send_response_only(status)
    for name, value in headers.items():
        if name.lower() != "content-length":
            handler.send_header(name, value)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(data)
    handler.wfile.flush()


def reset(handler):
    """End the connection at once, with a reset if nothing was answered."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
