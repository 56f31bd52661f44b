"""How much disk each step needs, counted, and said before work begins."""

from dataclasses import replace

import numpy as np
import pytest

from utils.course import machine
from utils.prepare import load_study
from utils.presets import PRESETS
from utils.training import GraderDataset, Jitter, LocatorDataset

T4, DEMO = PRESETS["t4"], PRESETS["demo"]


def test_prepared_studies_by_hand():
    """147,218 images of 73.1 and 129.4 kB."""
    assert machine.prepared_gb(DEMO) == pytest.approx(10.76, abs=0.01)
    assert machine.prepared_gb(T4) == pytest.approx(19.05, abs=0.01)
    assert machine.prepared_gb(replace(DEMO, spacing_mm=1.5)) == pytest.approx(10.76 / 4, abs=0.01)
    assert machine.prepared_gb(DEMO, images=1000) == pytest.approx(0.0731)


def test_the_figures_per_image_are_those_of_a_real_study(real_root, tmp_path):
    from utils import prepare

    for spacing_mm, each in machine.IMAGE_BYTES.items():
        out = tmp_path / str(spacing_mm)
        prepare.prepare(real_root, out, jobs=1, spacing_mm=spacing_mm)
        size = sum(path.stat().st_size for path in out.glob("*.npy"))
        assert size / 96 == pytest.approx(each, rel=0.01)


def test_crops_by_hand():
    """36 whole slices of 320 px and 105 local crops of 160 px; with demo 180 and 90, and the
    grader's 30 views of 5 slices of 80 px."""
    assert machine.crops_gb(T4, 1) * 1e9 == 36 * 320**2 + 105 * 160**2
    grader = 30 * 5 * 80**2
    assert machine.crops_gb(DEMO, 1) * 1e9 == pytest.approx(36 * 180**2 + 105 * 90**2 + grader)


def test_crops_are_as_large_as_counted(prepared, whole_study):
    """The count is for the real study's 36 sagittal slices; a phantom has fewer."""
    study = load_study(prepared, whole_study)
    located = LocatorDataset(prepared, [whole_study], DEMO).make_crops(study)
    graded = GraderDataset(prepared, [whole_study], DEMO, Jitter()).make_crops(study)
    size = sum(part.nbytes for part in {**located, **graded}.values() if part.dtype == np.uint8)
    slices = sum(located[f"{name}.crops"].shape[1] for name in ("canal_t2", "canal_t1"))
    counted = machine.crops_gb(DEMO, 1) * 1e9 + (slices - 36) * 180**2
    assert size == pytest.approx(counted)


def test_with_loader_workers_the_graders_crops_are_cut_anew_and_are_the_same(prepared, whole_study):
    kept = GraderDataset(prepared, [whole_study], DEMO, Jitter((2.0,) * 3, (0.1,) * 3))
    anew = GraderDataset(
        prepared, [whole_study], replace(DEMO, workers=2), Jitter((2.0,) * 3, (0.1,) * 3)
    )
    kept.cache_crops()
    kept.path(whole_study).unlink()
    anew.cache_crops()
    assert not anew.path(whole_study).exists()
    for one, other in zip(kept[0], anew[0]):
        assert (one == other).all()
    assert kept.path(whole_study).is_file()


def test_the_plan_adds_up_and_counts_a_copy_on_the_same_disk(tmp_path):
    plan = machine.plan(T4, tmp_path, copy=tmp_path / "copy")
    assert plan.loc["02: prepared studies", "adds, GB"] == pytest.approx(19.05 + 0.5, abs=0.01)
    assert plan.loc["02: copy in shards", "adds, GB"] == pytest.approx(19.05, abs=0.01)
    assert plan["in use, GB"].iloc[-1] == pytest.approx(plan["adds, GB"].sum())
    assert machine.plan(T4, tmp_path)["in use, GB"].iloc[-1] < 40, "fits on a T4 machine"
    assert machine.plan(T4, tmp_path, raw=True)["in use, GB"].iloc[-1] > 100


@pytest.mark.parametrize(("free", "said"), [(70e9, "they fit."), (20e9, "they do not fit.")])
def test_what_this_machine_can_do_is_said_in_a_sentence(tmp_path, monkeypatch, free, said):
    monkeypatch.setattr(machine, "free_bytes", lambda folder: free)
    told = machine.verdict(machine.plan(T4, tmp_path), T4, tmp_path)
    assert f"{free / 1e9:.0f} GB free, and all 1,975 studies with preset t4 need 35" in told
    assert said in told


def test_too_small_a_disk_is_said_before_work_with_what_to_change(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda folder: 10e9)
    with pytest.raises(machine.DiskError) as caught:
        machine.check_room(T4, tmp_path, machine.IMAGES)
    assert "147,218 images need about 19.1 GB at 0.4 mm, and 10.0 are free" in str(caught.value)
    assert "SOURCE = 'sample 200'" in str(caught.value)
    machine.check_room(T4, tmp_path, 1000)
