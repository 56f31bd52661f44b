"""The map in docs/code.md is the code: its layers hold, and every module is on it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UTILS = ROOT / "utils"
MAP = (ROOT / "docs" / "code.md").read_text("utf-8")
PACKAGES = sorted(p.parent.name for p in UTILS.glob("*/__init__.py"))
LIMIT, USUAL = 350, 200  # lines of a module: none above, and four in five not above


def layers() -> dict[str, int]:
    """Layer of every package or module, from the table in docs/code.md (lowest first)."""
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", MAP, re.M)
    return {name: int(layer) for layer, names in rows for name in re.findall(r"`(\w+)`", names)}


def modules_on_the_map(package: str) -> list[str]:
    """The modules of a package in the order of docs/code.md: each imports only from those
    before."""
    listed = re.search(rf"^- \*\*`{package}`\*\*: (.*)$", MAP, re.M)
    return re.findall(r"`(\w+)` —", listed[1]) if listed else []


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported(path: Path) -> set[str]:
    """Packages of utils that a module imports from."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "utils":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("utils."):
            names.add(node.module.split(".")[1])
    return names - {"__version__"}


def sources() -> list[Path]:
    return sorted(p for folder in ("utils", "tools") for p in (ROOT / folder).rglob("*.py"))


def test_every_package_has_a_layer():
    names = {p.stem for p in UTILS.glob("*.py")} | set(PACKAGES)
    assert names - {"__init__"} == set(layers())


def test_imports_go_down():
    layer = layers()
    for path in UTILS.rglob("*.py"):
        package = path.relative_to(UTILS).parts[0].removesuffix(".py")
        if package == "__init__":
            continue
        up = {name for name in imported(path) - {package} if layer[name] >= layer[package]}
        assert not up, f"{path.name} in {package} (layer {layer[package]}) imports {up}"


@pytest.mark.parametrize("package", PACKAGES)
def test_inside_a_package_too(package):
    folder, order = UTILS / package, modules_on_the_map(package)
    there = {p.stem for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert there - {"__init__", "__main__"} == set(order)
    for k, module in enumerate(order):
        inner = folder / f"{module}.py"
        files = [inner] if inner.is_file() else list((folder / module).glob("*.py"))
        used = {name for path in files for name in siblings(path, package)} - {module}
        assert used <= set(order[:k]), f"{package}.{module} imports {used - set(order[:k])}"


def siblings(path: Path, package: str) -> set[str]:
    """Modules of the same package that a module imports from."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"utils.{package}."):
            names.add(node.module.split(".")[2])
        elif isinstance(node, ast.ImportFrom) and node.module == f"utils.{package}":
            names |= {alias.name for alias in node.names}
    return names


def test_nothing_that_notebooks_1_and_2_import_needs_torch():
    """Top-level imports only; a function may import torch when it is called."""
    free = {name for name, layer in layers().items() if layer < layers()["models"]} | {"course"}
    for path in UTILS.rglob("*.py"):
        if path.relative_to(UTILS).parts[0].removesuffix(".py") in free:
            top = [
                node for node in parsed(path).body if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            names = {
                alias.name for node in top if isinstance(node, ast.Import) for alias in node.names
            }
            names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
            assert not {n for n in names if n.split(".")[0] == "torch"}, path
            heavy = {"utils.models", "utils.inference", "utils.training"}
            assert not {n for n in names if ".".join(n.split(".")[:2]) in heavy}, path


def test_modules_are_read_in_one_sitting():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert not {path.name: n for path, n in lengths.items() if n > LIMIT}
    modules = [n for path, n in lengths.items() if path.name not in ("__init__.py", "__main__.py")]
    assert sum(n <= USUAL for n in modules) >= 0.8 * len(modules)


def test_public_names_have_docstrings():
    missing = []
    for path in sources():
        tree = parsed(path)
        if not ast.get_docstring(tree):
            missing.append(str(path))
        for node in tree.body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef)
            public = named and not node.name.startswith("_") and node.name != "main"
            if public and not ast.get_docstring(node):
                missing.append(f"{path.name}: {node.name}")
    assert not missing


def test_private_words_stay_out():
    """Words that this project once used for things that the field has names for."""
    words = ("glances?", "quirks?", "by heart", "as_learned", "cut_off", "misread", "StoreError")
    pattern = rf"\b({'|'.join(words)})\b"
    found = {str(p): re.findall(pattern, p.read_text("utf-8")) for p in texts()}
    assert not {name: hits for name, hits in found.items() if hits}


def texts() -> list[Path]:
    """All code and prose of the project, without this file and its list of words."""
    patterns = ("utils/**/*.js", "*.ipynb", "docs/*.md", "benchmarks/*.py", "tests/*.py")
    files = [path for pattern in patterns for path in ROOT.glob(pattern)]
    names = ("README.md", "Makefile", "released/CARD.md", "utils/course/questions.toml")
    everything = {*sources(), *files, *(ROOT / name for name in names)}
    return sorted(everything - {Path(__file__)})
