"""python -m utils.metrics TRAIN_CSV SUBMISSION_CSV: the competition's score, term by term."""

from pathlib import Path

import pandas as pd

from utils import cli
from utils.metrics.score import rsna_score
from utils.metrics.submission import SubmissionError
from utils.rsna import SCHEMAS, read_table


def main() -> None:
    parser = cli.parser("utils.metrics", "The competition's score of a submission, term by term.")
    parser.add_argument("train_csv", help="the true grades, in the form of train.csv")
    parser.add_argument("submission_csv")
    a = parser.parse_args()
    truth, _ = read_table(Path(a.train_csv), SCHEMAS["train.csv"])
    try:
        submission = pd.read_csv(a.submission_csv)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SubmissionError(f"{a.submission_csv}: cannot be read as a table: {error}") from error
    print(rsna_score(truth, submission))


if __name__ == "__main__":
    cli.run(main)
