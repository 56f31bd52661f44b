"""The four notebooks keep the house style, and run whole, one after the other, on a small phantom."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from utils import metrics, pages, rsna

ROOT = Path(__file__).parent.parent
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


def test_slots_are_there_in_order(notebook):
    _, nb = notebook
    text = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    slots = ["# ", "| section |", "*Reads*", "## 1 · Set up", "Check yourself", "## Takeaways", "## Exercises", "Solutions"]
    places = [text.find(slot) for slot in slots]
    assert -1 not in places
    assert places == sorted(places)


def test_code_cells_are_short_and_prose_stands_between_them(notebook):
    _, nb = notebook
    lines = sorted(sum(bool(line.strip()) for line in source.splitlines()) for source in code_of(nb))
    assert lines[len(lines) // 2] <= 5
    assert lines[-1] <= 12
    kinds = "".join(c.cell_type[0] for c in nb.cells)
    assert "ccc" not in kinds, "three code cells in a row without a word between them"


def test_links_between_notebooks_lead_somewhere(notebook):
    _, nb = notebook
    text = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", text) if not t.startswith("http")]
    assert targets
    assert all((ROOT / target).is_file() for target in targets)


def test_exercise_solutions_are_python(notebook):
    _, nb = notebook
    for source in re.findall(r"```python\n(.*?)```", nb.cells[-1].source, re.S):
        compile(source, "solution", "exec")


def run(name: str, home: Path, *parameters: str) -> None:
    command = [sys.executable, "-m", "papermill", f"{name}.ipynb", str(home / f"{name}.ipynb"), "--no-progress-bar"]
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
