"""What is wrong or unusual in a data folder, found by name before anything is trained on it.

In: a data folder. Out: a table with one row per finding (`audit`) and its counts (`summary`). Read
`findings` (every kind there is, and what this package does about it), `tables` (checks that need
no image), `images` (checks that read a study's images) and `report` (all of it as one table).

To add a check: name its kind in `findings.KINDS`, then write it in `tables` or `images`, whose
first lines show where it is to be listed.
"""

from utils.audit.findings import KINDS, Finding
from utils.audit.images import in_study
from utils.audit.report import audit, summary
from utils.audit.tables import in_tables

__all__ = ["KINDS", "Finding", "audit", "in_study", "in_tables", "summary"]
