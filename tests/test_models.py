"""The models' promises: a loss that is the metric, probabilities that sum to one, sides treated
alike."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from torch import nn

from utils import metrics, rsna
from utils.inference import explain, localisation
from utils.inference.localisation import Candidate
from utils.models import (
    BackboneError,
    Grader,
    Locator,
    backbone,
    device,
    hardware,
    intensity,
    summary,
)
from utils.models.blocks import FeatureNorm
from utils.models.grader import standardised
from utils.models.hardware import CACHED_PIXELS, in_parts
from utils.models.locator import UNet, joint_log_softmax
from utils.models.vision import torchvision
from utils.presets import PRESETS, Preset, PresetError, get_preset, shaped_like
from utils.rsna import GRADE_COLUMNS, GRADES, LEVELS, TARGETS
from utils.training import GraderSample, losses
from utils.training.processes import global_batch
from utils.training.trainer import averaged
from utils.views import views_of

TINY = Preset("test", locator_px=64, locator_width=4, crop_px=32, slices=3, features=32)


@pytest.fixture
def grader() -> Grader:
    torch.manual_seed(0)
    return Grader(TINY).eval()


def views(studies: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random crops of so many studies, and views that all exist."""
    count = len(views_of(TINY))
    return torch.rand(studies, count, 3, 32, 32), torch.ones(studies, count, dtype=torch.bool)


# --- the losses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_graders_loss_is_the_competitions_score(seed):
    rng = np.random.default_rng(seed)
    grades = rng.choice([-1, 0, 1, 2], (7, 25), p=[0.1, 0.6, 0.2, 0.1])
    logits = torch.from_numpy(rng.normal(0, 2, (7, 25, 3)))
    rows = []
    for study, line in enumerate(grades):
        names = [GRADES[grade] if grade >= 0 else None for grade in line]
        rows += [(study, *target, name) for target, name in zip(TARGETS, names)]
    truth = pd.DataFrame(rows, columns=["study_id", "condition", "level", "grade"])
    p = softmax(logits.numpy(), axis=-1).reshape(-1, 3)
    submission = pd.DataFrame(p, columns=GRADE_COLUMNS)
    submission["row_id"] = [rsna.row_id(*row[:3]) for row in rows]
    score = metrics.rsna_score(truth, submission).total
    loss = losses.mean_of(losses.metric_terms(logits, torch.from_numpy(grades)))
    assert loss.item() == pytest.approx(score, abs=1e-5)


def test_the_loss_of_a_batch_without_labels_is_zero_and_has_a_gradient():
    logits = torch.zeros(2, 25, 3, requires_grad=True)
    loss = losses.mean_of(losses.metric_terms(logits, torch.full((2, 25), -1)))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches_of_any_size_learn_the_metric_of_the_whole_set(batch):
    """Also between processes, whose gradients are averaged. A batch that is divided by its own
    weights would make a severe grade count for 0.6 to 0.8 of its weight."""
    rng = np.random.default_rng(0)
    grades = torch.from_numpy(rng.choice([-1, 0, 1, 2], (6, 25), p=[0.1, 0.7, 0.15, 0.05]))
    logits = torch.randn(25, 3, requires_grad=True)  # one answer for every study
    whole = losses.metric_terms(logits.expand(6, 25, 3), grades)
    losses.mean_of(whole).backward()
    expected, logits.grad = logits.grad, None
    weights = whole.detach()[:, 1].mean(0)
    for part in grades.split(batch):
        terms = losses.metric_terms(logits.expand(batch, 25, 3), part)
        (losses.mean_of(terms, weights) * batch / 6).backward()
    assert torch.allclose(logits.grad, expected, atol=1e-6)


