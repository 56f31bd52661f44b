"""Is time linear in the number of studies, and is memory flat?

python -m benchmarks.growth [--counts 1 10 100 1000] [--only picker] [--out docs/growth.csv]

Ten phantoms of 16 × 16 pixels are linked under new ids until there are enough: only their number
matters here. Every figure is measured in a process of its own, by one worker. "against 100" is the
processor's seconds a study divided by those with 100 studies: 1 is linear, less is a part that does
not grow; what else the machine does counts little in them. There is no page that lists all reports.
The picker is what one key in its search costs, in Python, and in the browser, where its part is
measured as if a saved page held all studies. Ends with 1 if something grows faster than the number
of studies, or a key takes more than 50 ms among the 1,975 studies of the competition.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks.peak import peak_gb
from utils import audit, cli, inference, phantom, prepare, rsna, training, viewer
from utils.files import write_atomic
from utils.phantom import PhantomSpec
from utils.viewer.page import module

SPEC = PhantomSpec(studies=10, seed=1616, test_studies=0, size=(16, 16))
COUNTS = (1, 10, 100, 1000)
REFERENCE = 100  # studies: fewer cost mostly what is done once
ALL = 1975  # studies of the competition
FIRST, FIRST_TEST = 9_100_000_000, 9_200_000_000  # ids that no phantom has
REPEATS = 5  # of what is fast
QUERY = "left severe l4/l5"
FASTER = 1.3  # "against 100" that is no noise any more
MORE_MEMORY = 1.25  # peak memory against that with 100 studies
KEY_SECONDS = 0.05
KEYS = ("a key in the picker, Python", "a key in the picker, browser")
CELL = "import sys; from benchmarks.growth import cell; cell(*sys.argv[1:])"
# Of the saved page: the search over so many studies, each with 25 lines of text, and a real list.
BROWSER_SEARCH = """([about, query, repeats]) => {
  const hosts = new Map(Object.keys(about).map((study) => [study, null]));
  const list = document.createElement("select");
  const status = document.createElement("span");
  const search = { value: "" };
  const viewers = new Map();
  const shown = [...hosts.keys()][0];
  const page = Object.create(Studies.prototype);
  Object.assign(page, { about, hosts, list, status, search, viewers, shown, of: hosts.size });
  page.show = () => {};
  const keys = Array.from(query, (_, k) => query.slice(0, k + 1));
  return Array(repeats).fill(keys).flat().map((typed) => {
    search.value = typed;
    const start = performance.now();
    page.filter();
    return (performance.now() - start) / 1000;
  });
}"""


# --- data -----------------------------------------------------------------------------------------


def grown(base: Path, count: int, root: Path) -> Path:
    """A data folder of so many training studies, whose images are links to those of another folder,
    and as many test studies without images."""
    sources = sorted(int(folder.name) for folder in (base / "train_images").iterdir())
    for k in range(count):
        source = base / "train_images" / str(sources[k % len(sources)])
        study = root / "train_images" / str(FIRST + k)
        study.mkdir(parents=True)
        for series in source.iterdir():
            (study / str(_series_id(FIRST + k, int(series.name)))).symlink_to(series.resolve())
    for name in ("train.csv", "train_label_coordinates.csv", "train_series_descriptions.csv"):
        rows = renamed(pd.read_csv(base / name), sources, FIRST, count)
        rows.to_csv(root / name, index=False)
        if "description" in name:
            tests = renamed(pd.read_csv(base / name), sources, FIRST_TEST, count)
            tests.to_csv(root / name.replace("train", "test"), index=False)
    ids = [row for k in range(count) for row in rsna.row_ids(FIRST_TEST + k)]
    sample = pd.DataFrame({"row_id": ids} | dict.fromkeys(rsna.GRADE_COLUMNS, 1 / 3))
    sample.to_csv(root / "sample_submission.csv", index=False)
    return root


def renamed(table: pd.DataFrame, sources: list[int], first: int, count: int) -> pd.DataFrame:
    """The rows of the sources, again and again, under so many new ids from the first on."""
    ids = [(sources[k % len(sources)], first + k) for k in range(count)]
    rows = pd.DataFrame(ids, columns=["study_id", "new"]).merge(table, on="study_id")
    if "series_id" in rows:
        rows["series_id"] = _series_id(rows.new, rows.series_id)
    return rows.assign(study_id=rows.new)[list(table)]


def _series_id(study, series):
    """Of a phantom, whose series are numbered within their study."""
    return study * 10 + series % 10


# --- what is measured -----------------------------------------------------------------------------


class Taken(NamedTuple):
    """Seconds by the clock, and those of the processor, which other programs change less."""

    seconds: float
    cpu: float


def _once(act: Callable[[], object]) -> Taken:
    start, cpu = time.perf_counter(), time.process_time()
    act()
    return Taken(time.perf_counter() - start, time.process_time() - cpu)


def _median(taken: list[Taken]) -> Taken:
    return Taken(*map(statistics.median, zip(*taken)))


def _often(act: Callable[[], object]) -> Taken:
    return _median([_once(act) for _ in range(REPEATS)])


def preparing(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    return _once(lambda: prepare.prepare(root, scratch / "prepared", jobs=1))


def preparing_again(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    """All is there: only what has changed is looked for."""
    prepare.prepare(root, scratch / "prepared", jobs=1)
    return preparing(root, count, run, scratch)


def auditing(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    return _once(lambda: audit.audit(root, jobs=1))


def grading(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    opened, out = inference.load_run(run), scratch / "predictions.csv"
    return _once(lambda: inference.predict_studies(root, opened, "train", out=out))


def grading_without_images(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    """The test studies, of which only tables are here: each gets the prior."""
    opened, out = inference.load_run(run), scratch / "predictions.csv"
    return _once(lambda: inference.predict_studies(root, opened, "test", out=out))


def loading_tables(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    return _often(lambda: rsna.load_tables(root))


def folds(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    labels = rsna.load_tables(root).labels
    return _often(lambda: prepare.make_folds(labels))


def opening_picker(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    tables = rsna.load_tables(root)
    return _often(lambda: viewer.StudyPicker(tables))


def key_in_picker(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    """What a key in the search calls: the studies that match, and the list of them."""
    picker = viewer.StudyPicker(root)
    typed = [QUERY[:count] for count in range(1, len(QUERY) + 1)] * REPEATS
    return _median(
        [_once(lambda text=text: picker.search.set_trait("value", text)) for text in typed]
    )


def key_in_browser(root: Path, count: int, run: Path, scratch: Path) -> Taken:
    """The same of a saved page. NaN where there is no Chromium."""
    from playwright.sync_api import sync_playwright

    from benchmarks.viewer import CHROMIUM, FLAGS

    if CHROMIUM is None:
        return Taken(float("nan"), float("nan"))
    tables = rsna.load_tables(root)
    index = viewer.search.search_index(tables, tables.studies())
    words = index.groupby("study_id").text.agg(list)
    about = {str(study): {"summary": "", "words": lines} for study, lines in words.items()}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.add_script_tag(type="module", content=module() + "\nwindow.Studies = Studies;")
        page.wait_for_function("() => window.Studies")
        seconds = page.evaluate(BROWSER_SEARCH, [about, QUERY, REPEATS])
        browser.close()
    return Taken(*[statistics.median(seconds)] * 2)


MEASURED = {
    "load the tables": loading_tables,
    "assign folds": folds,
    "prepare": preparing,
    "prepare again, nothing changed": preparing_again,
    "audit": auditing,
    "grade without images": grading_without_images,
    "open the picker": opening_picker,
    KEYS[0]: key_in_picker,
    KEYS[1]: key_in_browser,
    "grade, tiny run": grading,  # last: it takes longest
}


def cell(what: str, *arguments: str) -> None:
    """One figure, in this process: prints its seconds and the peak memory as JSON."""
    root, count, run, scratch = arguments
    taken = MEASURED[what](Path(root), int(count), Path(run), Path(scratch))
    print(json.dumps(taken._asdict() | {"peak MB": 1000 * peak_gb()}))


def measured(what: str, root: Path, count: int, run: Path) -> dict[str, float]:
    """The same in a process of its own. Raises SystemExit with what it said if it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-W", "ignore", "-c", CELL, what]
        command += map(str, (root, count, run, scratch))
        ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{what}, {count} studies: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


