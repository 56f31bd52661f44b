"""Access to the competition's data: attached on Kaggle, or with an API token.

A token comes from the environment, Colab's secrets or kagglehub's own file, or else the user types
it. It is never shown.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable
from pathlib import Path

from utils.errors import LumbarError

COMPETITION = "rsna-2024-lumbar-spine-degenerative-classification"
RULES_PAGE = f"https://www.kaggle.com/competitions/{COMPETITION}/rules"
TOKEN_PAGE = "https://www.kaggle.com/settings/api"
INPUT = Path("/kaggle/input")  # where Kaggle mounts what is attached
NO_TOKEN = (
    f"No Kaggle API token was found. Make one at {TOKEN_PAGE} and put it in the environment "
    "variable KAGGLE_API_TOKEN; on Colab in a secret of that name (the key in the left margin; "
    "allow this notebook to read it). SOURCE = 'phantom' needs none."
)

_ADDED = " \t\r\n\"'`\u00a0\u200b\ufeff"  # by copying
_POSSIBLE = re.compile(r"[A-Za-z0-9._~+/=-]{1,500}")  # a token, a user name or a key


class KaggleError(LumbarError):
    """What Kaggle would not give. The message says what to do."""


def attached() -> Path | None:
    """Where Kaggle has mounted the competition's files; None if they are not attached (or this is
    not Kaggle)."""
    # The first is the mount of new sessions, the second that of older ones.
    for mount in (INPUT / "competitions" / COMPETITION, INPUT / COMPETITION):
        if mount.is_dir():
            return mount
    return None


def sign_in(ask: Callable[[str], str] = getpass.getpass) -> str:
    """Give kagglehub a token and return where it came from, never what it is.

    ask  prompts the user if there is no token anywhere
    Raises KaggleError if there is still none, or if it cannot be one.
    """
    from kagglehub import config

    config.clear_kaggle_credentials()
    sources = {
        "the environment": _from_environment,
        "Colab's secrets": _from_colab,
        "a file": _from_kagglehub,
        "what you typed": lambda: (_typed(ask),),
    }
    for source, read in sources.items():
        credentials = tuple(map(_clean, read()))
        if credentials and all(credentials):
            _give(source, credentials)
            return source
    raise KaggleError(NO_TOKEN)


def _give(source: str, credentials: tuple[str, ...]) -> None:
    """A token, or user name and key, to kagglehub. Raises KaggleError for what an HTTP header
    cannot hold: the library would quote it, whole, in its error."""
    from kagglehub import config

    if not all(map(_POSSIBLE.fullmatch, credentials)):
        raise KaggleError(
            f"The Kaggle API token from {source} has characters that no token has. Copy it anew "
            f"from {TOKEN_PAGE}: letters, digits and underscores, nothing before or after."
        )
    if len(credentials) == 1:
        config.set_kaggle_api_token(credentials[0])
    else:
        config.set_kaggle_credentials(*credentials)


def given_secrets() -> list[str]:
    """What must not be in any output: the token or key that kagglehub has been given."""
    from kagglehub import config

    found = config.get_kaggle_credentials()
    return [text for text in (found.api_key, found.key) if text] if found else []


def _clean(text: object) -> str:
    """Without what copying adds: blanks, line breaks, quotes, byte-order marks."""
    return text.strip(_ADDED) if isinstance(text, str) else ""


def _from_environment() -> tuple[str | None, ...]:
    """The token, or the file that KAGGLE_API_TOKEN names; or user name and key."""
    is_set = os.environ.get("KAGGLE_API_TOKEN") or {"KAGGLE_USERNAME", "KAGGLE_KEY"} <= set(
        os.environ
    )
    return _from_kagglehub() if is_set else ()


def _from_colab() -> tuple[str | None, ...]:
    """The token in Colab's secrets, or the older pair of user name and key."""
    token = _colab_secret("KAGGLE_API_TOKEN")
    if token.strip(_ADDED):
        return (token,)
    return _colab_secret("KAGGLE_USERNAME"), _colab_secret("KAGGLE_KEY")


def _colab_secret(name: str) -> str:
    """A secret of this Colab user, or "": there is none, or this notebook may not read it."""
    try:
        from google.colab import userdata

        found = userdata.get(name)
        return found if isinstance(found, str) else ""
    except Exception:  # noqa: BLE001  not on Colab, no such secret, no access: each its own type
        return ""


def _from_kagglehub() -> tuple[str | None, ...]:
    """What kagglehub finds in the environment and in the user's own files. Raises KaggleError if
    they are damaged."""
    from kagglehub import config

    try:
        found = config.get_kaggle_credentials()
    except Exception:  # noqa: BLE001  its text may quote the file
        raise KaggleError(
            "Kaggle's file with the token (in ~/.kaggle, or the one that KAGGLE_API_TOKEN names) "
            f"cannot be read. Make a new token at {TOKEN_PAGE} and put it there again."
        ) from None
    if found is None:
        return ()
    return (found.api_key,) if found.api_key else (found.username, found.key)


def _typed(ask: Callable[[str], str]) -> str:
    """What the user types; "" where there is no keyboard."""
    try:
        return ask("Kaggle API token (it is not shown): ")
    except Exception:  # noqa: BLE001  a front end without a keyboard raises a type of its own
        return ""
