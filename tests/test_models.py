"""The models' promises: a loss that is the metric, probabilities that sum to one, sides treated alike."""

import numpy as np
import pandas as pd
import pytest
import torch

from utils import inference, locate, losses, metrics, models, rsna, views
from utils.presets import PRESETS, Preset, get_preset
from utils.rsna import GRADE_COLUMNS, GRADES, TARGETS

TINY = Preset("test", locator_px=64, locator_width=4, crop_px=32, slices=3, features=32)


@pytest.mark.parametrize("seed", range(3))
def test_the_graders_loss_is_the_competitions_score(seed):
    rng = np.random.default_rng(seed)
    grades = rng.choice([-1, 0, 1, 2], (7, 25), p=[0.1, 0.6, 0.2, 0.1])
    logits = torch.from_numpy(rng.normal(0, 2, (7, 25, 3)))
    rows = [(s, *t, GRADES[g] if g >= 0 else None) for s, line in enumerate(grades) for t, g in zip(TARGETS, line)]
    truth = pd.DataFrame(rows, columns=["study_id", "condition", "level", "grade"])
    p = inference.softmax(logits.numpy()).reshape(-1, 3)
    answer = pd.DataFrame(p, columns=GRADE_COLUMNS).assign(row_id=[rsna.row_id(*row[:3]) for row in rows])
    score = metrics.rsna_score(truth, answer).total
    assert losses.mean_of(losses.metric_terms(logits, torch.from_numpy(grades))).item() == pytest.approx(score, abs=1e-5)


def test_the_loss_of_a_batch_without_labels_is_zero_and_has_a_gradient():
    logits = torch.zeros(2, 25, 3, requires_grad=True)
    loss = losses.mean_of(losses.metric_terms(logits, torch.full((2, 25), -1)))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_a_set_has_one_loss_however_it_is_dealt_out():
    """Also to processes: each divides by the weights of all of them, and their gradients are summed."""
    grades = torch.from_numpy(np.random.default_rng(0).choice([-1, 0, 1, 2], (6, 25)))
    logits = torch.randn(6, 25, 3, requires_grad=True)
    whole = losses.metric_terms(logits, grades)
    losses.mean_of(whole).backward()
    expected, logits.grad = logits.grad.clone(), None
    weights = whole.detach().sum(0)[1]
    parts = [losses.mean_of(losses.metric_terms(logits[k], grades[k]), weights) for k in (slice(0, 1), slice(1, 6))]
    sum(parts).backward()
    assert sum(parts).item() == pytest.approx(losses.mean_of(whole).item(), rel=1e-6)
    assert torch.allclose(logits.grad, expected, atol=1e-7)


