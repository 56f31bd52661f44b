"""The notebooks' first cell in each environment, the requirements on Colab, and links."""

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
ENVIRONMENTS = ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")  # variables that tell them apart
REPOSITORY = "https://github.com/lumbar-spine-notebooks/lumbar-spine-notebooks"
# Of Colab in some version; `make colab` would show it if one of them were replaced.
PART_OF_COLAB = {"filelock", "scipy", "requests", "psutil", "contourpy"}
GIT = """#!/bin/sh
echo "git $@" >>"$LOG"
mkdir -p "$4" && ln -s "$PROJECT/utils" "$PROJECT/pyproject.toml" "$PROJECT/requirements.txt" "$4"/
"""


def first_cell(name: str) -> str:
    """The source of a notebook's first code cell."""
    cells = nbformat.read(ROOT / f"{name}.ipynb", 4).cells
    return next(cell.source for cell in cells if cell.cell_type == "code")


def test_the_first_cell_is_the_same_in_all_notebooks():
    assert len(set(map(first_cell, NAMES))) == 1


def run_twice(folder: Path, mount: Path, variables: dict[str, str]) -> tuple[str, list[str]]:
    """Run the first cell twice by IPython in a folder; returns what is printed, and the commands
    that git and pip were given.

    folder     of this test; git and pip in it only log their commands
    mount      stands for /content and /kaggle/input
    variables  the environment's own
    """
    log = folder / "log"
    log.touch()
    program = program_of(first_cell("04_infer"), mount, log)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment(folder, log) | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, log.read_text().splitlines()


def program_of(cell: str, mount: Path, log: Path) -> str:
    """The program that runs a cell twice, as a kernel would, and prints where it ends."""
    cell = cell.replace("/content/", f"{mount}/").replace("/kaggle/input/", f"{mount}/")
    fake_pip = f"lambda line: open({str(log)!r}, 'a').write(f'pip {{line}}\\n')"
    magic = f"get_ipython().register_magic_function({fake_pip}, 'line', 'pip')"
    lines = [
        "from IPython.core.interactiveshell import InteractiveShell",
        "shell = InteractiveShell.instance()",
    ]
    for part in (magic, cell, cell, "import os; print('in', os.getcwd())"):
        lines.append(f"shell.run_cell({part!r}).raise_error()")
    return "\n".join(lines)


def environment(folder: Path, log: Path) -> dict[str, str]:
    """Variables of a machine that is neither Colab nor Kaggle, with a git that only logs."""
    tools = folder / "bin"
    tools.mkdir()
    (tools / "git").write_text(GIT)
    (tools / "git").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ENVIRONMENTS}
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "LOG": str(log), "PROJECT": str(ROOT), "HOME": str(folder)}


def link_project(folder: Path) -> None:
    """Make a folder look like a copy of the project."""
    for name in ("utils", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)


@pytest.mark.slow
def test_on_colab_the_project_is_fetched_and_entered_once(tmp_path):
    content = tmp_path / "content"
    content.mkdir()
    printed, commands = run_twice(
        tmp_path, content, {"COLAB_RELEASE_TAG": "release-colab-20260801"}
    )
    project = content / "lumbar-spine-notebooks"
    assert commands == [
        f"git clone -q {REPOSITORY} {project}",
        "pip install -q -r requirements.txt",
    ]
    assert f"in {project}" in printed
    assert "colab" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder",
    [
        "my-files",
        "my-files/lumbar-spine-notebooks",
        "datasets/me/my-files/lumbar-spine-notebooks",
    ],
)
def test_on_kaggle_nothing_is_fetched(tmp_path, folder):
    inputs = tmp_path / "input"
    project = inputs / folder
    project.mkdir(parents=True)
    link_project(project)
    printed, commands = run_twice(tmp_path, inputs, {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"})
    assert commands == ["pip install -q --no-index --find-links wheels -r requirements.txt"]
    assert f"in {project}" in printed


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{}, *({name: "x"} for name in ENVIRONMENTS)])
def test_in_the_projects_own_folder_nothing_happens(tmp_path, variables):
    link_project(tmp_path)
    printed, commands = run_twice(tmp_path, tmp_path / "nowhere", variables)
    assert commands == []
    assert f"in {tmp_path}" in printed
    assert "GPU" in printed


# --- requirements ---------------------------------------------------------------------------------


def requirements(name: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def test_requirements_add_to_colab_and_replace_nothing():
    """Every lower bound is met by the version that Colab has; `make colab` asks pip the same."""
    colab = requirements("requirements-colab.txt")
    there = {one.name: next(iter(one.specifier)).version for one in colab}
    added = set()
    for one in requirements("requirements.txt"):
        only_lower_bounds = all(bound.operator == ">=" for bound in one.specifier)
        assert only_lower_bounds, f"{one}: only a lower bound never replaces a newer version"
        if one.name in there:
            assert one.specifier.contains(there[one.name]), f"{one} replaces {there[one.name]}"
        else:
            added.add(one.name)
    decoders = {"imagecodecs", "pylibjpeg", "pylibjpeg-rle", "python-gdcm"}
    few = {"pandera", "pydicom", "grad-cam", "remotezip", "pooch"}
    assert added - PART_OF_COLAB == few | decoders


# --- links ----------------------------------------------------------------------------------------


def texts_with_links() -> dict[Path, str]:
    """README, docs, the card, and the prose of the notebooks."""
    paths = [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "released" / "CARD.md"]
    texts = {path: path.read_text() for path in paths}
    for name in NAMES:
        path = ROOT / f"{name}.ipynb"
        cells = nbformat.read(path, 4).cells
        texts[path] = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return texts


def test_links_are_well_formed_and_lead_somewhere():
    for page, text in texts_with_links().items():
        for target in re.findall(r"\]\(([^)]*)\)", text):
            if "://" in target:
                url = r"https://[\w.-]+\.[a-z]+(/[\w./%#?=&+-]*)?"
                assert re.fullmatch(url, target), f"{page.name}: {target}"
            else:
                path = page.parent / target.partition("#")[0]
                assert path.exists(), f"{page.name}: {target}"


def test_badges_of_the_readme_open_their_own_notebooks():
    row = r"\]\((\w+)\.ipynb\).*\[!\[Open in Colab\].*/blob/main/(\w+)\.ipynb\)"
    rows = re.findall(row, (ROOT / "README.md").read_text())
    assert rows == [(name, name) for name in NAMES]


def test_every_figure_of_the_readme_is_in_the_tables_with_its_command():
    """Of its results; decimals only, which are not there by chance."""
    readme, measured = ((ROOT / name).read_text() for name in ("README.md", "docs/measured.md"))
    table = readme.partition("## Results")[2].partition("\n\nSo ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and " | `" in line]
    assert len(rows) == 7
    for row in rows:
        command = re.findall(r"`([^`]+)`", row)[-1].split(" --real")[0]
        assert f"{command}" in measured, row
        assert all(number in measured for number in re.findall(r"\d+\.\d+", row)), row
