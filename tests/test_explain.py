"""Explanations say what the grader used: nothing from views it does not have, most from the slice that decides."""

import numpy as np
import pytest
import torch

from utils import explain, models, views
from utils.models import Grader
from utils.presets import Preset
from utils.rsna import TARGETS

PRESET = Preset("test", crop_px=32, slices=3, features=32)
LEFT_L4 = TARGETS.index(("Left Subarticular Stenosis", "L4/L5"))


@pytest.fixture
def grader():
    torch.manual_seed(0)
    return Grader(PRESET).eval()


@pytest.fixture
def shown():
    crops = np.random.default_rng(0).uniform(0, 255, (30, 3, 32, 32)).astype(np.float32)
    exists = np.ones(30, bool)
    exists[:4] = False
    return crops, exists


def test_maps_are_shares_of_the_strongest_place_and_absent_where_there_is_no_view(grader, shown):
    maps = explain.grad_cam(grader, *shown, LEFT_L4, 2)
    assert maps.shape == shown[0].shape
    assert np.isnan(maps[:4]).all()
    assert np.nanmin(maps) >= 0
    assert np.nanmax(maps) == pytest.approx(1)
    assert not any(parameter.requires_grad is False for parameter in grader.parameters())


def test_the_evidence_lies_where_the_answer_comes_from(grader, shown, monkeypatch):
    """All tokens but its own cut off, a target's evidence can only lie in its own views."""
    crops, exists = shown
    for layer in grader.across.layers:
        layer.self_attn.out_proj.weight.data.zero_()
    monkeypatch.setattr(models, "within_study", lambda seen, exists: seen)
    maps = explain.grad_cam(grader, crops, exists, LEFT_L4, 2)
    own = views.VIEW_TARGET == LEFT_L4
    assert np.nanmax(maps[own]) == pytest.approx(1)
    assert np.nanmax(maps[~own]) == 0


@pytest.mark.parametrize("backbone", ["small", "efficientnet_v2_s", "convnext_tiny"])
def test_evidence_is_read_where_there_are_still_eight_cells(backbone):
    grader = Grader(Preset("test", backbone=backbone, crop_px=128, slices=1, features=32)).eval()
    layer, shapes = explain._layer(grader.encoder, torch.rand(1, 1, 128, 128)), []
    with torch.no_grad():
        layer.register_forward_hook(lambda module, given, found: shapes.append(found.shape))
        grader.encoder(torch.rand(1, 1, 128, 128))
    assert shapes[0][-1] == 8


def test_without_any_view_there_is_no_map(grader, shown):
    assert np.isnan(explain.grad_cam(grader, shown[0], np.zeros(30, bool), LEFT_L4, 2)).all()


def test_attention_sums_to_one_over_the_slices_of_each_view(grader, shown):
    weights = explain.attention(grader, *shown)
    assert weights.shape == (30, 3)
    assert np.isnan(weights[:4]).all()
    assert weights[4:].sum(1) == pytest.approx(np.ones(26))
    assert len(grader.attention._forward_hooks) == 0


def test_where_one_slice_is_attended_to_it_is_told(grader, shown):
    grader.slice_place.data[1] = 50 * torch.sign(grader.attention.weight.data[0])  # the middle slice shouts
    assert (explain.attention(grader, *shown)[4:].argmax(1) == 1).all()
