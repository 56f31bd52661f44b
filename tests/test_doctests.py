"""The examples in the docstrings of utils say what the code does."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def modules_with_examples() -> list[str]:
    """Only these are imported, so that an example costs no more than its own module."""
    files = [path for path in (ROOT / "utils").rglob("*.py") if ">>> " in path.read_text("utf-8")]
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files)


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_are_right(name):
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert failed == 0
    assert attempted > 0, "an example outside a docstring runs nowhere"


def test_an_example_stands_in_every_package_that_is_arithmetic():
    packages = {name.split(".")[1] for name in modules_with_examples()}
    assert {"crops", "dicom", "metrics", "prepare", "presets", "rsna", "views"} <= packages


def test_a_wrong_example_is_noticed():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    results = doctest.DocTestRunner(verbose=False).run(wrong, out=lambda text: None)
    assert results.failed == 1
