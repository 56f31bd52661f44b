"""A module under a clock that is set forth and back: python -m benchmarks.soak.clock SEED MODULE …

Python's own time.time jumps by up to three years in the middle of the work. The system's clock
stays as it is: others are at work on this machine.
"""

from __future__ import annotations

import random
import runpy
import sys
import time
from collections.abc import Callable

FURTHEST_S = 1e8
JUMPS = 0.2  # of the calls


def jumping(now: Callable[[], float], rng: random.Random) -> Callable[[], float]:
    """A clock that is set to another time now and then."""
    shift = rng.uniform(-FURTHEST_S, FURTHEST_S)

    def told() -> float:
        nonlocal shift
        if rng.random() < JUMPS:
            shift = rng.uniform(-FURTHEST_S, FURTHEST_S)
        return now() + shift

    return told


def main() -> None:
    seed, module, *arguments = sys.argv[1:]
    time.time = jumping(time.time, random.Random(seed))
    time.time_ns = lambda: int(1e9 * time.time())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
