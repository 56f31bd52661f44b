"""The floors of docs/code.md hold: each module imports only from the floors below it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(p.parent.name for p in (ROOT / "utils").glob("*/__init__.py"))


def floors() -> dict[str, int]:
    rows = re.findall(r"^\| (\d) \| (.+) \|$", (ROOT / "docs" / "code.md").read_text(), re.M)
    outside = [(floor, re.sub(r"\(inside[^)]*\)", "", text)) for floor, text in rows]
    return {name: int(floor) for floor, text in outside for name in re.findall(r"`(\w+)`", text)}


def inside(package: str) -> list[str]:
    """The rooms of a package, in the order of docs/code.md."""
    listed = re.search(rf"`{package}`[^(]*\(inside, each on the one before: ([^);]*)", (ROOT / "docs" / "code.md").read_text())
    return re.findall(r"`(\w+)`", listed[1])


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "utils":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("utils."):
            names.add(node.module.split(".")[1])
    return names - {"__version__"}


def test_every_module_stands_on_a_floor():
    modules = {p.stem for p in (ROOT / "utils").glob("*.py")} | set(PACKAGES)
    assert modules - {"__init__"} == set(floors())


def test_imports_go_down():
    floor = floors()
    for path in (ROOT / "utils").rglob("*.py"):
        module = path.relative_to(ROOT / "utils").parts[0].removesuffix(".py")
        if module != "__init__":
            up = {name for name in imported(path) - {module} if floor[name] >= floor[module]}
            assert not up, f"{module} (floor {floor[module]}) imports {up}"


@pytest.mark.parametrize("package", PACKAGES)
def test_inside_a_package_too(package):
    rooms, folder = inside(package), ROOT / "utils" / package
    assert {p.stem for p in folder.glob("*.py")} - {"__init__", "__main__"} == set(rooms)
    for k, room in enumerate(rooms):
        for node in ast.walk(ast.parse((folder / f"{room}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"utils.{package}."):
                assert node.module.split(".")[2] in rooms[:k], f"{room} imports {node.module}"
