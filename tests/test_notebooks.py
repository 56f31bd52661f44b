"""The four notebooks keep the house style, and run one after the other on a small phantom."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import claims
import hospital
import nbformat
import pandas as pd
import pytest

from tools import pages, sections
from utils import inference, metrics, rsna
from utils.course import workspace
from utils.course.checks import QUESTIONS
from utils.course.exercises import TESTS as EXERCISES
from utils.presets import PRESETS

ROOT = Path(__file__).parent.parent
SOLVED = ("wrong", "right", "solution")  # tags of the cells that a test adds
NAMES = ("01_eda", "02_preprocess", "03_train", "04_infer")
# A line that makes a figure; the functions left out draw into one that is there.
FIGURE = re.compile(
    r"plots\.(?!house_style|show_image|draw_slice|draw_points|MARK)\w+\(|plt\.subplots"
)
QUESTION = re.compile(r"""(\w+) = \.\.\.  # your answer\ncheck\("([^"]+)", (\w+)\)""")
SOLUTIONS = "<details><summary>Solutions</summary>"
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n\n`(.+?)`")


@pytest.fixture(scope="module", params=NAMES)
def notebook(request):
    return request.param, nbformat.read(ROOT / f"{request.param}.ipynb", 4)


def code_of(nb) -> list[str]:
    return [cell.source for cell in nb.cells if cell.cell_type == "code"]


def test_git_holds_no_outputs_and_no_widget_state(notebook):
    _, nb = notebook
    code_cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells)
    assert "widgets" not in nb.metadata


def test_one_settings_cell_names_source_and_preset_as_colab_forms(notebook):
    """Empty fields, which are as chosen last, in whichever notebook: see test_settings."""
    name, nb = notebook
    (settings,) = [c.source for c in nb.cells if "parameters" in c.metadata.get("tags", [])]
    assert re.search(r'^SOURCE = ""  # @param \["", "phantom"', settings, re.M)
    assert re.search(r'^PRESET = ""  # @param \["", "demo"', settings, re.M)
    form = "SOURCE=SOURCE, PRESET=PRESET"
    assert re.search(rf'^SOURCE, PRESET.* = workspace\.choose\(\s*"{name}", {form}', settings, re.M)


def test_the_badge_opens_this_very_notebook_in_the_projects_repository(notebook):
    name, nb = notebook
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    repository = project["urls"]["Repository"].removeprefix("https://github.com/")
    on_colab = f"colab.research.google.com/github/{repository}/blob/main/{name}.ipynb"
    assert on_colab in nb.cells[0].source
    assert f"git clone -q https://github.com/{repository} " in code_of(nb)[0]


def words_of(nb) -> str:
    return "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")


def test_slots_are_there_in_order(notebook):
    name, nb = notebook
    other = "**Back to:** [1" if name == NAMES[-1] else "**Next:** ["
    slots = [
        "[![Open in Colab]",
        "# ",
        "| section | what you will see | on 2 quiet CPU cores | GPU? |",
        "*Reads*",
        "*Leaves*",
        "## 1 · Set up",
        "Check yourself",
        "## Takeaways",
        "## Exercises",
        "Solutions",
        "**Sources.**",
        other,
    ]
    found = [words_of(nb).find(slot) for slot in slots]
    assert -1 not in found
    assert found == sorted(found)


def test_the_table_at_the_top_names_every_section_and_its_measured_time(notebook):
    _, nb = notebook
    headings = re.findall(r"^## (\d+) · ", words_of(nb), re.M)
    rows = re.findall(r"^\| (\d+) [^|]+\|[^|]+\| (.*?) \| \w[\w ]* \|$", nb.cells[0].source, re.M)
    numbers = [str(k + 1) for k in range(len(headings))]
    assert [number for number, _ in rows] == headings == numbers
    assert all(re.fullmatch(r"\d+ (s|min)|–", time) for _, time in rows), rows


def test_code_cells_are_short_and_prose_is_between_them(notebook):
    _, nb = notebook
    lines = sorted(lines_of(source) for source in code_of(nb))
    assert lines[len(lines) // 2] <= 5
    assert lines[-1] <= 12
    kinds = "".join(c.cell_type[0] for c in nb.cells)
    assert "ccc" not in kinds, "three code cells in a row without a word between them"


def lines_of(source: str) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in source.splitlines())


