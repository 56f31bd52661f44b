"""A request to Kaggle is repeated while a repetition may help, and then refused in plain words."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

import requests

from utils.course.kaggle.account import RULES_PAGE, TOKEN_PAGE, KaggleError, given_secrets
from utils.errors import LumbarError

log = logging.getLogger(__name__)
Response = TypeVar("Response")

WAITS = (2.0, 5.0, 15.0, 30.0, 60.0)  # seconds before another try
LONGEST_WAIT_S = 300.0  # however long Kaggle asks to wait
TOO_MANY_REQUESTS = 429
REFUSED = {  # by HTTP status: no repetition helps
    401: "Kaggle does not accept this API token (any more). Make a new one at "
    f"{TOKEN_PAGE} and put it where the old one was.",
    403: "Kaggle refuses these files. Usual causes: the competition's rules are not accepted yet "
    f"(open {RULES_PAGE}, accept them, and run this cell again); the account's phone number is not "
    "verified; the token is limited to other actions; the competition does not give its data any "
    "more.",
    404: "Kaggle has no such file.",
}

_LIKE_A_TOKEN = re.compile(r"KGAT|Bearer|[A-Za-z0-9_=-]{20,}")
_LONGEST_REASON = 200  # characters


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
                raise KaggleError(REFUSED[status] + _said(error.response)) from None
            cause = _cause(status)
            asked = _retry_after(error.response)
        except (requests.RequestException, DamagedFileError):
            cause = "the connection to Kaggle was lost"
            asked = 0.0
        except (LumbarError, OSError):  # of this machine: a full disk, say
            raise
        except Exception as error:  # noqa: BLE001  what a library says may quote the token
            kind = type(error).__name__
            raise KaggleError(f"Kaggle could not be asked ({kind}); run this cell again") from None
        if wait is not None:
            seconds = max(wait, asked)
            log.warning(f"{cause}; trying again in {seconds:.0f} s")
            time.sleep(seconds)
    raise KaggleError(
        f"{cause}, {len(WAITS) + 1} times. What has arrived is kept: run this cell again later."
    )


def _said(response: requests.Response | None) -> str:
    """What Kaggle gives as its reason, as a sentence to be appended: its words only, and nothing in
    them that looks like a token."""
    try:
        said = response.json()["message"] if response is not None else ""
    except (ValueError, KeyError, TypeError):
        return ""
    if not isinstance(said, str):
        return ""
    for secret in given_secrets():
        said = said.replace(secret, "")
    words = [word for word in said.split() if not _LIKE_A_TOKEN.search(word)]
    text = re.sub(r"[^\w .,:;!?'()/-]", "", " ".join(words))[:_LONGEST_REASON].strip()
    return f" Kaggle says: {text}" if text else ""


def _cause(status: int) -> str:
    if status == TOO_MANY_REQUESTS:
        return "Kaggle asks to wait (429: too many requests)"
    return f"Kaggle answers {status}"


def _retry_after(response: requests.Response | None) -> float:
    """The seconds that Kaggle asks to wait, 0 if it does not say."""
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else 0.0
