"""Any exam of the lumbar spine as `Tables`: a folder of any depth, a zip, or a CD, as a hospital
gives it.

In: files with any name, several series, other regions, localizers, reports and programs between
them. Out: an `Exam`, which is `Tables` like those of a data folder, so that everything that takes a
study takes it; its `found` says of each series what it was taken for, and why. Read `study` first
(the way from files to tables), then `scans` (files to stacks of one contrast), `weighting` (T1 or
T2, from the scan's parameters), `fluid` (the same from the images), `recognition` (which kind, and
what speaks against it) and `choice` (which are used). What can wait: `files`, `headers`.

Nothing that tells who the patient is is kept: ids are short hashes, files have numbers for names,
and descriptions are compared with words, never shown. Nothing is copied.
"""

from utils.exam.choice import Candidate
from utils.exam.files import ExamError
from utils.exam.study import Exam, import_study, tables_of

__all__ = ["Candidate", "Exam", "ExamError", "import_study", "tables_of"]
