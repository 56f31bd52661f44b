"""The audit: all findings in one table, and how many there are of each kind."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pandas as pd
from joblib import delayed

from utils.audit.findings import Finding
from utils.audit.images import in_study
from utils.audit.tables import in_tables
from utils.files import csv_text, write_atomic
from utils.parallel import in_processes
from utils.rsna import Tables, load_tables


def audit(root: str | Path, out: str | Path | None = None, jobs: int = 2) -> pd.DataFrame:
    """One row per finding: kind, study_id, series_id, level, seen (the evidence), done (what this
    package does about it), sorted by kind and study; also as CSV at out.

    Reads every series whose images are on this disk, once, in `jobs` processes.
    """
    tables = load_tables(root)
    findings = [*in_tables(tables), *_in_images(tables, jobs)]
    rows = [finding.complete() for finding in findings]
    table = pd.DataFrame(rows, columns=list(Finding._fields))
    table = table.astype({"study_id": "Int64", "series_id": "Int64"})
    table = table.sort_values(["kind", "study_id"], ignore_index=True)
    if out is not None:
        write_atomic(Path(out), csv_text(table))
    return table


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Findings and studies per kind, most frequent first, with one example and what is done."""
    counts = table.groupby("kind", sort=False).agg(
        findings=("kind", "size"),
        studies=("study_id", "nunique"),
        example=("seen", "first"),
        done=("done", "first"),
    )
    return counts.sort_values("findings", ascending=False)


def _in_images(tables: Tables, jobs: int) -> list[Finding]:
    """Findings of in_study in every study whose images are here."""
    studies = [*tables.studies("train"), *tables.studies("test")]
    work = (delayed(_study_findings)(tables.only(study), study) for study in studies)
    return list(chain.from_iterable(in_processes(work, jobs, len(studies), "auditing")))


def _study_findings(tables: Tables, study_id: int) -> list[Finding]:
    """As a list, which can come back from another process."""
    return list(in_study(tables, study_id))
