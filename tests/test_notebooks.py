"""The four notebooks keep the house style, and run whole, one after the other, on a small phantom."""

import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from benchmarks import sections
from utils import metrics, pages, rsna
from utils.lesson import QUESTIONS

ROOT = Path(__file__).parent.parent
TAGS = ("wrong", "right", "solution")
NAMES = ("01_eda", "02_preprocess", "03_train", "04_infer")


@pytest.fixture(scope="module", params=NAMES)
def notebook(request):
    return request.param, nbformat.read(ROOT / f"{request.param}.ipynb", 4)


def code_of(nb) -> list[str]:
    return [cell.source for cell in nb.cells if cell.cell_type == "code"]


def test_git_holds_no_outputs_and_no_widget_state(notebook):
    _, nb = notebook
    assert all(not c.outputs and c.execution_count is None for c in nb.cells if c.cell_type == "code")
    assert "widgets" not in nb.metadata


def test_one_settings_cell_names_source_and_preset_as_colab_forms(notebook):
    _, nb = notebook
    (settings,) = [c.source for c in nb.cells if "parameters" in c.metadata.get("tags", [])]
    assert re.search(r'^SOURCE = "phantom"  # @param', settings, re.M)
    assert re.search(r'^PRESET = "demo"  # @param', settings, re.M)


def test_the_badge_opens_this_very_notebook_in_the_projects_repository(notebook):
    name, nb = notebook
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    repository = project["urls"]["Repository"].removeprefix("https://github.com/")
    assert f"colab.research.google.com/github/{repository}/blob/main/{name}.ipynb" in nb.cells[0].source
    assert f"git clone -q https://github.com/{repository} " in code_of(nb)[0]


def words_of(nb) -> str:
    return "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")


def test_slots_are_there_in_order(notebook):
    name, nb = notebook
    other = "**Back to:** [1" if name == NAMES[-1] else "**Next:** ["
    slots = ["[![Open in Colab]", "# ", "| section | what you will see | measured on 2 CPU cores | GPU? |", "*Reads*", "*Leaves*"]
    slots += ["## 1 · Set up", "Check yourself", "## Takeaways", "## Exercises", "Solutions", "**Sources.**", other]
    places = [words_of(nb).find(slot) for slot in slots]
    assert -1 not in places
    assert places == sorted(places)


def test_the_table_at_the_top_names_every_section_and_its_measured_time(notebook):
    _, nb = notebook
    headings = re.findall(r"^## (\d+) · ", words_of(nb), re.M)
    rows = re.findall(r"^\| (\d+) [^|]+\|[^|]+\| (.*?) \| \w[\w ]* \|$", nb.cells[0].source, re.M)
    assert [number for number, _ in rows] == headings == [str(k + 1) for k in range(len(headings))]
    assert all(re.fullmatch(r"\d+ (s|min)|–", time) for _, time in rows), rows


