"""A file on a server on this machine, behind addresses that are signed and expire, with faults."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Store:
    """One file in ranges.

    lifetime  seconds for which an address is good
    faults    what goes wrong with the next requests, one after the other: a status such as "429";
              "cut": half of the bytes come; "damaged": one of them is another; "": nothing
    ranges    False: the file is given only as a whole
    signed    how many addresses have been made
    asked     (start, end) of every range that was given
    """

    def __init__(self, file: Path, lifetime: float = 3600.0, ranges: bool = True):
        self.file, self.lifetime, self.ranges = file, lifetime, ranges
        self.faults: list[str] = []
        self.asked: list[tuple[int, int]] = []
        self.signed = 0
        self.address = ""

    def sign(self) -> str:
        """A new address."""
        self.signed += 1
        return f"{self.address}/file?Signature=s3cret&until={time.time() + self.lifetime}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def log_message(self, *args):
        pass

    def do_GET(self):
        store = self.store
        if float(self.path.partition("until=")[2]) < time.time():
            return self._answer(403, b"expired")
        fault = store.faults.pop(0) if store.faults else ""
        if fault.isdigit():
            return self._answer(int(fault), b"", {"Retry-After": "0"})
        size = store.file.stat().st_size
        start, end = self._range(size)
        with store.file.open("rb") as file:
            file.seek(start)
            content = bytearray(file.read(end - start))
        store.asked.append((start, end))
        if fault == "damaged":
            content[len(content) // 2] ^= 1
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{size}"} if store.ranges else {}
        announced = len(content)
        if fault == "cut":
            content = content[: announced // 2]
            self.close_connection = True
        self._answer(206 if store.ranges else 200, content, headers, announced)

    def _range(self, size: int) -> tuple[int, int]:
        if not self.store.ranges:
            return 0, size
        first, last = RANGE.fullmatch(self.headers["Range"]).groups()
        if not first:
            return max(size - int(last), 0), size
        return int(first), int(last) + 1

    def _answer(self, status, content, headers=(), announced=None):
        self.send_response(status)
        length = {"Content-Length": len(content) if announced is None else announced}
        for key, value in (length | dict(headers)).items():
            self.send_header(key, str(value))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that was killed is no error of the server's."""


@contextlib.contextmanager
def served(file: Path, **settings) -> Iterator[Store]:
    """While it lasts, the file can be had."""
    store = Store(file, **settings)
    handler = type("Handler", (_Handler,), {"store": store})
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        store.address = f"http://127.0.0.1:{server.server_port}"
        yield store
        server.shutdown()