def test_a_study_is_judged_alike_in_a_batch_of_one_and_of_many():
    torch.manual_seed(0)
    grader, locator = models.Grader(TINY).train(), models.Locator(TINY).train()  # in training too: no averages over a batch
    crops, exists = torch.rand(3, 30, 3, 32, 32), torch.ones(3, 30, dtype=torch.bool)
    x = torch.rand(3, 2, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(grader(crops, exists)[:1], grader(crops[:1], exists[:1]), atol=1e-5)
        for many, one in zip(locator(x, x, x)[0], locator(x[:1], x[:1], x[:1])[0]):
            assert torch.allclose(many[:1], one, atol=1e-5)


def test_one_softmax_runs_over_all_cells_of_all_slices():
    log_p, log_absent = models.joint_log_softmax(torch.randn(2, 5, 3, 4, 6), torch.tensor([0.0, 5.0, -5.0]))
    assert log_p.exp().sum((1, 3, 4)) + log_absent.exp() == pytest.approx(np.ones((2, 3)), abs=1e-5)
    assert (log_absent.diff(dim=1).sign() == torch.tensor([1, -1])).all(), "and over 'it is in none'"


def test_the_heat_map_loss_is_least_where_the_heat_is():
    heat = torch.zeros(1, 2, 2, 4, 4)  # of the second point there is none
    heat[0, 1, 0, 2, 3] = 1.0
    nothing, nowhere = torch.zeros(1, 2, dtype=torch.bool), torch.full((2,), -9.0)
    right, wrong = (
        losses._heat_terms(*models.joint_log_softmax(logits * 10, nowhere), heat, nothing)[0]
        for logits in (heat, heat.roll(1, 3))
    )
    assert right[0] < 0.01 < wrong[0]
    assert right[1] == wrong[1] == 1


def test_a_level_outside_the_picture_costs_what_its_absence_was_doubted():
    gone, heat = torch.tensor([[False, True]]), torch.zeros(1, 2, 2, 4, 4)
    log_absent = torch.log(torch.tensor([[0.9, 0.25]]))
    terms = losses._heat_terms(torch.full_like(heat, -1.0), log_absent, heat, gone)
    assert terms[0].tolist() == pytest.approx([np.log(4), 1])


def test_levels_are_chosen_head_to_foot_at_plausible_distances():
    # five peaks 10 cells (30 mm) apart; at L3/L4 the highest peak is the one of L4/L5
    peaks = [[(10 * k, 20, -1.0)] for k in range(5)]
    peaks[2] = [(30, 20, -0.5), (20, 20, -1.5)]
    chosen = locate.in_level_order(peaks, np.full(5, -20.0), cell_mm=3.0)
    assert [row for row, _, _ in chosen] == [0, 10, 20, 30, 40]


@pytest.mark.parametrize(("absent", "first", "end"), [((0, 0, 9, 9, 9), 2, 5), ((9, 9, 9, 9, 0), 0, 4), ((0, 9, 0, 9, 0), 1, 4)])
def test_a_picture_may_begin_late_or_end_early_but_has_no_gap(absent, first, end):
    peaks = [[(10 * k, 20, -3.0)] for k in range(5)]
    chosen = locate.in_level_order(peaks, -np.array(absent, float), cell_mm=3.0)
    assert [c and c[0] for c in chosen] == [10 * k if first <= k < end else None for k in range(5)]


def test_a_glance_aside_finds_the_point_where_it_is():
    """A net that marks the brightest cell, and a picture whose brightest pixel is known."""
    x = torch.zeros(2, 64, 64)
    x[1, 20:22, 40:42] = 1.0

    class Brightest(torch.nn.Module):
        absent = torch.tensor([3.0])

        def search(self, x):
            return models.joint_log_softmax(40 * torch.nn.functional.avg_pool2d(x, 2)[:, :, None], self.absent)

    p, absent = locate.heat(Brightest(), x)
    assert p.shape == (2, 1, 32, 32)
    assert np.unravel_index(p.argmax().item(), p.shape) == (1, 0, 10, 20)
    assert absent.item() < 0.01
    assert p.sum().item() + absent.item() == pytest.approx(1, abs=0.1)
    _, gone = locate.heat(Brightest(), x * 0)
    assert gone.item() == pytest.approx(np.exp(3) / (np.exp(3) + 2 * 32**2), rel=1e-3)


def test_unseen_views_change_nothing():
    torch.manual_seed(0)
    grader = models.Grader(TINY).eval()
    crops, exists = torch.rand(2, 30, 3, 32, 32), torch.rand(2, 30) > 0.3
    with torch.inference_mode():
        before = grader(crops, exists)
        after = grader(torch.where(exists[..., None, None, None], crops, torch.rand_like(crops)), exists)
        assert torch.equal(before, after)
        assert torch.isfinite(grader(crops, torch.zeros_like(exists))).all()


def test_exchanging_left_and_right_views_exchanges_left_and_right_answers():
    torch.manual_seed(0)
    grader = models.Grader(TINY).eval()
    other = [TARGETS.index((rsna.mirror(c), lv)) for c, lv in TARGETS]
    view = [views.VIEWS.index((other[t], d)) for t, d in views.VIEWS]
    crops, exists = torch.rand(1, 30, 3, 32, 32), torch.ones(1, 30, dtype=torch.bool)
    with torch.inference_mode():
        here, there = grader(crops, exists), grader(crops[:, view], exists)
    assert torch.allclose(here, there[:, other], atol=1e-5)


def test_both_models_run_in_16_bits_on_any_cpu():
    torch.manual_seed(0)
    grader, locator = models.Grader(TINY).eval(), models.Locator(TINY).eval()
    crops, exists, x = torch.rand(2, 30, 3, 32, 32), torch.ones(2, 30, dtype=torch.bool), torch.rand(2, 2, 64, 64)
    with torch.inference_mode():
        full = grader(crops, exists), *locator(x, x, x)[0]
        with torch.autocast("cpu", torch.bfloat16):
            half = grader(crops, exists), *locator(x, x, x)[0]
    for a, b in zip(full, half):
        assert (a - b.float()).abs().mean() < 0.05


def test_features_are_told_apart_by_what_they_differ_in():
    """Worked by hand: two views of one slice and feature, 10.0 and 10.2, lie one spread either side of their mean; a second
    study has its own mean, and a view that does not exist counts for nothing."""
    seen = torch.tensor([[[10.0]], [[10.2]], [[-3.0]], [[-1.0]]])
    exists = torch.tensor([[True, True, False], [True, False, True]])
    assert models.within_study(seen, exists).flatten().tolist() == pytest.approx([-1, 1, -1, 1], abs=1e-3)
    assert torch.equal(models.within_study(seen[:1], torch.tensor([[True]])), torch.zeros(1, 1, 1))


def test_torchvision_backbones_fit_in():
    preset = Preset("test", backbone="mobilenet_v3_small", crop_px=64, features=24)
    assert models.backbone(preset)(torch.rand(3, 1, 64, 64)).shape == (3, 24)
    for name in {p.backbone for p in PRESETS.values()} - {"small"}:
        assert name in models.torchvision.models.list_models()


def test_weights_that_cannot_be_downloaded_are_said_to_be_missing(monkeypatch, capsys):
    def offline(name, weights):
        if weights:
            raise OSError("no network")
        return real(name, weights=None)

    real = models.torchvision.models.get_model
    monkeypatch.setattr(models.torchvision.models, "get_model", offline)
    models.backbone(Preset("test", backbone="mobilenet_v3_small", pretrained=True))
    assert "cannot be downloaded (no network); starting from random ones" in capsys.readouterr().out


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(KeyError, match="there are demo, smoke, cpu_long, zero_shot, t4, l4, a100"):
        get_preset("big")
