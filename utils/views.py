"""Which views of a study a grader looks at: targets, each in one kind of series, in narrow or wide
crops.

A preset chooses from three sets (`VIEW_SETS` in presets). Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from utils.presets import VIEW_SETS, Preset
from utils.rsna import (
    AXIAL_T2,
    CANAL,
    FAMILIES,
    SAGITTAL_T2,
    SERIES,
    TARGETS,
    target_index,
)

WIDE = 1.5  # how many times as wide as the others the crops of the set "wide" are
_CROSSED_SERIES = {"foraminal": AXIAL_T2, "subarticular": SAGITTAL_T2}  # by family


class View(NamedTuple):
    """One thing that the grader looks at: a target in one kind of series."""

    target: int  # position in TARGETS
    series: str  # one of SERIES
    width: float = 1.0  # of its crops, as a multiple of the preset's crop_mm

    @property
    def mirrored(self) -> View:
        """What it becomes when the patient is mirrored."""
        return self._replace(target=target_index(*TARGETS[self.target].mirrored))


@dataclass(frozen=True, eq=False)
class Views:
    """All views of a grader, and the same as arrays (V,), for indexing.

    target   position in TARGETS
    series   position in SERIES
    family   position in FAMILIES, of the target
    width    of the crops, as a multiple of the preset's crop_mm
    place    equal for views of one target in one kind of series, which differ in width alone
    kind     equal for views of one kind of series and one width: 0 … kinds - 1
    other    where each view is found when the patient is mirrored
    reverse  whether mirroring puts the slices of the view in reverse (bool), and
    flip     whether it flips its images (bool): those of the canal. Views of the right side look
             like those of the left already, and only change places with them
    """

    each: tuple[View, ...]
    target: np.ndarray
    series: np.ndarray
    family: np.ndarray
    width: np.ndarray
    place: np.ndarray
    kind: np.ndarray
    kinds: int
    other: np.ndarray
    reverse: np.ndarray
    flip: np.ndarray

    def __len__(self) -> int:
        return len(self.each)

    def mirrored(self, slices: np.ndarray) -> np.ndarray:
        """What there is of each slice (V, S, …), of the mirrored patient; not yet flipped."""
        mirrored = slices[self.other]
        mirrored[self.reverse] = mirrored[self.reverse][:, ::-1]
        return mirrored


def views_of(preset: Preset) -> Views:
    """The views of a preset's grader: those of its sets, one set after the other.

    >>> from utils.presets import get_preset
    >>> marked = views_of(get_preset("demo"))  # 25 targets, and the canal on axial slices as well
    >>> len(marked), marked.each[5].mirrored == marked.each[marked.other[5]]
    (30, True)
    """
    return _views(preset.views)


@cache
def _views(sets: tuple[str, ...]) -> Views:
    each = tuple(view for name in sets for view in _SETS[name])
    targets = [TARGETS[view.target] for view in each]
    series = np.array([SERIES.index(view.series) for view in each])
    width = np.array([view.width for view in each])
    widths, nth_width = np.unique(width, return_inverse=True)
    canal = np.array([target.condition == CANAL for target in targets])
    axial = np.array([view.series == AXIAL_T2 for view in each])
    return Views(
        each=each,
        target=np.array([view.target for view in each]),
        series=series,
        family=np.array([FAMILIES.index(target.family) for target in targets]),
        width=width,
        place=_numbered([(view.target, view.series) for view in each]),
        kind=nth_width * len(SERIES) + series,
        kinds=len(widths) * len(SERIES),
        other=np.array([each.index(view.mirrored) for view in each]),
        reverse=canal & ~axial,
        flip=canal & axial,
    )


def _numbered(keys: list[tuple[int, str]]) -> np.ndarray:
    """0 for the first key and all that are equal, 1 for the next …"""
    numbers = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def _marked() -> list[View]:
    """Each target in the kind of series on which readers mark it, and the canal in axial slices as
    well."""
    own = [View(k, target.series) for k, target in enumerate(TARGETS)]
    canal = [View(k, AXIAL_T2) for k, target in enumerate(TARGETS) if target.condition == CANAL]
    return own + canal


def _crossed() -> list[View]:
    """Foramina in axial slices, recesses in sagittal ones."""
    known = [(k, _CROSSED_SERIES.get(target.family)) for k, target in enumerate(TARGETS)]
    return [View(k, series) for k, series in known if series]


def _wide() -> list[View]:
    """Each target in its own kind of series, with more of its surroundings."""
    return [View(k, target.series, WIDE) for k, target in enumerate(TARGETS)]


_SETS = dict(zip(VIEW_SETS, (_marked(), _crossed(), _wide()), strict=True))
