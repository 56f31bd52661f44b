"""The competition's files from Kaggle: study by study out of its archive, a few of them, or all.

In: an account that has accepted the competition's rules, or a Kaggle session with the data
attached. Out: a source of studies for `prepare.prepare`, which keeps no file of them, or a folder
in the competition's layout. What Kaggle refuses becomes a `KaggleError`
that says what to do; the words of network errors are not repeated, because they may hold a signed
address. Read `account` (whose token), `retry` (what is tried again), `transfer` (one file,
checked), `remote` (ranges of a file), `archive` (studies out of the archive), then `sample` and
`whole`.
"""

from utils.course.kaggle.account import COMPETITION, KaggleError, attached, sign_in
from utils.course.kaggle.archive import ArchiveSource, open_archive
from utils.course.kaggle.remote import NoRangesError
from utils.course.kaggle.sample import choose, download_sample
from utils.course.kaggle.whole import check_disk, data_set, download_all, downloaded

__all__ = [
    "COMPETITION",
    "ArchiveSource",
    "KaggleError",
    "NoRangesError",
    "attached",
    "check_disk",
    "choose",
    "data_set",
    "download_all",
    "download_sample",
    "downloaded",
    "open_archive",
    "sign_in",
]
