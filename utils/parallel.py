"""The same work on many studies, in several processes, with progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from joblib import Parallel
from joblib.externals.loky.process_executor import BrokenProcessPool
from tqdm.auto import tqdm

from utils.errors import LumbarError


class WorkerError(LumbarError):
    """A process that was killed from outside."""


def in_processes(work: Iterable, jobs: int, total: int, description: str, done: int = 0) -> tqdm:
    """The results of calls (joblib.delayed), one per study, in their order, as a progress bar to be
    iterated over, which counts to `total`, beginning at those that are done. Raises WorkerError
    while it is."""
    bar = {"unit": "study", "initial": done, "disable": done == total}
    return tqdm(_results(work, jobs), description, total, **bar)


def _results(work: Iterable, jobs: int) -> Iterator[Any]:
    try:
        yield from Parallel(jobs, return_as="generator", batch_size=1)(work)
    except BrokenProcessPool as error:
        raise WorkerError(
            f"one of {jobs} processes was killed, most likely because memory was full. "
            "Run this again with fewer (jobs): what is finished is kept"
        ) from error