def test_a_notebook_is_a_lesson_of_an_hour(notebook):
    _, nb = notebook
    assert 40 <= len(nb.cells) <= 60
    prose = re.sub(r"```.*?```", "", words_of(nb), flags=re.S)
    words = [word for word in prose.split() if re.search(r"\w", word)]  # without bars of tables
    assert 900 <= len(words) <= 1800
    assert 8 <= len(re.findall(r"^## ", words_of(nb), re.M)) <= 14
    assert len(nbformat.writes(nb)) < 100_000


def test_every_figure_is_followed_by_prose_about_it(notebook):
    """A caption explains what is in it; plots.house_style gives each figure an alt text."""
    _, nb = notebook
    assert any("plots.house_style()" in source for source in code_of(nb))
    for k, cell in enumerate(nb.cells[:-1]):
        if cell.cell_type == "code" and FIGURE.search(cell.source):
            after = nb.cells[k + 1 : k + 3]
            assert any(one.cell_type == "markdown" for one in after), cell.source


def test_technical_terms_are_linked_to_the_glossary(notebook):
    _, nb = notebook
    assert "](docs/glossary.md#" in words_of(nb)


def test_images_have_an_alt_text(notebook):
    _, nb = notebook
    assert all(text for text in re.findall(r"!\[(.*?)\]\(", words_of(nb)))


def test_links_between_notebooks_lead_somewhere(notebook):
    _, nb = notebook
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", words_of(nb)) if not t.startswith("http")]
    assert targets
    assert all((ROOT / target.partition("#")[0]).is_file() for target in targets)


# --- check-yourself cells and exercises -----------------------------------------------------------


class Question(NamedTuple):
    """A check-yourself cell: its position, the question's name, the variable of the learner's
    answer, and the line that solves it."""

    position: int
    name: str
    answer: str
    solution: str


def questions_of(nb) -> list[Question]:
    """Every check-yourself cell of a notebook, which must have its solution folded below it."""
    found = []
    for k, cell in enumerate(nb.cells):
        if cell.cell_type != "code" or "check(" not in cell.source:
            continue
        question = QUESTION.fullmatch(cell.source)
        assert question, f"not in the form of a check-yourself cell: {cell.source}"
        solution = SOLUTION.match(nb.cells[k + 1].source)
        assert solution, f"no solution is folded below {cell.source}"
        answer, name, checked = question.groups()
        assert answer == checked == solution[1].split(" = ")[0]
        found.append(Question(k, name, answer, solution[1]))
    return found


def solutions_of(nb) -> list[str]:
    """Those of the exercises, which are folded in a cell of their own."""
    (folded,) = [c.source for c in nb.cells if c.source.startswith(SOLUTIONS)]
    return re.findall(r"```python\n(.*?)```", folded.partition("</details>")[0], re.S)


def test_there_are_questions_all_along_and_every_one_is_asked_once():
    notebooks = [nbformat.read(ROOT / f"{name}.ipynb", 4) for name in NAMES]
    questions = [questions_of(nb) for nb in notebooks]
    assert sorted(one.name for one in chain.from_iterable(questions)) == sorted(QUESTIONS)
    assert all(len(some) >= 5 for some in questions)
    assert sum(map(len, questions)) >= 21


def test_three_or_four_exercises_each_with_its_solution(notebook):
    _, nb = notebook
    text = words_of(nb).split("## Exercises")[1].split("<details>")[0]
    exercises = re.findall(r"^(\d)\. ★", text, re.M)
    assert exercises in (["1", "2", "3"], ["1", "2", "3", "4"])
    assert [source.split()[1].rstrip(":") for source in solutions_of(nb)] == exercises


def test_the_hardest_exercise_is_a_function_with_a_test_of_its_own(notebook):
    _, nb = notebook
    *_, written = [source for source in code_of(nb) if "attempt(" in source]
    name = re.search(r'attempt\("(.+)", \w+\)', written)[1]
    assert name in EXERCISES
    assert "★★★" in words_of(nb)
    assert f'attempt("{name}"' in solutions_of(nb)[-1]


def answered(nb):
    """The notebook as a learner leaves it: every question answered wrongly and then rightly, every
    exercise solved."""
    for question in reversed(questions_of(nb)):  # from the end, so that positions stay valid
        wrong = f'{question.answer} = "no such answer"'
        for tag, line in (("right", question.solution), ("wrong", wrong)):
            check = f'{line}\ncheck("{question.name}", {question.answer})'
            nb.cells.insert(question.position + 1, tagged(check, tag))
    nb.cells += [tagged(source, "solution") for source in solutions_of(nb)]
    return nb


