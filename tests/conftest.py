"""What the tests stand on: a small phantom, its prepared store, and (where there is a copy) the competition's tables."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from utils import phantom, prepare, rsna

with contextlib.suppress(ImportError):  # the viewer is also tested where there is no torch: make classic
    import torch

    torch.set_num_threads(2)

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("background-networking", "component-update", "sync", "gpu")
FLAGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory) -> Path:
    return phantom.make_dataset(tmp_path_factory.mktemp("phantom") / "data", 4, seed=3, test_studies=2, size=(160, 128))


@pytest.fixture(scope="session")
def quirky_root(tmp_path_factory) -> Path:
    """A phantom with every fault of the real data set, one to a study, in the order of phantom.QUIRKS."""
    root = tmp_path_factory.mktemp("quirks") / "data"
    return phantom.make_dataset(root, len(phantom.QUIRKS), seed=4, test_studies=2, size=(64, 64), quirks=phantom.QUIRKS)


@pytest.fixture(scope="session")
def tables(phantom_root):
    return rsna.load_tables(phantom_root)


@pytest.fixture(scope="session")
def whole_study(tables) -> int:
    """A training study with all 25 points; phantoms have gaps in their labels, as real studies have."""
    counts = tables.points.study_id.value_counts()
    return int(counts[counts == 25].index.min())


@pytest.fixture(scope="session")
def store(phantom_root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("store") / "prepared"
    prepare.prepare(phantom_root, out, folds=2)
    return out


@pytest.fixture(scope="session")
def real_root() -> Path:
    """The competition's tables and study 100206310: in RSNA_ROOT, or in a folder beside this checkout."""
    named = os.environ.get("RSNA_ROOT")
    found = [Path(named)] if named else [p.parent for p in sorted(ROOT.parent.glob("*/rsna/train.csv"))]
    if not found:
        pytest.skip("needs the competition's tables, which may not be passed on: set RSNA_ROOT")
    return found[0]


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, driven by playwright."""
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium on this machine; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
