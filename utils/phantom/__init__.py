"""Synthetic studies in the competition's own layout, whose grades can be seen and whose truth is
known.

In: a `PhantomSpec`. Out: DICOM, tables and the truth under one folder (`make_dataset`). Read `spec`
(what can be asked for) and `grades` (how often, and what a grade leaves of a structure); then the
geometry: `axis`, `column`, `canal`, `spine`; the tissue: `tissue` (which lies where); the scanner:
`signal` (tissue to MR image), `protocols` and `planes` (what the operator chose), `scan` (one
series); the data set: `anatomy` (random spines with given grades), `draft` (one study),
`anomalies` (the irregularities of the real data set, on purpose), `dataset` (all of it on disk),
`sheet` (all of it on one page).
"""

from utils.phantom.anomalies import ANOMALIES
from utils.phantom.dataset import (
    drawn_labels,
    make_dataset,
    study_id_of,
    true_labels,
    true_spine,
)
from utils.phantom.grades import OPENING
from utils.phantom.protocols import CONTRASTS
from utils.phantom.spec import SIZES, VERSION, PhantomError, PhantomSpec

__all__ = [
    "ANOMALIES",
    "CONTRASTS",
    "OPENING",
    "SIZES",
    "VERSION",
    "PhantomError",
    "PhantomSpec",
    "drawn_labels",
    "make_dataset",
    "study_id_of",
    "true_labels",
    "true_spine",
]
