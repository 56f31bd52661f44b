"""The notebooks' first cell, run by IPython where it will be run; and requirements that replace nothing on Colab."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
NAMES = ("01_eda", "02_preprocess", "03_train", "04_infer")
GIT = """#!/bin/sh
echo "git $@" >>"$LOG"
mkdir -p "$4" && ln -s "$PROJECT/utils" "$PROJECT/pyproject.toml" "$PROJECT/requirements.txt" "$4"/
"""


def first_cell(name: str) -> str:
    return next(cell.source for cell in nbformat.read(ROOT / f"{name}.ipynb", 4).cells if cell.cell_type == "code")


def test_the_first_cell_is_the_same_in_all_notebooks():
    assert len(set(map(first_cell, NAMES))) == 1


def run_twice(folder: Path, away: Path, variables: dict[str, str]) -> tuple[str, list[str]]:
    """What IPython prints for the cell run twice in a folder, with a git and a pip that only write down what they were asked;
    /content and /kaggle/input are a folder of this test."""
    tools, log = folder / "bin", folder / "log"
    tools.mkdir()
    log.touch()
    (tools / "git").write_text(GIT)
    (tools / "git").chmod(0o755)
    cell = first_cell("04_infer").replace("/content/", f"{away}/").replace("/kaggle/input/", f"{away}/")
    pip = f"get_ipython().register_magic_function(lambda line: open({str(log)!r}, 'a').write(f'pip {{line}}\\n'), 'line', 'pip')"
    where = "import os; print('in', os.getcwd())"
    program = "\n".join(
        ["from IPython.core.interactiveshell import InteractiveShell", "shell = InteractiveShell.instance()", "failed = []"]
        + [f"result = shell.run_cell({part!r}); result.raise_error()" for part in (pip, cell, cell, where)]
    )
    quiet = {name: value for name, value in os.environ.items() if name not in ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")}
    path = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "LOG": str(log), "PROJECT": str(ROOT), "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=quiet | path | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, log.read_text().splitlines()


def test_on_colab_the_project_is_fetched_and_entered_once(tmp_path):
    (tmp_path / "content").mkdir()
    told, asked = run_twice(tmp_path, tmp_path / "content", {"COLAB_RELEASE_TAG": "release-colab-20260801"})
    project = tmp_path / "content" / "lumbar-spine-notebooks"
    assert asked == [
        f"git clone -q https://github.com/lumbar-spine-notebooks/lumbar-spine-notebooks {project}",
        "pip install -q -r requirements.txt",
    ]
    assert f"in {project}" in told
    assert "colab" in told


@pytest.mark.parametrize("folder", ["my-files", "my-files/lumbar-spine-notebooks", "datasets/me/my-files/lumbar-spine-notebooks"])
def test_on_kaggle_nothing_is_fetched(tmp_path, folder):
    project = tmp_path / "input" / folder
    project.mkdir(parents=True)
    for name in ("utils", "pyproject.toml"):
        (project / name).symlink_to(ROOT / name)
    told, asked = run_twice(tmp_path, tmp_path / "input", {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"})
    assert asked == ["pip install -q --no-index --find-links wheels -r requirements.txt"]
    assert f"in {project}" in told


@pytest.mark.parametrize("variables", [{}, {"COLAB_RELEASE_TAG": "x"}, {"KAGGLE_KERNEL_RUN_TYPE": "x"}])
def test_in_the_projects_own_folder_nothing_happens(tmp_path, variables):
    for name in ("utils", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    told, asked = run_twice(tmp_path, tmp_path / "nowhere", variables)
    assert asked == []
    assert f"in {tmp_path}" in told
    assert "GPU" in told


# --- requirements ----------------------------------------------------------------------------------------------------


def requirements(name: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def test_requirements_add_to_colab_and_replace_nothing():
    """Every lower bound is met by what Colab has; `make colab` asks pip the same."""
    there = {one.name: next(iter(one.specifier)).version for one in requirements("requirements-colab.txt")}
    added = set()
    for one in requirements("requirements.txt"):
        assert all(bound.operator == ">=" for bound in one.specifier), f"{one}: only a lower bound never replaces a newer version"
        if one.name in there:
            assert one.specifier.contains(there[one.name]), f"{one} would replace {there[one.name]}"
        else:
            added.add(one.name)
    part_of_colab = {"scipy", "requests", "psutil"}  # in some version; `make colab` would show if it were replaced
    assert added - part_of_colab == {"pandera", "pydicom", "pylibjpeg", "pylibjpeg-rle", "python-gdcm", "grad-cam"}


# --- links -----------------------------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Every text with links in it: README, docs, the card, and the words of the notebooks."""
    texts = {path: path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "released" / "CARD.md"]}
    for name in NAMES:
        cells = nbformat.read(ROOT / f"{name}.ipynb", 4).cells
        texts[ROOT / f"{name}.ipynb"] = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return texts


def test_links_have_a_form_and_lead_somewhere():
    for page, text in pages().items():
        for target in re.findall(r"\]\(([^)]*)\)", text):
            if "://" in target:
                assert re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[\w./%#?=&+-]*)?", target), f"{page.name}: {target}"
            else:
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def test_badges_of_the_readme_open_their_own_notebooks():
    rows = re.findall(r"\]\((\w+)\.ipynb\).*\[!\[Open in Colab\].*/blob/main/(\w+)\.ipynb\)", (ROOT / "README.md").read_text())
    assert rows == [(name, name) for name in NAMES]