def test_the_heat_map_loss_is_least_where_the_heat_is():
    heat = torch.zeros(1, 2, 2, 4, 4)  # of the second point there is none
    heat[0, 1, 0, 2, 3] = 1.0
    absent, impossible = torch.zeros(1, 2, dtype=torch.bool), torch.full((2,), -9.0)

    def terms(logits: torch.Tensor) -> torch.Tensor:
        log_p, log_absent = joint_log_softmax(logits * 10, impossible)
        return losses._heat_terms(log_p, log_absent, heat, absent)[0]

    right, wrong = terms(heat), terms(heat.roll(1, 3))
    assert right[0] < 0.01 < wrong[0]
    assert right[1] == wrong[1] == 1


def test_a_level_outside_the_image_costs_the_negative_log_of_its_probability_to_be_absent():
    absent, heat = torch.tensor([[False, True]]), torch.zeros(1, 2, 2, 4, 4)
    log_absent = torch.log(torch.tensor([[0.9, 0.25]]))
    terms = losses._heat_terms(torch.full_like(heat, -1.0), log_absent, heat, absent)
    assert terms[0].tolist() == pytest.approx([np.log(4), 1])


def test_attention_is_to_be_to_the_annotated_slice():
    """Worked by hand, scores 0 and log 3: attention 1/4 and 3/4, which costs log 4 where the first
    slice is annotated and log 4/3 where the second is. The second study has no view that counts:
    one does not exist, of the other the annotated slice is not shown."""
    scores = torch.tensor([0.0, np.log(3)]).expand(2, 2, 2)
    annotated = torch.tensor([[[1.0, 0], [0, 1]], [[1, 0], [0, 0]]])
    exists = torch.tensor([[True, True], [False, True]])
    terms = losses.attention_terms(scores, exists, annotated)[..., 0]
    assert terms[0].tolist() == pytest.approx([(np.log(4) + np.log(4 / 3)) / 2, 1])
    assert terms[1].tolist() == [0, 0]


def test_attention_in_a_mixture_is_to_the_annotated_slices_of_both_where_both_have_the_view():
    """Worked by hand: three parts and one part; of the second view the partner has none."""
    annotated = torch.tensor([[[True, False]] * 2, [[False, True]] * 2])
    exists = torch.tensor([[True, True], [True, False]])
    own = torch.tensor([0.75, 0.75])
    batch = GraderSample(None, exists, annotated, None, None, None, own, None)
    found = losses._to_attend(batch, mixed=True)
    assert found[0].tolist() == [[0.75, 0.25], [1, 0]]
    assert found[1, 0].tolist() == [0.25, 0.75]
    assert torch.equal(losses._to_attend(batch, mixed=False), annotated.float())


def test_terms_with_shares_are_added_by_their_shares():
    """Worked by hand: losses 1, 2, 3 and 6 of the metric are 3 in the mean; attention to slices, 5,
    is added at a weight of 0.2."""
    terms = torch.tensor([[1.0, 2, 3, 6, 5], [1, 1, 1, 1, 1]])[None]
    shares = losses.grader_shares(replace(TINY, attention_loss=0.2))
    assert losses.mean_of(terms, shares=shares).item() == pytest.approx(3 + 0.2 * 5)
    weights = torch.tensor([1.0, 1, 1, 1, 2])
    assert losses.mean_of(terms, weights, shares).item() == pytest.approx(3 + 0.2 * 2.5)


def sample(annotated: int) -> GraderSample:
    """Two studies with random crops and grades, one slice annotated in all views."""
    crops, exists = views(2)
    count = exists.shape[1]
    return GraderSample(
        crops=(255 * crops).byte(),
        exists=exists,
        annotated=(torch.arange(3) == annotated).expand(2, count, 3),
        grades=torch.randint(-1, 3, (2, 25)),
        affine=torch.eye(2, 3).expand(2, count, 2, 3),
        intensity=torch.as_tensor(intensity.IDENTITY).expand(2, count, -1),
        own=torch.ones(2),
        region=torch.zeros(2, 4),
        seed=torch.zeros(2, dtype=torch.int64),
    )