def repeated(nb):
    """The notebook as it is, and every cell run twice before the next."""
    for k in reversed([k for k, cell in enumerate(nb.cells) if cell.cell_type == "code"]):
        nb.cells.insert(k + 1, tagged(nb.cells[k].source, "again"))
    return nb


def tagged(source: str, tag: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source, metadata={"tags": [tag]})


SMOKE = ("-p", "PRESET", "smoke")


def run(name: str, home: Path, *parameters: str, change: Callable | None = answered) -> None:
    """Execute a notebook, with all its questions answered and its exercises solved, or as another
    change has it, or as it is."""
    lesson = home / f"lesson-{name}.ipynb"
    nb = nbformat.read(ROOT / f"{name}.ipynb", 4)
    nbformat.write(change(nb) if change else nb, lesson)
    papermill = [sys.executable, "-m", "papermill", str(lesson), str(home / f"{name}.ipynb")]
    done = subprocess.run(
        [*papermill, "--no-progress-bar", *parameters],
        cwd=ROOT,
        env=os.environ | {"LUMBAR_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def exam_zip(tables, whole_study, tmp_path_factory) -> Path:
    """A phantom patient as a hospital exports it, with a name, beside scans that nobody grades."""
    images = hospital.images_of(tables, whole_study)
    folder = hospital.exported(images, tmp_path_factory.mktemp("exam") / "mri", seed=6)
    return Path(shutil.make_archive(str(folder), "zip", folder))


@pytest.fixture(scope="module")
def executed(exam_zip, tmp_path_factory) -> Path:
    """01 with an exam beside the phantom, 02 with a store, all on the phantom."""
    home = tmp_path_factory.mktemp("home")
    more = {"01_eda": ("SOURCE", str(exam_zip)), "02_preprocess": ("STORE", str(home / "store"))}
    for name in NAMES:
        parameters = ("-p", *more[name]) if name in more else ()
        run(name, home, *SMOKE, *parameters)
    return home


@pytest.mark.notebook
def test_the_four_notebooks_end_in_a_valid_scored_submission(executed):
    submission = pd.read_csv(executed / "submission.csv")
    sample = rsna.load_tables(next((executed / "data").glob("phantom-[0-9]*"))).submission
    assert submission.row_id.tolist() == sample.row_id.tolist()
    metrics.check_submission(submission, sample.row_id)
    assert (submission[list(rsna.GRADE_COLUMNS)].sum(axis=1) - 1).abs().max() < 1e-9
    scores = pd.read_csv(executed / "scores.csv", index_col="prediction")
    assert set(scores.index) == {"weighted prior", "this run"}
    assert len(list((executed / "report").glob("*.html"))) == 2


@pytest.fixture(scope="module")
def of_seed_1(executed, tmp_path_factory) -> Path:
    """The notebooks with every cell run twice, on fewer patients of another seed. (The phantom with
    anomalies has a seed of its own and is copied.)"""
    spec = replace(PRESETS["smoke"].phantom, seed=1, studies=4)
    preset = replace(PRESETS["smoke"], name="seed-1", phantom=spec)
    home = tmp_path_factory.mktemp("seed-1")
    anomalous = "data/phantom-anomalies"
    shutil.copytree(executed / anomalous, home / anomalous)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUMBAR_HOME", str(home))
        workspace.choose("01_eda", PRESET=preset)
    for name in NAMES:
        run(name, home, change=repeated)
    return home


@pytest.mark.notebook
@pytest.mark.parametrize("name", NAMES)
def test_what_the_text_says_holds_for_another_seed(executed, of_seed_1, name):
    """The same cells show something of the same kind, and no number in the text is one that only
    one of the two has printed (see claims)."""
    one, other = (lesson_of(home / f"{name}.ipynb") for home in (executed, of_seed_1))
    assert [cell.source for cell in one.cells] == [cell.source for cell in other.cells]
    if name != "01_eda":  # there only one of the two shows an exam
        assert [*map(kinds_of, one.cells)] == [*map(kinds_of, other.cells)]
    assert any(claims.printed(a) != claims.printed(b) for a, b in zip(one.cells, other.cells))
    assert claims.of_one_seed(one, other) == []


def lesson_of(path: Path) -> nbformat.NotebookNode:
    """An executed notebook without the cells that a test has added."""
    nb = nbformat.read(path, 4)
    added = {*SOLVED, "again", "injected-parameters"}
    nb.cells = [cell for cell in nb.cells if not added.intersection(cell.metadata.get("tags", []))]
    return nb


def kinds_of(cell) -> set[str]:
    """What a cell shows: text, figures, widgets; not the progress of what may be there already."""
    outputs = [output for output in cell.get("outputs", []) if any(claims.texts_of(output))]
    return {kind for output in outputs for kind in output.get("data", {"stream": ""})}


@pytest.mark.notebook
def test_the_course_ends_with_a_board_and_the_page_of_a_study(executed):
    board = pd.read_csv(executed / "capstone-3" / "board.csv")
    assert board.attempt.tolist() == ["phantom-6-smoke"]
    assert board.better.isna().all()
    lesson = [c for c in nbformat.read(executed / "04_infer.ipynb", 4).cells if not c.metadata.tags]
    (page,) = lesson[-1].outputs
    assert page.data["text/html"].startswith("<div><iframe srcdoc=")


@pytest.mark.notebook
def test_01_shows_an_exam_beside_the_phantom(executed):
    done = nbformat.read(executed / "01_eda.ipynb", 4)
    (shown,) = [cell for cell in done.cells if "plots.middle_slices" in cell.source]
    assert any("image/png" in output.get("data", {}) for output in shown.outputs)
    (listed,) = [
        cell for cell in done.cells if cell.source.startswith("volunteer = exam.import_study")
    ]
    printed = "".join(output.get("text", "") for output in listed.outputs)
    assert printed.startswith("Exam(1 study: 9 series, 3 of them graded)")


@pytest.mark.notebook
def test_04_grades_an_exam_in_a_zip_and_tells_nobody_whose_it_is(exam_zip, tmp_path):
    run(
        "04_infer",
        tmp_path,
        *SMOKE,
        "-p",
        "SOURCE",
        str(exam_zip),
        "-p",
        "RUN",
        "released",
        change=None,
    )
    assert len(pd.read_csv(tmp_path / "submission.csv")) == 25
    assert not (tmp_path / "data").exists()  # no copy of it, and no phantom
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(list((tmp_path / "report").iterdir())) == 1
    told = {path.name: path.read_bytes().lower() for path in files}
    for secret in hospital.SECRETS:
        assert not [name for name, text in told.items() if secret.lower().encode() in text], secret


@pytest.mark.notebook
def test_03_trains_on_a_new_machine_from_the_store_alone(executed, tmp_path):
    """An empty home, the tables without any image, and the copy that 02 has filled elsewhere."""
    data = next((executed / "data").glob("phantom-[0-9]*"))
    tables = tmp_path / "elsewhere" / data.name
    tables.mkdir(parents=True)
    for table in data.glob("*.csv"):
        shutil.copy(table, tables)
    home = tmp_path / "new machine"
    home.mkdir()
    run(
        "03_train",
        home,
        *SMOKE,
        "-p",
        "SOURCE",
        str(tables),
        "-p",
        "STORE",
        str(executed / "store"),
    )
    (trained,) = (home / "runs").glob("*/oof.csv")
    before = next((executed / "runs").glob("phantom-*/oof.csv"))
    assert trained.read_bytes() == before.read_bytes()
    assert not list(home.rglob("*.dcm"))


@pytest.mark.notebook
def test_the_finished_run_is_on_the_board_and_several_are_averaged(executed, monkeypatch):
    """The second run is a copy, with another temperature, of the first; both are found and read as
    04 does."""
    board = pd.read_csv(executed / "runs" / "runs.csv")
    assert board.run.tolist() == ["phantom-6-smoke"]
    shown = nbformat.read(executed / "03_train.ipynb", 4)
    assert any(
        "◀ this run" in output.get("data", {}).get("text/plain", "") for output in outputs_of(shown)
    )
    single = pd.read_csv(executed / "predictions.csv").run.unique()
    other = shutil.copytree(executed / "runs" / "phantom-6-smoke", executed / "runs" / "other")
    content = json.loads((other / "run.json").read_text()) | {"temperature": 2.0}
    (other / "run.json").write_text(json.dumps(content))
    monkeypatch.setenv("LUMBAR_HOME", str(executed))
    work = workspace.open_workspace("phantom", "smoke", data=False)
    both = inference.load_runs(workspace.find_runs("phantom-6-smoke, other", work))
    study = rsna.load_tables(work.data).studies("test")[:1]
    (averaged,) = inference.predict_studies(work.data, both, studies=study).run.unique()
    assert averaged.startswith(f"{single[0]} + other ")
    assert averaged.endswith(" T=2")


@pytest.mark.notebook
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_answer_gets_a_hint_a_right_one_a_tick_and_solutions_solve(executed, name):
    cells = nbformat.read(executed / f"{name}.ipynb", 4).cells
    wrong, right, solutions = ([c for c in cells if tag in c.metadata.tags] for tag in SOLVED)
    assert all(text_of(c).startswith("✗") and "Hint" in text_of(c) for c in wrong)
    assert all(text_of(c) == "✓ Yes.\n" for c in right)
    assert len(wrong) == len(right) >= 5
    assert text_of(solutions[-1]) == "✓ It passes.\n"
    assert len(solutions) >= 3
    assert all(text_of(c).strip() or figures_of(c) for c in solutions)


def text_of(cell) -> str:
    """What a code cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs)


def figures_of(cell) -> list[nbformat.NotebookNode]:
    """The outputs of a cell that are figures."""
    outputs = cell.get("outputs", [])
    return [output for output in outputs if "image/png" in output.get("data", {})]


def outputs_of(nb) -> list[nbformat.NotebookNode]:
    return [*chain.from_iterable(cell.get("outputs", []) for cell in nb.cells)]


@pytest.mark.notebook
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_an_alt_text(executed, name):
    cells = nbformat.read(executed / f"{name}.ipynb", 4).cells
    figures = chain.from_iterable(figures_of(cell) for cell in cells)
    texts = [figure.metadata["image/png"]["alt"] for figure in figures]
    assert texts
    assert all(len(text) > 10 for text in texts), texts


@pytest.mark.notebook
def test_executed_notebooks_show_figures_and_the_viewer(executed):
    for name in NAMES:
        nb = nbformat.read(executed / f"{name}.ipynb", 4)
        outputs = outputs_of(nb)
        assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3, name
        assert not [output for output in outputs if output.output_type == "error"]
        if name in ("01_eda", "04_infer"):
            assert any(pages.WIDGET_VIEW in output.get("data", {}) for output in outputs), name


@pytest.mark.notebook
def test_the_page_of_a_notebook_shows_its_progress_bars_as_they_ended(executed):
    html = pages.write_page(executed / "01_eda.ipynb").read_text()
    assert "auditing: 100%" in html
    assert "0%|" not in html


@pytest.mark.notebook
def test_real_tables_with_one_studys_images_go_through_01_02_and_04(executed, real_root):
    """A part of the download is a real situation: 1,975 labelled studies, the images of one."""
    for name in ("01_eda", "02_preprocess", "04_infer"):
        run(name, executed, *SMOKE, "-p", "SOURCE", str(real_root))
    submission = pd.read_csv(executed / "submission.csv")
    assert len(submission) == len(rsna.TARGETS)
    metrics.check_submission(submission, submission.row_id)


def test_the_time_of_a_section_is_that_of_its_cells(tmp_path):
    table = """| section | t |
|---|---|
| 1 Set up | words | TIME | no |
| 2 Look | words | 7 s | no |"""
    cells = [
        timed("markdown", table),
        timed("markdown", "## 1 · Set up"),
        timed("code", "a", 100.0),
        timed("code", "b", 41.0),
        timed("markdown", "<details></details>\n\n## 2 · Look"),
        timed("code", "c", 0.2),
    ]
    path = tmp_path / "lesson.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    spent = sections.seconds_by_section(nbformat.read(path, 4))
    assert spent == {1: 141.0, 2: 0.2}
    sections.write(path, spent)
    rows = nbformat.read(path, 4).cells[0].source.splitlines()[2:]
    assert rows == ["| 1 Set up | words | 2 min | no |", "| 2 Look | words | 1 s | no |"]


def timed(kind: str, source: str, seconds: float | None = None) -> nbformat.NotebookNode:
    """A cell as papermill leaves it."""
    cell = getattr(nbformat.v4, f"new_{kind}_cell")(source)
    cell.metadata["papermill"] = {"duration": seconds}
    return cell