def test_code_cells_are_short_and_prose_stands_between_them(notebook):
    _, nb = notebook
    lines = sorted(sum(bool(line.strip()) for line in source.splitlines()) for source in code_of(nb))
    assert lines[len(lines) // 2] <= 5
    assert lines[-1] <= 12
    kinds = "".join(c.cell_type[0] for c in nb.cells)
    assert "ccc" not in kinds, "three code cells in a row without a word between them"


def test_a_notebook_is_a_lesson_of_an_hour(notebook):
    _, nb = notebook
    assert 40 <= len(nb.cells) <= 90
    assert 900 <= len(re.sub(r"```.*?```", "", words_of(nb), flags=re.S).split()) <= 2800
    assert 8 <= len(re.findall(r"^## ", words_of(nb), re.M)) <= 14
    assert len(nbformat.writes(nb)) < 100_000


def test_every_figure_is_followed_by_a_word_about_it(notebook):
    """A caption explains what was seen; a text for those who cannot see the picture is made by plots.house_style."""
    _, nb = notebook
    assert any("plots.house_style()" in source for source in code_of(nb))
    for cell, after in itertools.pairwise(nb.cells):
        if cell.cell_type == "code" and re.search(r"plots\.(?!house_style|picture|draw|MARK)\w+\(|plt\.subplots", cell.source):
            follows = nb.cells[nb.cells.index(after) :][:2]
            assert any(one.cell_type == "markdown" for one in follows), cell.source


def test_words_of_the_trade_are_linked_where_they_are_explained(notebook):
    _, nb = notebook
    assert "](docs/glossary.md#" in words_of(nb)


def test_images_have_a_text(notebook):
    _, nb = notebook
    assert all(text for text in re.findall(r"!\[(.*?)\]\(", words_of(nb)))


def test_links_between_notebooks_lead_somewhere(notebook):
    _, nb = notebook
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", words_of(nb)) if not t.startswith("http")]
    assert targets
    assert all((ROOT / target.partition("#")[0]).is_file() for target in targets)


# --- check-yourself cells and exercises ------------------------------------------------------------------------------


def questions_of(nb) -> list[tuple[int, str, str, str]]:
    """Of every check-yourself cell: where it stands, the question's name, the answer's, and the line that solves it."""
    found = []
    for k, cell in enumerate(nb.cells):
        asked = re.fullmatch(r"""(\w+) = \.\.\.  # your answer\ncheck\("([^"]+)", (\w+)\)""", cell.source)
        if cell.cell_type == "code" and "check(" in cell.source:
            assert asked, f"not in the form of a check-yourself cell: {cell.source}"
            solved = re.match(r"<details><summary>Solution</summary>\n\n`(.+?)`", nb.cells[k + 1].source)
            assert solved, f"no solution is folded below {cell.source}"
            assert asked[1] == asked[3] == solved[1].split(" = ")[0]
            found.append((k, asked[2], asked[1], solved[1]))
    return found


def solutions_of(nb) -> list[str]:
    return re.findall(r"```python\n(.*?)```", nb.cells[-1].source, re.S)


def test_there_are_questions_all_along_and_every_one_is_asked_once():
    notebooks = [nbformat.read(ROOT / f"{name}.ipynb", 4) for name in NAMES]
    asked = [name for nb in notebooks for _, name, _, _ in questions_of(nb)]
    assert sorted(asked) == sorted(QUESTIONS)
    assert all(len(questions_of(nb)) >= 6 for nb in notebooks)


def test_three_or_four_exercises_each_with_its_solution(notebook):
    _, nb = notebook
    exercises = re.findall(r"^(\d)\. ", nb.cells[-1].source.split("## Exercises")[1].split("<details>")[0], re.M)
    assert exercises in (["1", "2", "3"], ["1", "2", "3", "4"])
    assert [source.split()[1].rstrip(":") for source in solutions_of(nb)] == exercises


def taught(nb):
    """The notebook as a learner leaves it: every question answered wrongly and then rightly, every exercise solved."""
    for k, name, answer, solution in reversed(questions_of(nb)):
        for tag, line in (("right", solution), ("wrong", f'{answer} = "no such answer"')):
            cell = nbformat.v4.new_code_cell(f'{line}\ncheck("{name}", {answer})', metadata={"tags": [tag]})
            nb.cells.insert(k + 1, cell)
    nb.cells += [nbformat.v4.new_code_cell(source, metadata={"tags": ["solution"]}) for source in solutions_of(nb)]
    return nb


def run(name: str, home: Path, *parameters: str) -> None:
    lesson = home / f"taught-{name}.ipynb"
    nbformat.write(taught(nbformat.read(ROOT / f"{name}.ipynb", 4)), lesson)
    command = [sys.executable, "-m", "papermill", str(lesson), str(home / f"{name}.ipynb"), "--no-progress-bar"]
    done = subprocess.run(
        [*command, "-p", "PRESET", "smoke", *parameters],
        cwd=ROOT, env=os.environ | {"LUMBAR_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for name in NAMES:
        run(name, home)
    return home


def test_the_four_notebooks_end_in_a_valid_scored_submission(executed):
    submission = pd.read_csv(executed / "submission.csv")
    sample = rsna.load_tables(next((executed / "data").glob("phantom-[0-9]*"))).submission
    assert submission.row_id.tolist() == sample.row_id.tolist()
    metrics.check_submission(submission, sample.row_id)
    assert (submission[list(rsna.GRADE_COLUMNS)].sum(axis=1) - 1).abs().max() < 1e-9
    scores = pd.read_csv(executed / "scores.csv", index_col="answer")
    assert set(scores.index) == {"weighted prior", "this run"}
    assert len(list((executed / "report").glob("*.html"))) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_answer_gets_a_hint_a_right_one_a_tick_and_solutions_solve(executed, name):
    cells = nbformat.read(executed / f"{name}.ipynb", 4).cells
    told = {tag: ["".join(o.get("text", "") for o in c.outputs) for c in cells if tag in c.metadata.tags] for tag in TAGS}
    assert all(text.startswith("✗") and "Hint" in text for text in told["wrong"])
    assert all(text == "✓ Yes.\n" for text in told["right"])
    assert len(told["wrong"]) == len(told["right"]) >= 6
    figures = [c for c in cells if "solution" in c.metadata.tags and any("image/png" in o.get("data", {}) for o in c.outputs)]
    assert sum(bool(text.strip()) for text in told["solution"]) + len(figures) == len(told["solution"]) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_text_for_those_who_cannot_see_it(executed, name):
    cells = nbformat.read(executed / f"{name}.ipynb", 4).cells
    texts = [o.metadata["image/png"]["alt"] for c in cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert texts
    assert all(len(text) > 10 for text in texts), texts


def test_executed_notebooks_show_figures_and_the_viewer(executed):
    for name in NAMES:
        nb = nbformat.read(executed / f"{name}.ipynb", 4)
        outputs = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]
        assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3, name
        assert not [o for o in outputs if o.output_type == "error"]
        if name in ("01_eda", "04_infer"):
            assert any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in outputs), name


def test_the_page_of_a_notebook_shows_its_progress_bars_as_they_ended(executed):
    html = pages.page(executed / "01_eda.ipynb").read_text()
    assert "looking for faults: 100%" in html
    assert "0%|" not in html


def test_real_tables_with_one_studys_images_go_through_01_02_and_04(executed, real_root):
    """A part of the download is a real situation: 1,975 labelled studies, the images of one."""
    for name in ("01_eda", "02_preprocess", "04_infer"):
        run(name, executed, "-p", "SOURCE", str(real_root))
    answers = pd.read_csv(executed / "submission.csv")
    assert len(answers) == 25
    metrics.check_submission(answers, answers.row_id)


def test_the_time_of_a_section_is_that_of_its_cells(tmp_path):
    def cell(kind, source, seconds=None):
        made = getattr(nbformat.v4, f"new_{kind}_cell")(source)
        made.metadata["papermill"] = {"duration": seconds}
        return made

    top = "| section | t |\n|---|---|\n| 1 Set up | words | TIME | no |\n| 2 Look | words | 7 s | no |"
    cells = [cell("markdown", top), cell("markdown", "## 1 · Set up"), cell("code", "a", 100.0), cell("code", "b", 41.0)]
    cells += [cell("markdown", "<details></details>\n\n## 2 · Look"), cell("code", "c", 0.2)]
    path = tmp_path / "lesson.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    spent = sections.seconds_by_section(nbformat.read(path, 4))
    assert spent == {1: 141.0, 2: 0.2}
    sections.write(path, spent)
    rows = nbformat.read(path, 4).cells[0].source.splitlines()[2:]
    assert rows == ["| 1 Set up | words | 2 min | no |", "| 2 Look | words | 1 s | no |"]
