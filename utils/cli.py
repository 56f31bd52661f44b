"""How every command of this project ends: with its result, or with one line that says what to
do."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from collections.abc import Callable

from utils.errors import LumbarError


def parser(module: str, description: str) -> ArgumentParser:
    """A parser for `python -m {module}`."""
    return ArgumentParser(prog=f"python -m {module}", description=description)


def run(main: Callable[[], None]) -> None:
    """Call main; a LumbarError or OSError becomes one line on stderr and exit status 2."""
    logging.basicConfig(format="%(message)s")  # other packages' from WARNING up
    logging.getLogger("utils").setLevel(logging.INFO)
    try:
        main()
    except (LumbarError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