# --- the table ------------------------------------------------------------------------------------


def with_ratios(rows: list[dict]) -> pd.DataFrame:
    """Rows of what, studies, seconds, cpu and peak MB, with milliseconds a study, and how the
    processor's seconds a study compare with those for 100 studies."""
    table = pd.DataFrame(rows)
    table["ms a study"] = 1000 * table.seconds / table.studies
    each = (table.cpu / table.studies).set_axis(table.what)
    reference = each[(table.studies == REFERENCE).to_numpy()]
    table["against 100"] = each.to_numpy() / table.what.map(reference).to_numpy()
    return table[["what", "studies", "seconds", "ms a study", "against 100", "peak MB"]]


def faults(table: pd.DataFrame) -> list[str]:
    """What grows faster than the number of studies, and keys that are slow."""
    memory = table[table.studies == REFERENCE].set_index("what")["peak MB"]
    larger = table[table.studies > REFERENCE]
    found = []
    for _, row in larger.iterrows():
        name = f"{row.what}, {row.studies} studies"
        if row["against 100"] > FASTER:
            found.append(f"{name}: {row['against 100']:.2f} times the seconds a study")
        if row["peak MB"] > MORE_MEMORY * memory.get(row.what, float("inf")):
            found.append(f"{name}: {row['peak MB'] / memory[row.what]:.2f} times the memory")
        if row.what in KEYS and row.seconds > KEY_SECONDS:
            found.append(f"{name}: {1000 * row.seconds:.0f} ms, more than {1000 * KEY_SECONDS:.0f}")
    return found


