"""Synthetic studies in the competition's own layout, whose grades can be seen and whose truth is
known.

In: a `PhantomSpec`. Out: DICOM, tables and the truth under one folder (`make_dataset`). Read `spec`
(what can be asked for), `grades` (how often, and what a grade leaves of a structure), `anatomy`
(one spine as geometry), `tissue` (which tissue lies where), `signal` (tissue to MR image), `scan`
(protocols, planes, files), `anomalies` (the irregularities of the real data set, on purpose),
`dataset` (all of it on disk), `sheet` (all of it on one page).
"""

from utils.phantom.anomalies import ANOMALIES
from utils.phantom.dataset import make_dataset, study_id_of, true_labels
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
    "make_dataset",
    "study_id_of",
    "true_labels",
]
