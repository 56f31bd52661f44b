"""Spatial augmentation: crops and the points in them move as one, and nothing depends on what was
sampled before."""

import numpy as np
import pytest
import torch

from utils.models import spatial
from utils.models.vision import torchvision

# isort: split
from torchvision.transforms.v2.functional import affine as torchvision_affine
from torchvision.tv_tensors import KeyPoints


def batch(*affines) -> torch.Tensor:
    return torch.from_numpy(np.stack(affines))


def dot(size: int, x: int, y: int) -> torch.Tensor:
    """(1, 1, size, size), black but for a soft dot at so many px from the centre."""
    grid = torch.arange(size) - (size - 1) / 2
    return torch.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / 8)[None, None]


def centre_of_mass(image: torch.Tensor) -> np.ndarray:
    """(x, y) px from the image's centre."""
    grid = torch.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    x, y = (image.sum(0) * grid).sum(), (image.sum(1) * grid).sum()
    return np.array([x / image.sum(), y / image.sum()])


# --- affines --------------------------------------------------------------------------------------


def test_the_identity_cuts_the_centre_of_the_larger_crop_pixel_for_pixel():
    x = torch.rand(3, 2, 80, 80)
    same = spatial.warp(x, batch(*[spatial.identity_affine()] * 3), 64)
    assert torch.allclose(same, x[:, :, 8:-8, 8:-8], atol=1e-5)


