"""A segmenter is trained by the same loop as the other models, on slices whose pixels are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from utils.models import Segmenter
from utils.models.segmenter import even
from utils.phantom.labelled import SLICES, labelled_slices
from utils.structures import AXIAL, SACRUM, SAGITTAL, STRUCTURES
from utils.training import segmenter as module
from utils.training.segmenter import SETTINGS, SliceDataset, augmented, segmenter_terms


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> SliceDataset:
    data = SliceDataset(tmp_path_factory.mktemp("slices"), [3, 4], SETTINGS, SAGITTAL)
    data.cache_crops()
    return data


def batch_of(data):
    return torch.utils.data.default_collate([data[0], data[1]])


@pytest.mark.parametrize("plane", [SAGITTAL, AXIAL])
def test_slices_of_a_spine_show_every_structure(plane):
    images, masks = labelled_slices(3, plane)
    assert images.shape == masks.shape == (SLICES, plane.px, plane.px)
    shown = set(np.unique(masks).tolist())
    some = {1, SACRUM} if plane == AXIAL else set()  # not on every slice near a disc
    assert shown | some == set(range(plane.structures))
    again, _ = labelled_slices(3, plane)
    assert (again == images).all()


def test_an_epoch_shows_the_same_samples_whenever_it_is_resumed(data):
    first, again = data[0], data[0]
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    data.epoch.fill_(1)
    other = data[0]
    data.epoch.fill_(0)
    assert not torch.equal(first.affine, other.affine)


def test_image_and_structures_move_together(data):
    """Of an image that is its own mask, augmentation changes brightness alone."""
    batch = batch_of(data)
    sac = (batch.structures == STRUCTURES.index("thecal sac")).byte()[:, None] * 255
    plain = torch.from_numpy(module.intensity.IDENTITY).expand(2, -1)
    x, true = augmented(batch._replace(crops=sac, intensity=plain), SAGITTAL)
    where = true[:, STRUCTURES.index("thecal sac")] > 0
    assert ((x[:, 0] > 0.5) == where).float().mean() > 0.995


def test_the_loss_is_nothing_for_a_segmenter_that_knows(data):
    batch = batch_of(data)
    _, true = augmented(batch, SAGITTAL)
    loss, weight = segmenter_terms(lambda _: 50 * true, batch, SAGITTAL).sum(0)
    assert loss.tolist() == pytest.approx([0, 0], abs=1e-3)
    assert weight.tolist() == [2, 2]
    ignorant, _ = segmenter_terms(lambda _: 0 * true, batch, SAGITTAL).sum(0) / 2
    assert ignorant[0] == pytest.approx(np.log(SAGITTAL.structures), abs=1e-3)


def test_a_coils_fall_off_is_evened_out():
    tissue = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    fading = torch.linspace(1, 0.5, 64)
    difference = (even(tissue * fading, 1.0) - even(tissue, 1.0)).abs()[..., 16:48, 16:48]
    assert difference.max() < 0.1
    assert even(tissue, 1.0).min() >= 0
    assert even(tissue, 1.0).max() <= 1


@pytest.mark.parametrize("plane", [SAGITTAL, AXIAL])
def test_training_leaves_weights_and_resumes(tmp_path, monkeypatch, plane):
    monkeypatch.setattr(module, "SPINES", 2)
    monkeypatch.setattr(module, "HELD_OUT", 1)
    short = replace(SETTINGS, locator_epochs=2, batch=2)
    assert module.fit_segmenter(tmp_path / "run", tmp_path / "work", plane, short)
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert module.fit_segmenter(tmp_path / "run", tmp_path / "work", plane, short)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights
    assert sum(p.numel() for p in Segmenter().parameters()) < 1e6
