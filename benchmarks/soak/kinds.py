"""Every kind of harm in one list."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.soak import anomalies, disturbed, fuzz
from benchmarks.soak.works import WORKS

TURN_S = 6  # of undisturbed work, about
Harm = Callable[[Path, Path, random.Random], str]  # returns how it was survived


class Kind(NamedTuple):
    """A kind of harm.

    title   what is done, and what counts as survived
    times   how often in one turn
    once    a single turn is enough: it takes minutes
    mounts  whether it needs a disk of its own
    """

    name: str
    title: str
    harm: Harm
    times: int = 1
    once: bool = False
    mounts: bool = False


def all_kinds() -> list[Kind]:
    in_process = [(fuzz.damaged_file, 200), (fuzz.damaged_table, 20), (fuzz.damaged_run, 10)]
    kinds = [kind(harm, times=times) for harm, times in in_process]
    for harm in (disturbed.killed, disturbed.two_in_one_folder, disturbed.two_side_by_side):
        kinds += of_each_work(harm)
    kinds += of_each_work(disturbed.wrong_clock)
    for harm in (disturbed.full_disk, disturbed.read_only, disturbed.read_only_source):
        kinds += of_each_work(harm, mounts=True)
    damaged = kind(disturbed.damaged_checkpoint, times=2)
    return [*kinds, damaged, kind(anomalies.every_anomaly, once=True)]


def kind(harm: Callable, of: str = "", **options) -> Kind:
    """With the harm's own name and words."""
    name = harm.__name__.replace("_", " ")
    words = " ".join((harm.__doc__ or "").split())
    return Kind(f"{name}, {of}" if of else name, f"**{name}**: {words}", harm, **options)


def of_each_work(harm: Callable, **options) -> list[Kind]:
    """The quicker a work, the more often in one turn."""
    kinds = []
    for work in WORKS:
        times = max(1, round(TURN_S / work.seconds))
        one = kind(harm, work.name, times=times, **options)
        kinds.append(one._replace(harm=partial(harm, work=work)))
    return kinds
