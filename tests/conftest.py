"""What the tests share: small phantoms, one of them prepared, and (where there is a copy) the
competition's tables."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from utils import phantom, prepare, rsna

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
THREADS = max(1, 2 // WORKERS)
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # of the programs that tests start
with contextlib.suppress(ImportError):  # `make classic` tests the viewer where there is no torch
    import torch

    torch.set_num_threads(THREADS)

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
QUIET = ("background-networking", "component-update", "sync", "gpu")
FLAGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]


# Files are dealt to the workers in this order, and one that takes minutes must not come last.
LONGEST = ("test_notebooks.py", "test_training.py", "test_benchmarks.py", "test_kaggle.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "data"
    return phantom.make_dataset(root, 4, seed=3, test_studies=2, size=(160, 128))


@pytest.fixture(scope="session")
def anomalous_root(tmp_path_factory) -> Path:
    """A phantom with every anomaly of the real data set, one to a study, in the order of
    phantom.ANOMALIES."""
    spec = phantom.PhantomSpec(
        studies=len(phantom.ANOMALIES),
        seed=4,
        test_studies=2,
        size=(64, 64),
        anomalies=phantom.ANOMALIES,
    )
    return phantom.make_dataset(tmp_path_factory.mktemp("anomalies") / "data", spec)


@pytest.fixture(scope="session")
def tables(phantom_root) -> rsna.Tables:
    return rsna.load_tables(phantom_root)


@pytest.fixture(scope="session")
def whole_study(tables) -> int:
    """A training study with all 25 points; phantoms lack some labels, as real studies do."""
    counts = tables.points.study_id.value_counts()
    return int(counts[counts == len(rsna.TARGETS)].index.min())


@pytest.fixture(scope="session")
def prepared(phantom_root, tmp_path_factory) -> Path:
    """The folder of the prepared phantom_root, in two folds."""
    out = tmp_path_factory.mktemp("prepared") / "prepared"
    prepare.prepare(phantom_root, out, folds=2)
    return out


@pytest.fixture(scope="session")
def tiny_run(prepared, tmp_path_factory) -> Path:
    """A finished run of TINY; tests copy what they change."""
    from tiny import TINY

    from utils import training

    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert training.fit(prepared, folder, TINY)
    return folder


@pytest.fixture
def refuse_to_list(monkeypatch):
    """refuse_to_list(folder): listing it fails, as where it is another user's, or on a mount that
    has gone."""
    listed = Path.iterdir

    def refuse(folder: Path) -> None:
        def iterdir(self):
            if self == folder:
                raise PermissionError(13, "Permission denied", str(folder))
            return listed(self)

        monkeypatch.setattr(Path, "iterdir", iterdir)

    return refuse


@pytest.fixture(scope="session")
def real_root() -> Path:
    """The competition's tables and study 100206310: in RSNA_ROOT, or in a folder beside this
    checkout."""
    named = os.environ.get("RSNA_ROOT")
    beside = [p.parent for p in sorted(ROOT.parent.glob("*/rsna/train.csv"))]
    found = [Path(named)] if named else beside
    if not found:
        pytest.skip("needs the competition's tables, which may not be passed on: set RSNA_ROOT")
    return found[0]


@pytest.fixture(scope="session")
def volunteer() -> Path:
    """Three series of the volunteer's exam, a real one in the public domain: in VOLUNTEER_ZIP, or
    in a folder beside this checkout."""
    named = os.environ.get("VOLUNTEER_ZIP")
    beside = sorted(ROOT.parent.glob("*/volunteer.zip"))
    found = [Path(named)] if named else beside
    if not found:
        pytest.skip("needs a copy of the volunteer's exam: set VOLUNTEER_ZIP")
    return found[0]


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, driven by playwright."""
    if CHROMIUM is None:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("no Chromium on this machine; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
