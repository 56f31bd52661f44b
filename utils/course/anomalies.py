"""Does the audit find what is wrong with a phantom on purpose?"""

from __future__ import annotations

import re

import pandas as pd

SERIES_ID = re.compile(r"\d{11,}")  # of a phantom; its studies' have ten digits
# What the audit calls each anomaly of the phantom.
FOUND_AS = {
    "several axial series": "several axial series",
    "sides on different series": "sides on different series",
    "missing series": "missing series",
    "missing tags": "missing tags",
    "mixed sizes": "mixed sizes",
    "upside down order": "order against anatomy",
    "instances from 5031": "instances do not start at 1",
    "truncated file": "unreadable file",
    "empty file": "unreadable file",
    "cervical series": "wrong body part",
    "duplicate instances": "duplicate instances",
    "swapped sides": "sides exchanged",
    "placeholder points": "placeholder point",
    "label without point": "label without point",
    "point without label": "point without label",
}


def found_anomalies(injected: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """A row for each anomaly: what the audit calls it, whether it was found in the study and, where
    the phantom names one, the series that has it (✓ or ✗), and what else was found there.

    injected  study_id, anomaly, what: the phantom's truth/anomalies.csv
    findings  from audit.audit
    """
    rows = {}
    for study, anomaly, what in injected[["study_id", "anomaly", "what"]].itertuples(index=False):
        there, name = findings[findings.study_id == study], FOUND_AS[anomaly]
        found = any(_is_about(series, what) for series in there.series_id[there.kind == name])
        rows[anomaly] = (name, "✓" if found else "✗", ", ".join(sorted(set(there.kind) - {name})))
    columns = ["the audit's name for it", "found", "found there, too"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("anomaly")


def _is_about(series_id: float, what: str) -> bool:
    """Whether a finding, of a series or (nan) of the whole study, is of what a line describes."""
    named = SERIES_ID.findall(what)
    return pd.isna(series_id) or not named or str(int(series_id)) in named
