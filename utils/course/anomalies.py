"""Does the audit find what is wrong with a phantom on purpose?"""

from __future__ import annotations

import pandas as pd

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
    """A row for each anomaly: what the audit calls it, whether it was found in the study that has
    it (✓ or ✗), and what else was found there.

    injected  study_id, anomaly: the phantom's truth/anomalies.csv
    findings  from audit.audit
    """
    rows = {}
    for study, anomaly in zip(injected.study_id, injected.anomaly):
        kinds = set(findings.kind[findings.study_id == study])
        name = FOUND_AS[anomaly]
        rows[anomaly] = (name, "✓" if name in kinds else "✗", ", ".join(sorted(kinds - {name})))
    columns = ["the audit's name for it", "found", "found there, too"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("anomaly")
