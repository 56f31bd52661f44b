"""Access to the competition's data: attached on Kaggle, or with an API token.

A token comes from the environment, Colab's secrets or kagglehub's own file, or else the user types
it. It is never shown.
"""

from __future__ import annotations

import getpass
import os
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
    Raises KaggleError if there is still none.
    """
    from kagglehub import config

    config.clear_kaggle_credentials()
    name_and_key = {"KAGGLE_USERNAME", "KAGGLE_KEY"}
    if os.environ.get("KAGGLE_API_TOKEN") or name_and_key <= set(os.environ):
        return "the environment"
    if _sign_in_with_colab():
        return "Colab's secrets"
    if config.get_kaggle_credentials():
        return "a file"
    config.set_kaggle_api_token(_typed(ask))
    return "what you typed"


def _sign_in_with_colab() -> bool:
    """With the token in Colab's secrets, or with the older pair of user name and key."""
    from kagglehub import config

    token = _colab_secret("KAGGLE_API_TOKEN")
    if token:
        config.set_kaggle_api_token(token)
        return True
    name = _colab_secret("KAGGLE_USERNAME")
    key = _colab_secret("KAGGLE_KEY")
    if name and key:
        config.set_kaggle_credentials(name, key)
        return True
    return False


def _colab_secret(name: str) -> str:
    """A secret of this Colab user, or "": there is none, or this notebook may not read it."""
    try:
        from google.colab import userdata

        return (userdata.get(name) or "").strip()
    except Exception:  # noqa: BLE001  not on Colab, no such secret, no access: each its own type
        return ""


def _typed(ask: Callable[[str], str]) -> str:
    """The token that the user types. Raises KaggleError if there is none."""
    try:
        token = ask("Kaggle API token (it is not shown): ").strip()
    except Exception:  # noqa: BLE001  a front end without a keyboard raises a type of its own
        token = ""
    if not token:
        raise KaggleError(NO_TOKEN)
    return token
