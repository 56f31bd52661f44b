"""python -m utils.inference PATH RUN --out submission.csv: grade studies with a trained run, or
with the mean of several. PATH is a data folder, or an exam: a folder, a zip or a CD."""

from pathlib import Path

import pandas as pd

from utils import cli, metrics
from utils.exam import Exam, tables_of
from utils.files import write_atomic
from utils.inference import report
from utils.inference.outlines import outliner
from utils.inference.prediction import PRIOR
from utils.inference.run import Run, load_runs
from utils.inference.studies import known_grades, predict, read_predictions
from utils.rsna import CONDITIONS, GRADE_COLUMNS, GRADES, SERIES, Tables, studies_of


def main() -> None:
    parser = cli.parser("utils.inference", "Grade studies with a trained run.")
    data = "a data folder in the competition's layout; or an exam: a folder, a zip or a CD"
    parser.add_argument("root", metavar="path", help=data)
    runs = "a run's folder, `released` say; of several the probabilities are averaged"
    parser.add_argument("run", nargs="+", help=runs)
    beside = "predictions.csv is written beside it"
    parser.add_argument("--out", type=Path, default=Path("submission.csv"), help=beside)
    parser.add_argument("--split", choices=("test", "train"), default="test")
    kind = f"of an exam: SERIES is {', '.join(SERIES)}, or nothing to leave it out"
    parser.add_argument("--kind", action="append", default=[], metavar="ID=SERIES", help=kind)
    a = parser.parse_args()
    if a.out.name == "predictions.csv":
        parser.error(f"{beside}; choose another name for --out")
    inputs = [Path(folder).resolve() for folder in (a.root, *a.run)]
    if any(folder in a.out.resolve().parents for folder in inputs):
        parser.error(f"--out {a.out} is inside {a.root} or a run, which must stay as they are")
    kinds = dict(part.partition("=")[::2] for part in a.kind)
    tables, run = tables_of(a.root, kinds), load_runs(a.run)
    if isinstance(tables, Exam):
        print(tables)
    predictions = a.out.with_name("predictions.csv")
    submission = predict(tables, run, a.split, predictions)
    write_atomic(a.out, submission.to_csv(index=False))
    table = read_predictions(predictions)
    _summarise(a.out, len(submission), table)
    if isinstance(tables, Exam):
        _show(tables, table, a.out.parent / "report", run)
    else:
        _print_scores(tables, run, a.split, submission)


def _show(exam: Exam, table: pd.DataFrame, folder: Path, run: Run) -> None:
    """The most probable grades of each study as a table, and a page of its own."""
    best = table[list(GRADE_COLUMNS)].to_numpy().argmax(1)
    text = [f"{GRADES[k]} {p:.0%}" for k, p in zip(best, table[list(GRADE_COLUMNS)].max(axis=1))]
    outline = outliner(exam, run)
    for study_id, rows in table.assign(text=text).groupby("study_id"):
        page, model = folder / f"{study_id}.html", f"run {run.signature}"
        report.write_report(exam, study_id, rows, page, model, outline(study_id))
        grid = rows.pivot(index="level", columns="condition", values="text")[list(CONDITIONS)]
        names = [name.replace("Neural Foraminal", "Foraminal") for name in grid]
        print(grid.set_axis(names, axis=1).rename_axis(None, axis=1).to_string())
        print(f"Look at every one of them on the images: {page}\nFor teaching, not for diagnosis.")


def _summarise(out: Path, rows: int, table: pd.DataFrame) -> None:
    """What was written, and every note."""
    unseen = (table.source == PRIOR).sum()
    studies = table.study_id.nunique()
    print(
        f"{out}: {rows} rows, {studies} {'study' if studies == 1 else 'studies'}, "
        f"{unseen} of them not seen and from the prior"
    )
    noted = table[table.note != ""]
    for (study_id, note), group in noted.groupby(["study_id", "note"], sort=False):
        print(f"  {study_id}: {len(group)} rows, {note}")


def _print_scores(tables: Tables, run: Run, split: str, submission: pd.DataFrame) -> None:
    """The run beside the weighted prior, where grades are known."""
    known = known_grades(tables, split)
    predicted = known[known.study_id.isin(studies_of(submission.row_id))]
    if len(predicted):
        prior = metrics.constant_submission(run.prior, sorted(predicted.study_id.unique()))
        scored = submission[submission.row_id.isin(prior.row_id)]
        print(f"weighted prior  {metrics.rsna_score(predicted, prior)}")
        print(f"this run        {metrics.rsna_score(predicted, scored)}")


if __name__ == "__main__":
    cli.run(main)