def test_a_shift_by_whole_pixels_worked_by_hand():
    x = torch.arange(100.0).view(1, 1, 10, 10)
    # shows what is 2 px to the right and 1 px above
    shift = batch(np.array([[1, 0, 2], [0, 1, -1]], np.float32))
    assert torch.allclose(spatial.warp(x, shift, 4), x[:, :, 2:6, 5:9], atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mirror", [False, True])
def test_points_go_where_the_crop_shows_them(seed, mirror):
    rng = np.random.default_rng(seed)
    affine = batch(spatial.sample_affine(rng, rng.normal(0, 4, 2), mirror, 0.1, 15.0))
    warped = spatial.warp(dot(80, 9, -5), affine, 64)[0, 0]
    point = spatial.warp_points(torch.tensor([[9.0, -5.0]]), affine)[0]
    assert point.numpy() == pytest.approx(centre_of_mass(warped), abs=0.15)


def test_the_affine_is_torchvisions_with_its_key_points():
    degrees, shift = 20.0, (3.0, -2.0)
    angle = np.deg2rad(degrees)
    # torchvision's affine leads from the original to the warped crop, ours back
    forward = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back = np.column_stack([forward.T, -forward.T @ shift]).astype(np.float32)
    x = dot(65, 6, 4)
    here = spatial.warp(x, batch(back), 65)
    bilinear = torchvision.transforms.InterpolationMode.BILINEAR
    there = torchvision_affine(x, degrees, list(shift), 1.0, [0.0], bilinear)
    assert centre_of_mass(here[0, 0]) == pytest.approx(centre_of_mass(there[0, 0]), abs=0.02)
    assert torch.allclose(here, there, atol=0.02)
    corner = 65 / 2  # torchvision counts key points from the corner
    point = KeyPoints([[6 + corner, 4 + corner]], canvas_size=(65, 65))
    expected = torchvision_affine(point, degrees, list(shift), 1.0, [0.0])
    found = spatial.warp_points(torch.tensor([[6.0, 4.0]]), batch(back))
    assert (found + corner).numpy() == pytest.approx(expected.numpy(), abs=1e-3)


def test_what_is_warped_and_warped_back_is_where_it_was():
    affines = spatial.tta_affines(3.0)
    there = spatial.warp(dot(64, 6, -8).expand(5, 1, 64, 64), affines, 64)
    back = spatial.warp(there, spatial.invert(affines), 64)
    for image in back[:, 0]:
        assert centre_of_mass(image) == pytest.approx([6, -8], abs=0.1)
    assert torch.allclose(back[0], dot(64, 6, -8)[0], atol=1e-5)


# --- heat maps ------------------------------------------------------------------------------------


def test_heat_is_where_the_point_is_in_all_three_directions():
    # two slices 4 mm apart, cells of 2 px = 4 mm; the point is on the first slice, 3 cells right of
    # the centre and 2 above
    points = torch.tensor([[[[6.0, -4.0]], [[6.0, -4.0]]]])
    off_mm = torch.tensor([[[0.0], [4.0]]])
    heat = spatial.heat_maps(points, off_mm, cells=17, cell_mm=4.0, stride=2)
    assert heat.sum().item() == pytest.approx(1, abs=1e-5)
    assert np.unravel_index(heat.argmax().item(), heat.shape) == (0, 0, 0, 8 - 2, 8 + 3)
    ratio = heat[0, 1].sum() / heat[0, 0].sum()
    assert ratio.item() == pytest.approx(np.exp(-(4**2) / (2 * spatial.SIGMA_MM**2)), rel=1e-4)


NOWHERE, OUTSIDE, CENTRE = (torch.full((1, 1, 1, 2), px) for px in (torch.nan, 500.0, 0.0))


@pytest.mark.parametrize(
    ("point", "off_mm"), [(NOWHERE, torch.nan), (OUTSIDE, 0.0), (CENTRE, 30.0)]
)
def test_no_heat_for_a_point_that_is_not_in_the_crop(point, off_mm):
    heat = spatial.heat_maps(point, torch.full((1, 1, 1), off_mm), 16, 4.0, 2)
    assert heat.abs().sum() == 0


# --- truncation -----------------------------------------------------------------------------------


def test_what_is_outside_the_bounds_is_black_and_reported_as_outside():
    x = torch.ones(2, 1, 10, 10)
    bounds = torch.tensor([spatial.UNBOUNDED, (-2.0, -1e6, 1e6, 1.0)])
    truncated = spatial.truncate(x, bounds)
    assert torch.equal(truncated[0], x[0])
    assert truncated[1, 0, :6, 3:].all()
    # rows up to 1 px below the centre, columns from 2 px left of it
    assert truncated.sum() == 100 + 6 * 7
    points = torch.tensor([[[[0.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [6.0, 0.0]]]])
    inside = spatial.in_bounds(points.expand(2, 1, 4, 2), bounds, 10)[:, 0]
    assert inside.tolist() == [[True, True, True, False], [True, False, False, False]]


@pytest.mark.parametrize("seed", range(6))
def test_a_truncated_field_of_view_has_its_centre_elsewhere(seed):
    """Of 90 px about (3, -2) some are lost on one side; those that are left are about the centre,
    but for the shift given."""
    given = np.array([3.0, -2.0])
    bounds, shift = spatial.sample_truncation(np.random.default_rng(seed), 100, given)
    (side,) = np.flatnonzero(np.abs(bounds) < 1e5)
    axis = side % 2
    outwards = -1 if side < 2 else 1
    other_edge = -outwards * 45 - shift[axis]  # in the warped crop
    edges = sorted([bounds[side], other_edge])
    lost = 90 - (edges[1] - edges[0])
    assert 12 <= lost <= 48.01
    assert np.mean(edges) == pytest.approx(-given[axis], abs=1e-3)
    assert shift[1 - axis] == given[1 - axis]


# --- mixup ----------------------------------------------------------------------------------------


def test_studies_are_mixed_in_pairs_that_a_halved_batch_keeps():
    assert spatial.partners(torch.arange(4)).tolist() == [1, 0, 3, 2]
    assert spatial.partners(torch.arange(3)).tolist() == [1, 0, 2]  # the last has no partner
    assert spatial.partners(torch.arange(1)).tolist() == [0]
    crops, own = torch.rand(4, 2, 1, 4, 4), torch.tensor([0.7, 0.8, 1.0, 0.6])
    exists = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    whole = torch.zeros(4, 4)
    mixed = spatial.mix(crops, exists, own, whole)
    assert torch.allclose(mixed[0, 0], 0.7 * crops[0, 0] + 0.3 * crops[1, 0])
    assert torch.equal(mixed[0, 1], crops[0, 1])  # the partner lacks this view
    assert torch.equal(mixed[2], crops[2])
    pairs = [slice(0, 2), slice(2, 4)]
    halves = [spatial.mix(crops[pair], exists[pair], own[pair], whole[:2]) for pair in pairs]
    assert torch.equal(mixed, torch.cat(halves))


def test_cutmix_takes_a_region_from_the_other_study():
    """Worked by hand: lambda 0.75, so the other study's part is half as wide and high: here the
    upper right quarter."""
    crops, own = torch.rand(2, 1, 3, 4, 4), torch.tensor([0.75, 1.0])
    region = torch.tensor([[0.5, 0.0, 1.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    mixed = spatial.mix(crops, torch.ones(2, 1, dtype=torch.bool), own, region)
    assert torch.equal(mixed[0, ..., :2, 2:], crops[1, ..., :2, 2:])
    assert torch.equal(mixed[0, ..., 2:, :], crops[0, ..., 2:, :])
    assert torch.equal(mixed[0, ..., :2], crops[0, ..., :2])
    assert torch.equal(mixed[1], crops[1])
