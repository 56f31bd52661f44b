"""A request to Kaggle is repeated while a repetition may help, and then refused in plain words."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import requests

from utils.course.kaggle.account import RULES_PAGE, TOKEN_PAGE, KaggleError

log = logging.getLogger(__name__)
Response = TypeVar("Response")

WAITS = (2.0, 5.0, 15.0, 30.0, 60.0)  # seconds before another try
TOO_MANY_REQUESTS = 429
REFUSED = {  # by HTTP status: no repetition helps
    401: "Kaggle does not accept this API token (any more). Make a new one at "
    f"{TOKEN_PAGE} and put it where the old one was.",
    403: "Kaggle gives these files only to users who have accepted the competition's rules. Open "
    f"{RULES_PAGE}, accept them, and run this cell again.",
    404: "Kaggle has no such file.",
}


class DamagedFileError(Exception):
    """A file that is not what Kaggle announced: truncated, or with another checksum."""


def with_retries(call: Callable[[], Response]) -> Response:
    """What call() returns; repeated where Kaggle asks to wait or the connection is lost.

    Raises KaggleError with what to do.
    """
    cause = ""
    for wait in (*WAITS, None):
        try:
            return call()
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in REFUSED:
                raise KaggleError(REFUSED[status]) from None
            cause = _cause(status)
            asked = _retry_after(error.response)
        except (requests.RequestException, DamagedFileError):
            cause = "the connection to Kaggle was lost"
            asked = 0.0
        if wait is not None:
            seconds = max(wait, asked)
            log.info(f"{cause}; trying again in {seconds:.0f} s")
            time.sleep(seconds)
    raise KaggleError(
        f"{cause}, {len(WAITS) + 1} times. What has arrived is kept: run this cell again later."
    )


def _cause(status: int) -> str:
    if status == TOO_MANY_REQUESTS:
        return "Kaggle asks to wait (429: too many requests)"
    return f"Kaggle answers {status}"


def _retry_after(response: requests.Response | None) -> float:
    """The seconds that Kaggle asks to wait, 0 if it does not say."""
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return float(asked) if asked.isdecimal() else 0.0
