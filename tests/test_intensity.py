"""Intensity augmentation changes what it says it changes, in its own crop, and nothing else."""

import numpy as np
import pytest
import torch

from utils.errors import LumbarError
from utils.models import intensity

SEEDS = [1, 2]


def changed(x: torch.Tensor, **parts) -> torch.Tensor:
    """One crop with these parameters, without noise."""
    vectors = torch.from_numpy(intensity.vector(**parts))[None]
    return intensity.apply(x, vectors, [0], "randomised")


def test_the_identity_changes_nothing():
    x = torch.rand(4, 2, 8, 8)
    identity = torch.from_numpy(intensity.IDENTITY).expand(4, -1)
    for kind in ("scanner", "randomised"):
        assert torch.equal(intensity.apply(x, identity, SEEDS, kind), x)
    assert np.array_equal(intensity.vector(), intensity.IDENTITY)


def test_names_that_do_not_exist_are_refused_and_those_that_do_are_named():
    with pytest.raises(LumbarError, match="no parameter 'contrast'; there are gamma, mapping,"):
        intensity.vector(contrast=2.0)
    with pytest.raises(LumbarError, match="scanner or randomised, not 'any'"):
        intensity.sample(np.random.default_rng(0), "any")


def test_a_seed_gives_its_noise_wherever_in_the_batch_its_study_is():
    x, noisy = torch.rand(4, 2, 8, 8), torch.from_numpy(intensity.vector(noise=0.1)).expand(4, -1)
    result = intensity.apply(x, noisy, SEEDS, "scanner")
    exchanged = intensity.apply(x[[2, 3, 0, 1]], noisy, SEEDS[::-1], "scanner")
    assert torch.equal(result[[2, 3, 0, 1]], exchanged)
    assert (result - x).std().item() == pytest.approx(0.1, rel=0.2)


def test_gamma_gain_and_offset_by_hand():
    grey = torch.full((1, 1, 1, 1), 0.5)
    result = changed(grey, gamma=2.0, gain=0.5, offset=0.25)
    assert result.item() == pytest.approx(0.5**2 * 0.5 + 0.25)


def test_an_intensity_mapping_is_interpolated_between_its_knots():
    x = torch.tensor([0.0, 0.1, 0.5, 1.0]).view(1, 1, 1, 4)
    knots = [1.0, 0.0, 0.4, 0.8, 0.2, 0.3]  # at 0, 0.2 … 1
    assert changed(x, mapping=knots).flatten().tolist() == pytest.approx([1.0, 0.5, 0.6, 0.3])


def test_a_bias_field_brightens_one_side():
    bright = changed(torch.ones(1, 1, 3, 3), bias_field=[np.log(2), 0, 0, 0, 0])[0, 0]
    assert bright[1].tolist() == pytest.approx([0.5, 1, 2])
    assert torch.equal(bright[0], bright[2])


def test_an_occlusion_covers_its_disc_and_nothing_far_from_it():
    # u = 0.5 to the right and v = -0.5 above the centre
    covered = changed(torch.zeros(1, 1, 41, 41), occlusion=[0.5, -0.5, 0.2, 0.8, 1.0])[0, 0]
    assert covered[10, 30].item() == pytest.approx(0.8, abs=0.01)
    assert covered[30, 10].item() == pytest.approx(0, abs=1e-3)


def test_a_blur_is_a_gaussian_of_its_standard_deviation_within_each_slice():
    dot = torch.zeros(1, 2, 15, 15)
    dot[0, 0, 7, 7] = 1
    first, second = changed(dot, blur=1.0)[0]
    assert first.sum().item() == pytest.approx(1, abs=1e-4)
    assert (first[7, 8] / first[7, 7]).item() == pytest.approx(np.exp(-0.5), abs=1e-3)
    assert not second.any(), "the other slice is another image"


def test_a_ghost_is_the_image_again_shifted_along_the_rows():
    row = torch.zeros(1, 1, 10, 1)
    row[0, 0, 2] = 1
    ghosted = changed(row, ghost=[0.25, 0.3]).flatten().tolist()
    assert ghosted == pytest.approx([0, 0, 1, 0, 0, 0, 0, 0, 0, 0.25])


@pytest.mark.parametrize("part", [name for name in intensity.PARAMETERS if name != "noise"])
def test_each_crop_has_its_own_parameters(part):
    rng = np.random.default_rng(3)
    x = torch.rand(2, 1, 12, 12)
    strong = {part: np.abs(rng.normal(0.4, 0.1, len(intensity.PARAMETERS[part])))}
    vectors = np.stack([intensity.IDENTITY, intensity.vector(**strong)])
    both = intensity.apply(x, torch.from_numpy(vectors), SEEDS, "randomised")
    assert torch.equal(both[0], x[0])
    assert torch.allclose(both[1:], changed(x[1:], **strong))
    assert not torch.allclose(both[1], x[1], atol=1e-3)


SCANNER = {"gamma", "gain", "offset", "noise"}


@pytest.mark.parametrize(
    ("kind", "expected"), [("scanner", SCANNER), ("randomised", set(intensity.PARAMETERS))]
)
def test_scanners_differ_in_contrast_and_noise_and_the_randomised_kind_in_everything(
    kind, expected
):
    lengths = [len(values) for values in intensity.PARAMETERS.values()]
    names = np.repeat(list(intensity.PARAMETERS), lengths)
    vectors = [intensity.sample(np.random.default_rng(seed), kind) for seed in range(40)]
    varies = (np.stack(vectors) != intensity.IDENTITY).any(0)
    assert set(names[varies]) == expected