def test_attention_to_slices_is_one_more_term_in_training_and_none_without_its_weight(grader):
    batch, attentive = sample(2), replace(TINY, attention_loss=0.2)
    plain = replace(TINY, attention_loss=0.0)
    logits = grader.train()(losses.augmented_crops(batch, TINY), batch.exists)
    metric = losses.metric_terms(logits, batch.grades)
    assert torch.equal(losses.grader_terms(grader, batch, plain), metric)
    assert losses.grader_shares(plain) is None
    with_attention = losses.grader_terms(grader, batch, attentive)
    assert torch.equal(with_attention[..., :4], metric)
    assert with_attention.shape == (2, 2, 5)
    grader.eval()
    held_out = [losses.grader_terms(grader, batch, preset) for preset in (plain, attentive)]
    assert torch.equal(*held_out)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0.2, 0.5), (0.2, 0.8, 1.0)])
def test_a_grader_learns_to_attend_to_the_annotated_slice(grader, share, least, most):
    """Of three slices it does not prefer any, unless it is told to."""
    batch, preset = sample(2), replace(TINY, attention_loss=share)
    optimizer = torch.optim.Adam(grader.parameters(), 1e-2)
    for _ in range(30):
        terms = losses.grader_terms(grader.train(), batch, preset)
        losses.mean_of(terms, shares=losses.grader_shares(preset)).backward()
        optimizer.step()
        optimizer.zero_grad()
    crops, exists = batch.crops[0].numpy(), batch.exists[0].numpy()
    weights = explain.attention(grader.eval(), crops, exists)
    assert least < weights[:, 2].mean() < most


# --- the locator ----------------------------------------------------------------------------------


def test_one_softmax_runs_over_all_cells_of_all_slices():
    logits, absent = torch.randn(2, 5, 3, 4, 6), torch.tensor([0.0, 5.0, -5.0])
    log_p, log_absent = joint_log_softmax(logits, absent)
    total = log_p.exp().sum((1, 3, 4)) + log_absent.exp()
    assert total == pytest.approx(np.ones((2, 3)), abs=1e-5)
    order = log_absent.diff(dim=1).sign()
    assert (order == torch.tensor([1, -1])).all(), "and over 'it is in none'"


def test_levels_are_chosen_head_to_foot_at_plausible_distances():
    # five peaks 10 cells (30 mm) apart; at L3/L4 the highest peak is the one of L4/L5
    peaks = [[Candidate(10 * k, 20, -1.0)] for k in range(len(LEVELS))]
    peaks[2] = [Candidate(30, 20, -0.5), Candidate(20, 20, -1.5)]
    chosen = localisation.in_level_order(peaks, np.full(5, -20.0), cell_mm=3.0)
    assert [peak.row for peak in chosen] == [0, 10, 20, 30, 40]


# How improbable it is that each level is absent; the first level found, and the one after the last.
PARTLY_ABSENT = [((0, 0, 9, 9, 9), 2, 5), ((9, 9, 9, 9, 0), 0, 4), ((0, 9, 0, 9, 0), 1, 4)]


@pytest.mark.parametrize(("absent", "first", "end"), PARTLY_ABSENT)
def test_a_field_of_view_may_be_truncated_above_and_below_but_has_no_gap(absent, first, end):
    peaks = [[Candidate(10 * k, 20, -3.0)] for k in range(len(LEVELS))]
    chosen = localisation.in_level_order(peaks, -np.array(absent, float), cell_mm=3.0)
    expected = [10 * k if first <= k < end else None for k in range(len(LEVELS))]
    assert [peak and peak.row for peak in chosen] == expected