def counts_of(what: str, counts: list[int]) -> list[int]:
    """The picker also with all studies of the competition."""
    return counts + [ALL] * (what in KEYS and max(counts) >= REFERENCE)


def main() -> None:
    parser = cli.parser("benchmarks.growth", __doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--only", default="", help="what has this word in its name")
    parser.add_argument("--out", type=Path, help="a CSV")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = measure(Path(folder), a.counts, a.only, a.out)
    print(table.round(3).to_string(index=False))
    found = faults(table)
    print("grows too fast:", *(found or ["nothing"]), sep="\n  ")
    raise SystemExit(bool(found))


def measure(folder: Path, counts: list[int], only: str, out: Path | None) -> pd.DataFrame:
    """All figures, the fewest studies first; written after each, so that an interrupted run leaves
    some."""
    base = phantom.make_dataset(folder / "base", SPEC)
    run = trained(base, folder)
    roots, rows = {}, []
    for what in MEASURED:
        for count in counts_of(what, counts) if only in what else ():
            if count not in roots:
                roots[count] = grown(base, count, folder / f"{count}")
            figures = measured(what, roots[count], count, run)
            rows.append({"what": what, "studies": count} | figures)
            told = f"{figures['seconds']:.4f} s, {figures['peak MB']:.0f} MB"
            print(f"{what}, {count} studies: {told}", flush=True)
            if out:
                write_atomic(out, with_ratios(rows).round(4).to_csv(index=False))
    return with_ratios(rows)


def trained(base: Path, folder: Path) -> Path:
    """A run of the smallest models, which need not be good."""
    from tests.tiny import TINY

    prepared = folder / "prepared"
    prepare.prepare(base, prepared, folds=TINY.folds)
    training.fit(prepared, folder / "run", TINY)
    return folder / "run"


if __name__ == "__main__":
    cli.run(main)
