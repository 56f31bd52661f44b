"""A file on a server, read in ranges: behind an address that is signed and expires.

The address is in no message: whoever knows it can fetch the file.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO

import requests
from remotezip import PartialBuffer

from utils.course.kaggle.account import KaggleError
from utils.course.kaggle.retry import DamagedFileError, with_retries

TIMEOUT_S = (10, 60)  # to connect, and between bytes
# What a store answers when the signature of an address has expired.
EXPIRED = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/")


class NoRangesError(KaggleError):
    """The server gives whole files only."""


class RemoteFile:
    """Ranges of one file, from any thread.

    sign  makes a new address; called again whenever the one before is refused
    """

    def __init__(self, sign: Callable[[], str]):
        self._sign = sign
        self._address = ""
        self._lock = threading.Lock()
        self._own = threading.local()  # of each thread

    def read(self, start: int, end: int) -> bytes:
        """The bytes from start to end (not included). Raises KaggleError."""
        return with_retries(lambda: self._get(f"bytes={start}-{end - 1}", end - start))[1]

    def fetch(self, data_range: tuple[int, int | None], stream: bool) -> PartialBuffer:
        """A range as remotezip asks for it: first and last byte; or None, and minus the length of
        the file's end."""
        first, last = data_range
        if last is None:
            start, content = with_retries(lambda: self._get(f"bytes={first}", None))
        else:
            start, content = first, self.read(first, last + 1)
        return PartialBuffer(BytesIO(content), start, len(content), stream=False)

    def _get(self, asked: str, length: int | None) -> tuple[int, bytes]:
        """Where the answer begins, and its bytes. Raises what with_retries knows."""
        with self._asked(asked) as response:
            response.raise_for_status()
            if response.status_code != HTTPStatus.PARTIAL_CONTENT:
                raise NoRangesError("Kaggle gives the competition's archive only as a whole.")
            content = response.content
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if not found or len(content) != (length or len(content)):
            raise DamagedFileError
        return int(found[1]), content

    def _asked(self, asked: str) -> requests.Response:
        """The answer; if the address has expired, that of a new one."""
        address = self._current(instead_of="")
        response = self._request(address, asked)
        if response.status_code not in EXPIRED:
            return response
        response.close()
        return self._request(self._current(instead_of=address), asked)

    def _request(self, address: str, asked: str) -> requests.Response:
        """Each thread keeps a connection of its own."""
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        headers = {"Range": asked, "Accept-Encoding": "identity"}
        return self._own.session.get(address, headers=headers, timeout=TIMEOUT_S, stream=True)

    def _current(self, instead_of: str) -> str:
        """The address that all threads use, if it is not this one; else a new one."""
        with self._lock:
            if self._address == instead_of:
                self._address = self._sign()
            return self._address
