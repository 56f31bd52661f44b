"""The competition's files from Kaggle: all of them, or the tables and the images of a few studies.

In: an account that has accepted the competition's rules, or a Kaggle session with the data
attached. Out: a folder in the competition's layout. What Kaggle refuses becomes a `KaggleError`
that says what to do; the words of network errors are not repeated, because they may hold a signed
address. Read `account` (whose token), `retry` (what is tried again), `transfer` (one file,
checked), then `whole` and `sample`.
"""

from utils.course.kaggle.account import COMPETITION, KaggleError, attached, sign_in
from utils.course.kaggle.sample import choose, download_sample
from utils.course.kaggle.whole import check_disk, download_all

__all__ = [
    "COMPETITION",
    "KaggleError",
    "attached",
    "check_disk",
    "choose",
    "download_all",
    "download_sample",
    "sign_in",
]
