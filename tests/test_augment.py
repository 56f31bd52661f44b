"""Chance on the device: windows and the points in them move as one, and nothing depends on what was drawn before."""

import numpy as np
import pytest
import torch

from utils import augment
from utils.vision import torchvision  # first, so that the rest of torchvision loads

# isort: split
from torchvision.transforms.v2.functional import affine
from torchvision.tv_tensors import KeyPoints


def moves(*drawn) -> torch.Tensor:
    return torch.from_numpy(np.stack(drawn))


def dot(size: int, x: int, y: int) -> torch.Tensor:
    """(1, 1, size, size), black but for a soft dot at so many px from the middle."""
    grid = torch.arange(size) - (size - 1) / 2
    return torch.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / 8)[None, None]


def peak(image: torch.Tensor) -> np.ndarray:
    """(x, y) from the middle: centre of mass."""
    grid = torch.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    return np.array([(image.sum(0) * grid).sum() / image.sum(), (image.sum(1) * grid).sum() / image.sum()])


def test_a_window_that_stays_is_the_middle_of_the_large_one_pixel_for_pixel():
    x = torch.rand(3, 2, 80, 80)
    assert torch.allclose(augment.move_windows(x, moves(*[augment.stay()] * 3), 64), x[:, :, 8:-8, 8:-8], atol=1e-5)


def test_a_shift_by_whole_pixels_worked_by_hand():
    x = torch.arange(100.0).view(1, 1, 10, 10)
    move = moves(np.array([[1, 0, 2], [0, 1, -1]], np.float32))  # shows what lies 2 px to the right and 1 px above
    assert torch.allclose(augment.move_windows(x, move, 4), x[:, :, 2:6, 5:9], atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mirror", [False, True])
def test_points_go_where_the_window_shows_them(seed, mirror):
    rng = np.random.default_rng(seed)
    move = moves(augment.draw_move(rng, rng.normal(0, 4, 2), mirror, 0.1, 15.0))
    at = torch.tensor([[9.0, -5.0]])
    moved = augment.move_windows(dot(80, 9, -5), move, 64)[0, 0]
    assert augment.move_points(at, move)[0].numpy() == pytest.approx(peak(moved), abs=0.15)


def test_the_move_is_torchvisions_affine_with_its_keypoints():
    angle, shift = 20.0, (3.0, -2.0)
    turn = np.deg2rad(angle)
    forward = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # torchvision's: given to moved
    move = np.column_stack([forward.T, -forward.T @ shift]).astype(np.float32)
    x, here = dot(65, 6, 4), augment.move_windows(dot(65, 6, 4), moves(move), 65)
    there = affine(x, angle, list(shift), 1.0, [0.0], torchvision.transforms.InterpolationMode.BILINEAR)
    assert peak(here[0, 0]) == pytest.approx(peak(there[0, 0]), abs=0.02)
    assert torch.allclose(here, there, atol=0.02)
    corner = 65 / 2  # torchvision counts key points from the corner
    point = KeyPoints([[6 + corner, 4 + corner]], canvas_size=(65, 65))
    there = affine(point, angle, list(shift), 1.0, [0.0])
    here = augment.move_points(torch.tensor([[6.0, 4.0]]), moves(move))
    assert (here + corner).numpy() == pytest.approx(there.numpy(), abs=1e-3)


def test_heat_lies_where_the_point_is_in_all_three_directions():
    # two slices 4 mm apart, cells of 2 px = 4 mm; the point is on the first slice, 3 cells right of the middle and 2 above
    at, off = torch.tensor([[[[6.0, -4.0]], [[6.0, -4.0]]]]), torch.tensor([[[0.0], [4.0]]])
    heat = augment.heat_maps(at, off, cells=17, cell_mm=4.0, stride=2)
    assert heat.sum().item() == pytest.approx(1, abs=1e-5)
    assert np.unravel_index(heat.argmax().item(), heat.shape) == (0, 0, 0, 8 - 2, 8 + 3)
    assert (heat[0, 1].sum() / heat[0, 0].sum()).item() == pytest.approx(np.exp(-(4**2) / (2 * augment.SIGMA_MM**2)), rel=1e-4)


def test_no_heat_for_a_point_that_is_not_there():
    nowhere = torch.full((1, 1, 1, 2), torch.nan)
    outside = torch.tensor([[[[500.0, 0.0]]]])
    far_slice = torch.tensor([[[30.0]]])
    for at, off in [(nowhere, torch.tensor([[[torch.nan]]])), (outside, torch.zeros(1, 1, 1)), (outside * 0, far_slice)]:
        assert augment.heat_maps(at, off, 16, 4.0, 2).abs().sum() == 0


def test_a_frame_cuts_off_what_is_outside_and_says_so():
    x, frame = torch.ones(2, 1, 10, 10), torch.tensor([augment.WHOLE, (-2.0, -1e6, 1e6, 1.0)])
    cut = augment.cut_off(x, frame)
    assert torch.equal(cut[0], x[0])
    assert cut[1, 0, :6, 3:].all()
    assert cut.sum() == 100 + 6 * 7  # rows up to 1 px below the middle, columns from 2 px left of it
    at = torch.tensor([[[[0.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [6.0, 0.0]]]]).expand(2, 1, 4, 2)
    assert augment.inside(at, frame, 10)[:, 0].tolist() == [[True, True, True, False], [True, False, False, False]]


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_that_ends_early_has_its_middle_elsewhere(seed):
    """Of 90 px about (3, -2) some are lost on one side; those that are left lie about the middle, but for the shift given."""
    given = np.array([3.0, -2.0])
    frame, shift = augment.draw_frame(np.random.default_rng(seed), 100, given)
    (side,) = np.flatnonzero(np.abs(frame) < 1e5)
    axis, outwards = side % 2, -1 if side < 2 else 1
    edges = sorted([frame[side], -outwards * 45 - shift[axis]])  # the end, and the other edge, in the moved window
    lost = 90 - (edges[1] - edges[0])
    assert 12 <= lost <= 48.01
    assert np.mean(edges) == pytest.approx(-given[axis], abs=1e-3)
    assert shift[1 - axis] == given[1 - axis]


def test_what_is_moved_and_moved_back_is_where_it_was():
    moves = augment.glances(3.0)
    there = augment.move_windows(dot(64, 6, -8).expand(5, 1, 64, 64), moves, 64)
    here = augment.move_windows(there, augment.back(moves), 64)
    for one in here[:, 0]:
        assert peak(one) == pytest.approx([6, -8], abs=0.1)
    assert torch.allclose(here[0], dot(64, 6, -8)[0], atol=1e-5)


def test_studies_are_mixed_in_pairs_that_a_halved_batch_keeps():
    assert augment.partners(4) == [1, 0, 3, 2]
    assert augment.partners(3) == [1, 0, 2]  # the last has nobody
    crops, share = torch.rand(4, 2, 1, 4, 4), torch.tensor([0.7, 0.8, 1.0, 0.6])
    exists = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    mixed = augment.mix(crops, exists, share)
    assert torch.allclose(mixed[0, 0], 0.7 * crops[0, 0] + 0.3 * crops[1, 0])
    assert torch.equal(mixed[0, 1], crops[0, 1])  # the partner lacks this view
    assert torch.equal(mixed[2], crops[2])
    halves = torch.cat([augment.mix(crops[k : k + 2], exists[k : k + 2], share[k : k + 2]) for k in (0, 2)])
    assert torch.equal(mixed, halves)