class Brightest(torch.nn.Module):
    """A locator that marks the brightest cell, and reports nothing where all is black."""

    absent = torch.tensor([3.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 40 * torch.nn.functional.avg_pool2d(x, 2)


def test_test_time_augmentation_finds_the_point_where_it_is():
    x = torch.zeros(2, 64, 64)
    x[1, 20:22, 40:42] = 1.0
    two = localisation.heat_maps(Brightest(), [x, torch.zeros_like(x)])
    (p, absent), (_, nothing) = two
    assert p.shape == (2, 1, 32, 32)
    assert np.unravel_index(p.argmax().item(), p.shape) == (1, 0, 10, 20)
    assert absent.item() < 0.01
    assert p.sum().item() + absent.item() == pytest.approx(1, abs=0.1)
    assert nothing.item() == pytest.approx(np.exp(3) / (np.exp(3) + 2 * 32**2), rel=1e-3)


# --- the grader -----------------------------------------------------------------------------------


def test_views_that_do_not_exist_change_nothing(grader):
    crops, every = views(2)
    exists = torch.rand(every.shape) > 0.3
    others = torch.where(exists[..., None, None, None], crops, torch.rand_like(crops))
    with torch.inference_mode():
        assert torch.equal(grader(crops, exists), grader(others, exists))
        assert torch.isfinite(grader(crops, torch.zeros_like(exists))).all()


def test_every_target_has_the_head_of_its_family(grader):
    """Only the head of the foraminal family predicts anything but zero: the sum of
    features that are all 1, each weighted by 7 over their number."""
    for head in grader.heads:
        torch.nn.init.zeros_(head[0].weight)
        torch.nn.init.ones_(head[0].bias)
        torch.nn.init.zeros_(head[1].weight)
    grader.heads[1][1].weight.data[2] = 7.0 / TINY.features
    with torch.inference_mode():
        severe = grader(*views(1))[0, :, 2].tolist()
    assert severe == [7.0 if target.family == "foraminal" else 0.0 for target in TARGETS]


def test_features_are_normalised_as_torch_does():
    """Output, gradient and running averages (torch's running variance is the unbiased one)."""
    ours, torchs = FeatureNorm(5), nn.BatchNorm1d(5)
    x = 3 + 2 * torch.randn(64, 5)
    outputs, gradients = [], []
    for norm in (ours, torchs):
        leaf = x.clone().requires_grad_()
        outputs.append(norm(leaf))
        (outputs[-1] * torch.arange(320).view(64, 5)).sum().backward()
        gradients.append(leaf.grad)
    assert torch.allclose(*outputs, atol=1e-5)
    assert torch.allclose(*gradients, atol=1e-2)
    assert torch.allclose(ours.mean, torchs.running_mean)
    assert torch.allclose(ours.variance - 0.9, (torchs.running_var - 0.9) * 63 / 64)
    assert torch.allclose(ours.eval()(x), (x - ours.mean) / ours.variance.sqrt(), atol=1e-3)
    assert ours.train()(x[:0]).shape == (0, 5)


HALF = """
import sys
import torch
from torch import distributed
from utils.models.blocks import FeatureNorm
rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", f"file://{folder}/both", rank=rank, world_size=2)
x = torch.load(f"{folder}/halves.pt", weights_only=True)[rank].requires_grad_()
norm = FeatureNorm(5)
out = norm(x)
(out * x.detach() ** 2).sum().backward()
found = [out.detach(), x.grad, norm.mean, norm.variance]
torch.save(found, f"{folder}/{rank}.pt")
distributed.destroy_process_group()
"""


def test_features_are_normalised_over_all_processes_together(tmp_path):
    """Two processes with unequal parts of a batch, each of another mean: output, gradient and
    running averages are those of the whole batch."""
    whole = torch.randn(10, 5) + torch.arange(10.0)[:, None]
    torch.save([whole[:7], whole[7:]], tmp_path / "halves.pt")
    launch = [sys.executable, "-c", HALF]
    both = [subprocess.Popen([*launch, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    norm, x = FeatureNorm(5), whole.clone().requires_grad_()
    out = norm(x)
    (out * whole**2).sum().backward()
    for k, alone in enumerate((out, x.grad)):
        assert torch.allclose(torch.cat([part[k] for part in parts]), alone, atol=1e-4)
    for part in parts:
        assert torch.allclose(part[2], norm.mean, atol=1e-5)
        assert torch.allclose(part[3], norm.variance, atol=1e-5)


def test_a_crop_is_graded_alike_however_bright_it_is(grader):
    crops, exists = views(1)
    with torch.inference_mode():
        dark = grader(0.5 * crops + 0.1, exists)
        assert torch.allclose(grader(crops, exists), dark, atol=0.05)
    flat = standardised(torch.full((1, 3, 8, 8), 0.7))
    assert flat.abs().max() < 1e-5


def test_a_grader_begins_with_the_prior_of_both_sides():
    """Worked by hand: severe 0.2 on the left and 0.4 on the right: 0.3 on both. What no label
    has is rare, not impossible."""
    prior = np.tile([0.8, 0.2, 0.0], (len(TARGETS), 1))
    for side, severe in (("Left", 0.2), ("Right", 0.4)):
        prior[TARGETS.index((f"{side} Subarticular Stenosis", "L4/L5"))] = 0.5, 0.5 - severe, severe
    grader = Grader(TINY).eval()
    for head in grader.heads:
        torch.nn.init.zeros_(head[1].weight)
    grader.expect(prior)
    with torch.inference_mode():
        p = grader(*views(2)).softmax(-1)
    left = TARGETS.index(("Left Subarticular Stenosis", "L4/L5"))
    assert p[1, left].tolist() == pytest.approx([0.5, 0.2, 0.3])
    assert p[0, 0].tolist() == pytest.approx([0.8, 0.2, 0.001], abs=1e-3)


def test_torchvision_backbones_fit_in():
    preset = Preset("test", backbone="mobilenet_v3_small", crop_px=64, features=24)
    assert backbone(preset)(torch.rand(3, 1, 64, 64)).shape == (3, 24)
    for name in {preset.backbone for preset in PRESETS.values()} - {"small"}:
        assert name in torchvision.models.list_models()


def test_weights_that_cannot_be_downloaded_are_an_error_that_says_what_to_do(monkeypatch):
    real = torchvision.models.get_model

    def offline(name, weights):
        if weights:
            raise OSError("no network")
        return real(name, weights=None)

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    preset = Preset("test", backbone="mobilenet_v3_small", pretrained=True)
    says = r"mobilenet_v3_small cannot be downloaded \(no network\).+pretrained=False"
    with pytest.raises(BackboneError, match=says):
        backbone(preset)
    backbone(replace(preset, pretrained=False))


def test_timm_backbones_fit_in():
    """A CNN, one named with its weights' tag, and a transformer, whose positions are made for the
    size of the crops."""
    for name in ("mobilenetv3_small_050", "resnet10t.c3_in1k", "vit_tiny_patch16_224"):
        preset = Preset("test", backbone=name, crop_px=64, features=24)
        assert backbone(preset)(torch.rand(3, 1, 64, 64)).shape == (3, 24)


def test_a_name_that_both_know_is_torchvisions(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    preset = Preset("test", backbone="resnet18", crop_px=64, features=24)
    assert isinstance(backbone(preset)[1], torchvision.models.ResNet)


def test_a_backbone_that_does_not_exist_names_those_nearest_to_it():
    preset = Preset("test", backbone="convnextv2_ato")
    says = r"^no backbone 'convnextv2_ato' is here; there is convnextv2_atto"
    with pytest.raises(BackboneError, match=says):
        backbone(preset)
    with pytest.raises(BackboneError, match="no backbone 'hf-hub:any/thing' is here"):
        backbone(replace(preset, backbone="hf-hub:any/thing"))
    with pytest.raises(BackboneError, match=r"Invalid pretrained tag .*choose another backbone"):
        backbone(replace(preset, backbone="resnet18.no_tag"))


def test_without_timm_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    says = (
        r"^no backbone 'convnext_smal' is here; there is convnext_small.*\. "
        r"If it is one of timm's: `pip install timm` \(on Colab it is there\)$"
    )
    with pytest.raises(BackboneError, match=says):
        backbone(Preset("test", backbone="convnext_smal"))


def test_weights_of_timm_that_cannot_be_downloaded_say_what_to_do(monkeypatch):
    import timm

    def offline(name, pretrained, **options):
        assert pretrained
        raise FileNotFoundError("cannot find the requested files")

    monkeypatch.setattr(timm, "create_model", offline)
    says = (
        r"weights for resnet10t cannot be downloaded .+presets\.replace\(PRESET, pretrained=False"
    )
    with pytest.raises(BackboneError, match=says):
        backbone(Preset("test", backbone="resnet10t", pretrained=True))


# --- both -----------------------------------------------------------------------------------------


def test_a_study_is_predicted_alike_in_a_batch_of_one_and_of_many():
    torch.manual_seed(0)
    grader = Grader(TINY).eval()
    encoder, locator = Grader(TINY).train().encoder, Locator(TINY).train()  # in training too
    crops, exists = views(3)
    x = torch.rand(3, 2, 64, 64)
    with torch.inference_mode():
        logits = grader(crops, exists)
        assert torch.allclose(logits[:1], grader(crops[:1], exists[:1]), atol=1e-5)
        images = crops[:, :, 0].flatten(0, 1)[:, None]
        assert torch.allclose(encoder(images)[:1], encoder(images[:1]), atol=1e-5)
        three, single = locator(x, x, x), locator(x[:1], x[:1], x[:1])
    for many, one in zip(three[0], single[0]):
        assert torch.allclose(many[:1], one, atol=1e-5)


def test_images_that_go_through_a_net_in_parts_give_what_all_together_give():
    net, seen = UNet(5, 4).eval(), []
    x = torch.rand(11, 1, 64, 64)
    at_once = CACHED_PIXELS // 64**2
    many = x.repeat(at_once // 8, 1, 1, 1)  # more than fit at once, and no multiple of it
    with torch.inference_mode():
        together = net(many)
        found = in_parts(lambda part: [seen.append(len(part)), net(part)][1], many)
    torch.testing.assert_close(found, together)
    assert max(seen) == at_once < len(many) == sum(seen)


def test_both_models_run_in_16_bits_on_any_cpu():
    torch.manual_seed(0)
    grader, locator = Grader(TINY).eval(), Locator(TINY).eval()
    crops, exists = views(2)
    x = torch.rand(2, 2, 64, 64)

    def outputs() -> tuple[torch.Tensor, ...]:
        return grader(crops, exists), *locator(x, x, x)[0]

    with torch.inference_mode():
        full = outputs()
        with torch.autocast("cpu", torch.bfloat16):
            half = outputs()
    for a, b in zip(full, half):
        assert (a - b.float()).abs().mean() < 0.05


def test_a_setting_that_makes_no_sense_is_refused_at_once():
    odd = {"batch": 0, "crop_mm": math.inf, "grader_rate": -0.1, "slices": True}
    for name, value in odd.items():
        with pytest.raises(PresetError, match=f"{name} is {value}"):
            Preset("mine", **{name: value})
    with pytest.raises(PresetError, match="intensity is 'strong', not scanner or randomised"):
        Preset("mine", intensity="strong")
    for no_tuple in ("wide", ["marked"]):
        says = re.escape(f"views is {no_tuple!r}, not a tuple of some of marked, crossed, wide")
        with pytest.raises(PresetError, match=says):
            Preset("mine", views=no_tuple)
    for odd_views in (("marked", "broad"), (), ("wide", "wide")):
        says = re.escape(f"views are {odd_views!r}, not one or more of marked, crossed, wide, each")
        with pytest.raises(PresetError, match=says):
            Preset("mine", views=odd_views)


def test_settings_come_back_from_json_as_they_were():
    preset = replace(TINY, views=("marked", "wide"), attention_loss=0.2, train_folds=(0, 2))
    assert Preset.from_dict(json.loads(json.dumps(preset.as_dict()))) == preset


def test_a_warm_start_looks_at_what_the_first_run_looked_at():
    first = replace(TINY, views=("marked", "crossed"))
    assert shaped_like(replace(TINY, views=("wide",)), first).views == ("marked", "crossed")


def test_an_unknown_preset_names_those_there_are():
    there = "there are demo, smoke, cpu_long, zero_shot, t4, l4, a100"
    with pytest.raises(PresetError, match=there):
        get_preset("big")


# --- where models run -----------------------------------------------------------------------------


def test_a_gpu_that_cannot_run_this_torch_is_named_and_not_used(monkeypatch, caplog):
    """As Kaggle's P100 with a torch that has no kernels for it any more."""

    def refuse(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", refuse)
    device.cache_clear()
    try:
        assert device() == "cpu"
    finally:
        device.cache_clear()
    assert "The GPU cannot be used (CUDA error: no kernel image" in caplog.text
    assert caplog.text.count("models run on the CPU") == 1


def test_without_a_gpu_nothing_is_said(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device.cache_clear()
    assert device() == "cpu"
    device.cache_clear()
    assert not caplog.text


@pytest.mark.parametrize(
    ("where", "bf16", "chosen"),
    [("cpu", True, "no"), ("cuda", False, "fp16"), ("cuda", True, "bf16")],
)
def test_precision_is_what_the_device_computes_natively(monkeypatch, where, bf16, chosen):
    """A T4 says it supports bf16, because it counts what it emulates."""
    monkeypatch.setattr(hardware, "device", lambda: where)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or bf16,
    )
    assert hardware.precision.__wrapped__() == chosen


def test_the_average_takes_the_statistics_of_a_batch_norm_with_the_weights(monkeypatch):
    net = nn.BatchNorm1d(1)
    average = averaged(net, 0.75)
    for mean in (4.0, 8.0):  # the first is copied
        net.running_mean.fill_(mean)
        net.num_batches_tracked += 1
        average.update_parameters(net)
    assert average.module.running_mean.item() == pytest.approx(0.75 * 4 + 0.25 * 8)
    assert average.module.num_batches_tracked.item() == 2


def test_the_weights_of_an_averaged_lstm_stay_in_one_piece(monkeypatch):
    net, flattened = nn.Sequential(nn.LSTM(2, 2)), []
    monkeypatch.setattr(nn.LSTM, "flatten_parameters", lambda self: flattened.append(self))
    average = averaged(net, 0.9)
    assert flattened[-1] is average.module[0]


@pytest.mark.parametrize(
    ("batch", "accumulate", "mixup", "processes", "expected"),
    [
        (4, 1, 0.2, 1, (4, 1)),
        (3, 1, 0.2, 1, (3, 1)),
        (4, 1, 0.0, 4, (4, 1)),
        (2, 2, 0.2, 2, (4, 1)),  # a pair for each
        (2, 1, 0.2, 4, (8, 1)),
        (4, 4, 0.2, 2, (4, 4)),
        (3, 2, 0.0, 2, (4, 2)),
    ],
)
def test_a_batch_grows_until_each_process_has_a_study_and_for_mixup_a_pair(
    batch, accumulate, mixup, processes, expected
):
    preset = Preset("mine", batch=batch, accumulate=accumulate, mixup=mixup)
    assert global_batch(preset, processes) == expected


# --- as a table -----------------------------------------------------------------------------------


def test_a_summary_counts_every_weight_and_says_what_each_part_gives(grader):
    crops, exists = views(2)
    table = summary(grader, crops, exists)
    assert table.gives["encoder"] == f"{2 * len(views_of(TINY)) * 3} × 32"
    assert table.parameters["all"] == sum(weights.numel() for weights in grader.parameters())
    assert table.parameters[:-1].sum() == table.parameters["all"]
    assert table.gives["bias"] == "25 × 3"  # in no part
    assert table.parameters["bias"] == 75
    assert list(table.kind[["lstm", "all"]]) == ["LSTM", "Grader"]
