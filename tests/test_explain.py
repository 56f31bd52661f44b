"""Explanations show what the grader used: nothing from views it does not have, most from the slice
that decides."""

import numpy as np
import pytest
import torch

from utils.inference import explain
from utils.models import Grader
from utils.presets import Preset
from utils.rsna import target_index
from utils.views import views_of

PRESET = Preset("test", crop_px=32, slices=3, features=32)
VIEWS = views_of(PRESET)
LEFT_L4 = target_index("Left Subarticular Stenosis", "L4/L5")
SEVERE = 2


@pytest.fixture
def model() -> Grader:
    torch.manual_seed(0)
    return Grader(PRESET).eval()


@pytest.fixture
def shown() -> tuple[np.ndarray, np.ndarray]:
    """Crops and which views exist: all but the first four."""
    rng = np.random.default_rng(0)
    crops = rng.uniform(0, 255, (len(VIEWS), 3, 32, 32)).astype(np.float32)
    exists = np.ones(len(VIEWS), bool)
    exists[:4] = False
    return crops, exists


def test_maps_are_fractions_of_the_strongest_pixel_and_absent_where_there_is_no_view(model, shown):
    maps = explain.grad_cam(model, *shown, LEFT_L4, SEVERE)
    assert maps.shape == shown[0].shape
    assert np.isnan(maps[:4]).all()
    assert np.nanmin(maps) >= 0
    assert np.nanmax(maps) == pytest.approx(1)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_evidence_is_where_the_prediction_comes_from(model, shown):
    """A target's evidence can only be in its own views."""
    crops, exists = shown
    maps = explain.grad_cam(model, crops, exists, LEFT_L4, SEVERE)
    own = VIEWS.target == LEFT_L4
    assert np.nanmax(maps[own]) == pytest.approx(1)
    assert np.nanmax(maps[~own]) == 0


@pytest.mark.parametrize("backbone", ["small", "efficientnet_v2_s", "convnext_tiny"])
def test_evidence_is_read_where_there_are_still_eight_cells(backbone):
    preset = Preset("test", backbone=backbone, crop_px=128, slices=1, features=32)
    encoder = Grader(preset).eval().encoder
    layer = explain._layer(encoder, torch.rand(1, 1, 128, 128))
    shapes = []
    with torch.no_grad():
        layer.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
        encoder(torch.rand(1, 1, 128, 128))
    assert shapes[0][-1] == 8


def test_without_any_view_there_is_no_map(model, shown):
    crops, exists = shown
    maps = explain.grad_cam(model, crops, np.zeros_like(exists), LEFT_L4, SEVERE)
    assert np.isnan(maps).all()


def test_attention_sums_to_one_over_the_slices_of_each_view(model, shown):
    weights = explain.attention(model, *shown)
    assert weights.shape == (30, 3)
    assert np.isnan(weights[:4]).all()
    assert weights[4:].sum(1) == pytest.approx(np.ones(26))


def test_where_one_slice_gets_the_attention_it_has_the_greatest_weight(model, shown):
    attended = 50 * torch.sign(model.attention.weight.data[0])
    model.slice_embedding.data[1] = attended  # the middle slice
    weights = explain.attention(model, *shown)[4:]
    assert (weights.argmax(1) == 1).all()


def test_covering_a_patch_matters_only_in_views_of_the_target(model, shown):
    crops, exists = shown
    change = explain.occlusion(model, crops, exists, LEFT_L4, SEVERE)
    assert sorted(change) == np.flatnonzero((VIEWS.target == LEFT_L4) & exists).tolist()
    assert all(of.shape == (7, 7) for of in change.values())  # a quarter wide, in half steps
    assert max(abs(of).max() for of in change.values()) > 1e-4
    assert explain.occlusion(model, crops, np.zeros_like(exists), LEFT_L4, SEVERE) == {}


def test_covering_what_is_already_grey_changes_nothing(model, shown):
    crops, exists = np.full_like(shown[0], 100.0), shown[1]
    change = explain.occlusion(model, crops, exists, LEFT_L4, SEVERE)
    assert max(abs(of).max() for of in change.values()) == 0
